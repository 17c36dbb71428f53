//! The state of a flow that has to outlive the process.
//!
//! A connection without a sequence offset needs none: it is picked up again. A connection with an
//! offset would stall, and bytes that were acknowledged locally exist nowhere else. [`SavedFlow`]
//! holds both, as text that an engineer can read.

use serde::{Deserialize, Serialize};

use super::net::{ConntrackTuples, Direction, Tuple};

/// The version of the layout of [`SavedFlow`]. Any other version is refused.
const VERSION: u32 = 2;

/// The saved state of one connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedFlow {
    pub(super) version: u32,
    pub(super) original: Tuple,
    pub(super) reply: Tuple,
    /// It was shown that the connection is no FTP. Files of earlier versions do not say it.
    #[serde(default)]
    pub is_refuted: bool,
    /// Its end was seen. What is saved serves repeated segments. Files of earlier versions do not
    /// say it.
    #[serde(default)]
    pub is_closed: bool,
    /// The stream of the original direction, and that of the reply direction.
    pub streams: [SavedStream; 2],
}

/// The saved state of one direction.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedStream {
    /// The offset that forgotten edits have left.
    pub base_offset: i32,
    /// The end of the last forgotten edit.
    pub folded_to: Option<u32>,
    /// The edits, oldest first.
    pub edits: Vec<SavedEdit>,
    /// The end of the bytes that may have left. No line before it may be rewritten any more.
    pub left_to: Option<u32>,
    /// The bytes that were acknowledged locally, and that the receiver may lack.
    pub locally_acked: Option<SavedLocalAck>,
    /// The window of the sender's last packet, unscaled.
    pub window: u16,
    /// The last value of the sender's timestamp clock (RFC 7323).
    pub tsval: Option<u32>,
    /// The next byte that the sender expects of its peer.
    pub rcv_nxt: Option<u32>,
}

/// An edit that may not be acknowledged yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedEdit {
    /// The first replaced byte.
    pub start: u32,
    /// The number of replaced bytes.
    pub old_len: u32,
    /// The new bytes.
    pub new: Vec<u8>,
}

/// Bytes that were acknowledged locally, and that the receiver may lack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedLocalAck {
    /// The first byte.
    pub start: u32,
    /// The bytes.
    pub bytes: Vec<u8>,
    /// The start of the partial line among them, where it is known.
    pub line_start: Option<u32>,
}

/// Why a saved flow is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SavedFlowError {
    /// It is not in the format of this version.
    #[error("not a saved flow: {0}")]
    Unreadable(String),
    /// It was written by another version of this program.
    #[error("written by another version (layout {0})")]
    OtherVersion(u32),
}

impl SavedFlow {
    /// The state of a connection that is open, and FTP as far as is known. The stream of the
    /// original direction comes first.
    #[must_use]
    pub fn new(tuples: &ConntrackTuples, streams: [SavedStream; 2]) -> Self {
        Self {
            version: VERSION,
            original: tuples.of(Direction::Original),
            reply: tuples.of(Direction::Reply),
            is_refuted: false,
            is_closed: false,
            streams,
        }
    }

    /// The tuples of the connection.
    #[must_use]
    pub fn tuples(&self) -> ConntrackTuples {
        ConntrackTuples::new(self.original, self.reply)
    }

    /// Reads the text that [`encode`](Self::encode) has written.
    ///
    /// # Errors
    /// [`SavedFlowError`] for any other text.
    pub fn parse(text: &[u8]) -> Result<Self, SavedFlowError> {
        let saved: Self = serde_json::from_slice(text)
            .map_err(|error| SavedFlowError::Unreadable(error.to_string()))?;
        if saved.version != VERSION {
            return Err(SavedFlowError::OtherVersion(saved.version));
        }
        Ok(saved)
    }

    /// The state as text.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}
