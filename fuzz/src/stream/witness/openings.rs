//! The expectations, and the lines that announce them.

use ftp_alg::proto::{
    event::{AnnouncementReport, RewriteReport},
    expect::Expectation,
    ftp::{Announcement, Role, is_sequences, substitute_command},
    net::{Addresses, Direction},
};

use super::{
    super::speech::{Line, announcement, count_asked, lines},
    Witness,
};

impl Witness {
    /// Checks that the rewritten line of an admitted announcement names the expected endpoint.
    pub(super) fn handle_announcement(
        &mut self,
        report: &AnnouncementReport,
        expectation: &Expectation,
        rewritten: Option<&RewriteReport>,
    ) {
        let direction = direction_of(report.from);
        let line = self.line_of(direction, expectation);
        assert_eq!(line.announcement.kind, report.kind);
        let text = &self.ways[direction].text()[line.start..line.end];
        let Some(rewritten) = rewritten else {
            assert!(tells(&line.announcement, expectation), "{expectation:?}");
            return;
        };
        let new = line.announcement.rewrite(text, rewritten.endpoint);
        let new = new.expect("it was rewritten").line;
        assert_eq!(String::from_utf8_lossy(&new), rewritten.line);
        let announced = announcement(report.from, &new).expect("it still announces");
        assert!(tells(&announced, expectation), "{expectation:?}");
        if self.has_lost_sync {
            return;
        }
        let seen = &self.seen[direction];
        let start = self.ways[direction]
            .rewriting()
            .to_output(line.start as i64);
        let has_left = start < seen.left.max(seen.forgotten) && start >= seen.forgotten;
        assert!(!has_left, "the line has left already");
        self.ways[direction].record_edit(line.start..line.end, new);
    }

    /// Checks a line that was replaced, by a command that does nothing or by a 550.
    pub(super) fn handle_replaced(&mut self, from: Role, start: u32, line: &[u8]) {
        match from {
            Role::Client => assert_eq!(line, substitute_command(line.len())),
            Role::Server => assert!(b"550".starts_with(line.get(..3).unwrap_or(line))),
        }
        if self.has_lost_sync {
            return;
        }
        let way = &mut self.ways[direction_of(from)];
        let start = usize::try_from(way.position(start)).expect("within what was text");
        let end = start + line.len();
        assert!(end <= way.offered(), "only a part of the line has come");
        assert!(!way.text()[start..end].contains(&b'\n'), "it is one line");
        // At a pick-up the core assumes that a line begins there.
        let before = way.text()[..start].rsplit(|&byte| byte == b'\n').next();
        let is_whole = before.is_none_or(is_sequences);
        let is_picked_up = !self.is_from_start || self.has_restarted;
        assert!(is_whole || is_picked_up, "it is a whole line");
        way.record_edit(start..end, line.to_vec());
    }

    /// Checks that an expectation was announced in a line of the right end, for its peer.
    pub(super) fn check_opened(&mut self, expectation: &Expectation) {
        let inside = expectation.translated_destination.ip();
        let announcer = Direction::BOTH
            .into_iter()
            .find(|&direction| self.tuples.sender(direction).ip() == inside)
            .expect("an end of the connection");
        let line = self.line_of(announcer, expectation);
        let Addresses { own, seen, .. } = Addresses::of(&self.tuples, announcer);
        let address = line.announcement.address.unwrap_or(own);
        // A server means itself, whatever address it names. The endpoint was found to be its own.
        let is_own = address == own || address == seen || address.is_unspecified();
        assert!(is_own || announcer == Direction::Reply);
        assert_eq!(expectation.destination.ip(), seen);
        assert_eq!(expectation.source, self.tuples.sender(!announcer).ip());
        let way = &self.ways[announcer];
        let end = line.end + way.line_length_at(line.end);
        assert!(end <= way.offered(), "only a part of its line has come");
        self.opened.push(line.announcement);
        if announcer == Direction::Reply {
            self.check_asked(&line.announcement);
        }
    }

    fn check_asked(&self, announcement: &Announcement) {
        if !self.is_from_start || self.has_restarted || self.has_lost_sync {
            return;
        }
        let client = &self.ways.original;
        let asked = count_asked(announcement.kind, &client.text()[..client.offered()]);
        let same = |opened: &&Announcement| opened.kind == announcement.kind;
        let opened = self.opened.iter().filter(same).count();
        assert!(opened <= asked, "{opened} opened of {asked} asked for");
    }

    /// The line that announces an expectation. Each line has its own port.
    fn line_of(&self, announcer: Direction, expectation: &Expectation) -> Line {
        let port = expectation.translated_destination.port();
        let names = |line: &&Line| line.announcement.port.get() == port;
        if let Some(line) = self.announcing[announcer].iter().find(names) {
            return line.clone();
        }
        let is_whole = self.is_from_start && !self.has_restarted && !self.has_lost_sync;
        assert!(!is_whole, "no line announces {expectation:?}");
        self.part_of_line(announcer, port)
    }

    /// A line that was picked up in its middle.
    fn part_of_line(&self, announcer: Direction, port: u16) -> Line {
        let text = self.ways[announcer].text();
        let role = role_of(announcer);
        lines(text)
            .flat_map(|(start, end)| (start..end).map(move |at| (at, end)))
            .find_map(|(start, end)| {
                let announcement = announcement(role, &text[start..end])?;
                (announcement.port.get() == port).then_some(Line {
                    start,
                    end,
                    announcement,
                })
            })
            .expect("some part of a line announces it")
    }
}

/// Whether the receiver of a line connects to the expected endpoint.
fn tells(announcement: &Announcement, expectation: &Expectation) -> bool {
    let outside = expectation.destination;
    announcement.port.get() == outside.port()
        && announcement
            .address
            // A 227 of an IPv6 connection has no room for its address.
            .is_none_or(|address| {
                address == outside.ip() || outside.is_ipv6() && address.is_unspecified()
            })
}

const fn role_of(direction: Direction) -> Role {
    match direction {
        Direction::Original => Role::Client,
        Direction::Reply => Role::Server,
    }
}

const fn direction_of(role: Role) -> Direction {
    match role {
        Role::Client => Direction::Original,
        Role::Server => Direction::Reply,
    }
}
