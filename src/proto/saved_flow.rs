//! What of a connection must outlive the process.
//!
//! A connection without a sequence offset needs nothing: it is picked up again. One with an
//! offset would stall without it, and withheld bytes that were acknowledged on the receiver's
//! behalf exist nowhere else. [`SavedFlow`] holds just that, as text that an engineer can read.

use serde::{Deserialize, Serialize};

use super::net::{ConntrackTuples, Direction, Tuple};

/// The layout of [`SavedFlow`]; another version is not believed.
const VERSION: u32 = 2;

/// What is kept of one connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedFlow {
    version: u32,
    original: Tuple,
    reply: Tuple,
    /// The original direction's stream, then the reply direction's.
    pub streams: [SavedStream; 2],
}

/// What is kept of one direction.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedStream {
    /// The offset that forgotten edits left.
    pub base_offset: i32,
    /// The end of the last forgotten edit.
    pub folded_to: Option<u32>,
    /// The edits, oldest first.
    pub edits: Vec<SavedEdit>,
    /// Up to here bytes have left: no line before it may be rewritten any more.
    pub left_to: Option<u32>,
    /// Bytes that the sender will not repeat.
    pub locally_acked: Option<SavedLocalAck>,
    /// The window that the sender announced last, as its packets have it.
    pub window: u16,
    /// The latest value of the sender's timestamp clock (RFC 7323).
    pub tsval: Option<u32>,
    /// What the sender expects next of its peer.
    pub rcv_nxt: Option<u32>,
}

/// One edit that may not be acknowledged yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedEdit {
    /// The first replaced byte.
    pub start: u32,
    /// How many bytes are replaced.
    pub old_len: u32,
    /// By what.
    pub new: Vec<u8>,
}

/// Bytes that the sender will not repeat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedLocalAck {
    /// The first of them.
    pub start: u32,
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Where the line starts that has begun and not ended.
    pub line_start: Option<u32>,
}

/// Why kept text is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SavedFlowError {
    /// It is not what this version writes.
    #[error("not a saved flow: {0}")]
    Unreadable(String),
    /// It was written by another version of this program.
    #[error("written by another version (layout {0})")]
    OtherVersion(u32),
}

impl SavedFlow {
    /// What is to be kept of a connection.
    #[must_use]
    pub fn new(tuples: &ConntrackTuples, streams: [SavedStream; 2]) -> Self {
        Self {
            version: VERSION,
            original: tuples.of(Direction::Original),
            reply: tuples.of(Direction::Reply),
            streams,
        }
    }

    /// The connection that it belongs to.
    #[must_use]
    pub fn tuples(&self) -> ConntrackTuples {
        ConntrackTuples::new(self.original, self.reply)
    }

    /// Reads what [`encode`](Self::encode) wrote.
    ///
    /// # Errors
    /// [`SavedFlowError`] where it is something else.
    pub fn parse(text: &[u8]) -> Result<Self, SavedFlowError> {
        let saved: Self = serde_json::from_slice(text)
            .map_err(|error| SavedFlowError::Unreadable(error.to_string()))?;
        if saved.version != VERSION {
            return Err(SavedFlowError::OtherVersion(saved.version));
        }
        Ok(saved)
    }

    /// As text.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}
