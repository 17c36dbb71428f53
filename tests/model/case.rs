//! The dialogues that are explored: short, with one announcement that changes its length.

use ftp_alg::proto::net::Direction;

use crate::{
    end::Write,
    harness::{
        dialogue::{Turn, client, server},
        topology::Topology,
    },
};

/// One dialogue behind one gateway.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) topology: Topology,
    /// What the client and the server write.
    pub(crate) scripts: [Vec<Write>; 2],
    /// The end that announces.
    pub(crate) announcer: Direction,
    /// The announcement as it is sent, and as it has to be read.
    pub(crate) line: &'static str,
    pub(crate) rewritten: &'static str,
    /// The exploration begins once the client has done as many writes.
    pub(crate) begins_after: usize,
}

impl Case {
    /// PORT through SNAT. The line grows by three bytes.
    pub(crate) fn active() -> Self {
        Self {
            name: "PORT through SNAT",
            topology: Topology::Snat,
            scripts: scripts(&[
                client("PORT 10,0,0,2,4,5"),
                server("200 ok"),
                client("NOOP"),
                server("200 ok"),
            ]),
            announcer: Direction::Original,
            line: "PORT 10,0,0,2,4,5\r\n",
            rewritten: "PORT 203,0,113,1,4,5\r\n",
            begins_after: 3,
        }
    }

    /// The same from the first SYN on, with the login.
    pub(crate) fn from_handshake() -> Self {
        Self {
            name: "the same from the handshake on",
            begins_after: 0,
            ..Self::active()
        }
    }

    /// PORT through a SNAT to a shorter address. The line shrinks.
    pub(crate) fn shrinking() -> Self {
        Self {
            name: "PORT that shrinks",
            topology: Topology::SnatShorter,
            scripts: scripts(&[
                client("PORT 192,168,100,200,4,5"),
                server("200 ok"),
                client("NOOP"),
                server("200 ok"),
            ]),
            line: "PORT 192,168,100,200,4,5\r\n",
            rewritten: "PORT 9,9,9,9,4,5\r\n",
            ..Self::active()
        }
    }

    /// 227 through DNAT. The line grows by three bytes.
    pub(crate) fn passive() -> Self {
        Self {
            name: "227 through DNAT",
            topology: Topology::Dnat,
            scripts: scripts(&[
                client("PASV"),
                server("227 (10,0,0,5,4,5)"),
                client("NOOP"),
                server("200 ok"),
            ]),
            announcer: Direction::Reply,
            line: "227 (10,0,0,5,4,5)\r\n",
            rewritten: "227 (203,0,113,1,4,5)\r\n",
            begins_after: 3,
        }
    }

    pub(crate) fn script(&self, direction: Direction) -> &[Write] {
        &self.scripts[direction as usize]
    }

    /// All that an end says.
    pub(crate) fn said_by(&self, direction: Direction) -> Vec<u8> {
        let writes = self.script(direction).iter();
        writes.flat_map(|write| write.bytes.clone()).collect()
    }

    /// Where the announcement begins in the stream of its end.
    pub(crate) fn line_start(&self) -> usize {
        let said = self.said_by(self.announcer);
        let at = said
            .windows(self.line.len())
            .position(|part| part == self.line.as_bytes());
        at.expect("the announcer says the line")
    }

    /// What the peer of an end reads, with `line` in the place of the announcement.
    pub(crate) fn heard_of(&self, direction: Direction, line: &[u8]) -> Vec<u8> {
        let mut text = self.said_by(direction);
        if direction == self.announcer {
            let at = self.line_start();
            text.splice(at..at + self.line.len(), line.iter().copied());
        }
        text
    }
}

/// A login, `turns`, and the end: the server closes behind its last line, the client once it has
/// read that.
fn scripts(turns: &[Turn]) -> [Vec<Write>; 2] {
    let mut scripts = [Vec::new(), Vec::new()];
    let mut lines = [0, 0];
    for turn in crate::harness::dialogue::after_login(turns) {
        let from = usize::from(turn.from == ftp_alg::proto::ftp::Role::Server);
        scripts[from].push(Write {
            after_lines: lines[1 - from],
            bytes: turn.text,
            closes: false,
        });
        lines[from] += 1;
    }
    for (from, script) in scripts.iter_mut().enumerate() {
        script.push(Write {
            after_lines: lines[1 - from],
            bytes: Vec::new(),
            closes: true,
        });
    }
    scripts
}
