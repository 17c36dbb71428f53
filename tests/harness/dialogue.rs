//! The dialogue of two ends, and the pieces in which they write it.

use std::time::Duration;

use ftp_alg::proto::ftp::Role;

use super::host::Step;

/// One write of an end: a line, or several at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Turn {
    pub(crate) from: Role,
    pub(crate) text: Vec<u8>,
    /// It does not wait for the turns of the other end before it.
    pub(crate) is_pipelined: bool,
    /// It answers a line behind which the other end has sent this many lines more.
    pub(crate) lines_behind: usize,
    /// Its last byte is urgent.
    pub(crate) is_urgent: bool,
    /// The cuts into several writes.
    pub(crate) cuts: Vec<usize>,
    /// The time between the writes.
    pub(crate) gap: Duration,
}

impl Turn {
    pub(crate) fn new(from: Role, text: impl Into<Vec<u8>>) -> Self {
        Self {
            from,
            text: text.into(),
            is_pipelined: false,
            lines_behind: 0,
            is_urgent: false,
            cuts: Vec::new(),
            gap: Duration::ZERO,
        }
    }

    /// Cut into several writes.
    pub(crate) fn cut(mut self, cuts: &[usize], gap: Duration) -> Self {
        self.cuts = cuts.to_vec();
        self.gap = gap;
        self
    }

    pub(crate) fn pipelined(mut self) -> Self {
        self.is_pipelined = true;
        self
    }

    /// The other end has sent this many lines more without waiting for this one.
    pub(crate) fn ahead_of(mut self, lines_behind: usize) -> Self {
        self.lines_behind = lines_behind;
        self
    }

    pub(crate) fn urgent(mut self) -> Self {
        self.is_urgent = true;
        self
    }

    fn pieces(&self) -> Vec<Vec<u8>> {
        let mut cuts = self.cuts.clone();
        cuts.retain(|&at| at > 0 && at < self.text.len());
        cuts.sort_unstable();
        cuts.dedup();
        cuts.push(self.text.len());
        let mut from = 0;
        let piece = |to: usize| {
            let piece = self.text[from..to].to_vec();
            from = to;
            piece
        };
        cuts.into_iter().map(piece).collect()
    }
}

/// A line of the client, with its end.
pub(crate) fn client(line: &str) -> Turn {
    Turn::new(Role::Client, format!("{line}\r\n"))
}

/// A line of the server, with its end.
pub(crate) fn server(line: &str) -> Turn {
    Turn::new(Role::Server, format!("{line}\r\n"))
}

/// The steps of each end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Script {
    pub(crate) client: Vec<Step>,
    pub(crate) server: Vec<Step>,
}

impl Script {
    /// The dialogue, then both ends close: the server first, as after QUIT.
    pub(crate) fn new(turns: &[Turn]) -> Self {
        let mut script = Self::open(turns);
        let lines = |role| {
            turns
                .iter()
                .filter(|turn| turn.from == role)
                .map(lines_of)
                .sum()
        };
        script.client.push(Step {
            after_lines: lines(Role::Server),
            closes: true,
            ..Step::default()
        });
        script.server.push(Step {
            after_lines: lines(Role::Client),
            closes: true,
            ..Step::default()
        });
        script
    }

    /// The dialogue, after which the connection stays open.
    pub(crate) fn open(turns: &[Turn]) -> Self {
        let mut script = Self::default();
        let (mut lines_of_client, mut lines_of_server) = (0, 0);
        let (mut client_waits, mut server_waits) = (0, 0);
        for turn in turns {
            let is_client = turn.from == Role::Client;
            let (sent, heard, waits, steps) = if is_client {
                (
                    &mut lines_of_client,
                    lines_of_server,
                    &mut client_waits,
                    &mut script.client,
                )
            } else {
                (
                    &mut lines_of_server,
                    lines_of_client,
                    &mut server_waits,
                    &mut script.server,
                )
            };
            if !turn.is_pipelined {
                *waits = heard - turn.lines_behind;
            }
            *sent += lines_of(turn);
            let pieces = turn.pieces();
            let last = pieces.len() - 1;
            for (index, bytes) in pieces.into_iter().enumerate() {
                steps.push(Step {
                    after_lines: *waits,
                    delay: if index == 0 { Duration::ZERO } else { turn.gap },
                    bytes,
                    is_urgent: turn.is_urgent && index == last,
                    closes: false,
                });
            }
        }
        script
    }
}

/// A greeting, a login, and `turns`.
pub(crate) fn after_login(turns: &[Turn]) -> Vec<Turn> {
    let mut all = vec![
        server("220 hello"),
        client("USER ann"),
        server("331 and?"),
        client("PASS secret"),
        server("230 welcome"),
    ];
    all.extend_from_slice(turns);
    all
}

/// All text of one end.
pub(crate) fn text_of(role: Role, turns: &[Turn]) -> Vec<u8> {
    let turns = turns.iter().filter(|turn| turn.from == role);
    turns.flat_map(|turn| turn.text.clone()).collect()
}

fn lines_of(turn: &Turn) -> usize {
    turn.text.iter().filter(|&&byte| byte == b'\n').count()
}
