//! Which end a packet can be from, by the interface that it came by.

use super::context::Context;
use crate::proto::{
    event::EventKind,
    ftp::Role,
    net::{Direction, IfIndex, Ingress, PerDirection},
};

/// The interfaces by which the ends of a connection are reached.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct IngressGuard {
    /// The interface of each direction's first packet; 0 of this machine's own packets.
    iifs: PerDirection<Option<IfIndex>>,
    /// How each direction's last packet came.
    latest: PerDirection<Option<Ingress>>,
    has_reported: bool,
}

impl IngressGuard {
    /// Whether the packet at hand may be of the end whose address it bears.
    ///
    /// A packet that comes by its peer's interface was forged by somebody there, the peer perhaps,
    /// unless its own end came that way from the beginning (a hairpin, a router with one
    /// interface). Any third interface is as good as the first: routes change.
    pub(super) fn admit(&mut self, direction: Direction, context: &mut Context<'_>) -> bool {
        let Some(ingress) = context.ingress else {
            return true;
        };
        let iif = ingress.iif;
        // Nobody else makes packets of this machine. Whoever forged one before has not moved it.
        if iif.0 == 0 {
            self.iifs[direction] = Some(iif);
        }
        let own = *self.iifs[direction].get_or_insert(iif);
        let is_forged = own != iif && self.iifs[!direction] == Some(iif);
        if is_forged && !std::mem::replace(&mut self.has_reported, true) {
            let name = Role::of_sender(direction);
            context.report(EventKind::Forged { name, iif });
        }
        !is_forged
    }

    /// Records how a packet came that belongs to the connection: its first of a direction, or one
    /// that brought something new. Anybody may send others, to lead packets of our own elsewhere.
    pub(super) fn record(&mut self, direction: Direction, is_new: bool, ingress: Option<Ingress>) {
        let latest = &mut self.latest[direction];
        if is_new || latest.is_none() {
            *latest = ingress.or(*latest);
        }
    }

    /// Whether a packet may be one that was read when it came in: it seems to be of this machine,
    /// and its end is elsewhere, or it is seen at another layer than those before.
    pub(super) fn passes_again(&self, direction: Direction, ingress: Ingress) -> bool {
        let is_from_here = ingress.iif.0 == 0;
        let is_sent_on = is_from_here && self.iifs[direction].is_some_and(|own| own.0 != 0);
        let seen = self.latest(direction).or(self.latest(!direction));
        is_sent_on || seen.is_some_and(|seen| seen.layer != ingress.layer)
    }

    /// How the last packet of this direction came.
    pub(super) fn latest(&self, direction: Direction) -> Option<Ingress> {
        self.latest[direction]
    }

    /// The interface by which no data connection comes that this end has announced: its own, unless
    /// its peer is there as well, or it is this machine.
    pub(super) fn denied_iif(&self, announcer: Direction) -> Option<IfIndex> {
        let own = self.iifs[announcer].filter(|iif| iif.0 != 0)?;
        let peer = self.iifs[!announcer]?;
        (own != peer).then_some(own)
    }

    /// Whether this machine itself is an end, as far as is known.
    pub(super) fn has_local_end(&self) -> bool {
        let iifs = [self.iifs.original, self.iifs.reply];
        iifs.contains(&Some(IfIndex(0)))
    }

    /// The interfaces by which the ends are reached, where that is known.
    pub(super) const fn iifs(&self) -> PerDirection<Option<IfIndex>> {
        self.iifs
    }
}
