//! Whether what a line announces is honoured.

use super::{Flow, Settings};
use crate::proto::{
    ftp::Announcement,
    nat::addresses_of,
    net::Direction,
    session::{
        Found,
        endpoint_check::{Refusal, admit},
    },
    stream::Line,
};

impl Flow {
    /// Admits an announcement that was found in `line`.
    ///
    /// # Errors
    /// The first reason for which it is refused.
    pub(super) fn admit(
        &self,
        direction: Direction,
        line: &Line,
        found: Found,
        settings: &Settings,
    ) -> Result<Announcement, Refusal> {
        let is_exempt = |refusal: &Refusal| settings.is_exempt(*refusal, &self.tuples);
        if let Some(refusal) = found.refusal.filter(|refusal| !is_exempt(refusal)) {
            return Err(refusal);
        }
        let announcement = found.announcement.map_err(|_| Refusal::Malformed)?;
        if !line.is_complete {
            return Err(Refusal::Malformed);
        }
        if self.is_closing() {
            return Err(Refusal::Closing);
        }
        let stream = &self.streams[direction];
        if !stream.is_unsent(line) {
            return Err(Refusal::AlreadyForwarded);
        }
        self.admit_endpoint(direction, &announcement, settings)?;
        let unproven = self.session.not_yet_allowed();
        let unproven = unproven.or_else(|| self.refusal_after_tls(direction));
        let unproven = unproven.filter(|refusal| !is_exempt(refusal));
        unproven.map_or(Ok(announcement), Err)
    }

    /// Admits the endpoint that the sender of a direction announces, whatever else speaks against it.
    ///
    /// # Errors
    /// It is not its own to announce.
    pub(super) fn admit_endpoint(
        &self,
        direction: Direction,
        announcement: &Announcement,
        settings: &Settings,
    ) -> Result<(), Refusal> {
        let ends = addresses_of(&self.tuples, direction);
        admit(announcement, ends, settings.relaxed())
    }
}
