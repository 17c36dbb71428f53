//! Finds the VRF that an interface belongs to (rtnetlink).

use super::netlink::{Head, MessageType, NetlinkError, Socket};
use crate::proto::net::IfIndex;

/// `RTM_GETLINK`
const GET_LINK: MessageType = MessageType {
    subsystem: 0,
    request: libc::RTM_GETLINK as u8,
};
/// What a link message has behind the four octets of its family and type: number, flags, mask of
/// flags (`struct ifinfomsg`).
const LINK_HEADER: usize = 12;
const IFLA_INFO_KIND: u16 = 1;

/// A connection to the kernel's list of links.
#[derive(Debug)]
pub(super) struct VrfFinder(Socket);

/// What matters of a link.
#[derive(Clone, Copy, Debug, Default)]
struct Link {
    master: Option<u32>,
    is_vrf: bool,
}

impl VrfFinder {
    /// Opens the connection.
    ///
    /// # Errors
    /// When no netlink socket can be had.
    pub(super) fn open() -> Result<Self, NetlinkError> {
        Socket::to_routing().map(Self)
    }

    /// The VRF device that an interface is enslaved to. `None` of an interface of no VRF, of one
    /// that is gone, and of this machine itself.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub(super) fn vrf_of(&mut self, iif: IfIndex) -> Result<Option<IfIndex>, NetlinkError> {
        if iif.0 == 0 {
            return Ok(None);
        }
        let Some(master) = self.link(iif.0)?.master else {
            return Ok(None);
        };
        let is_vrf = self.link(master)?.is_vrf;
        Ok(is_vrf.then_some(IfIndex(master)))
    }

    fn link(&mut self, index: u32) -> Result<Link, NetlinkError> {
        let head = Head::new(GET_LINK, libc::AF_UNSPEC as u8);
        let found = self.0.ask(
            head,
            |buffer| buffer.put_raw(&[index, 0, 0].map(u32::to_ne_bytes).concat()),
            |answer| {
                let attributes = answer.attributes_behind(LINK_HEADER);
                let master = attributes.find(libc::IFLA_MASTER);
                let kind = attributes
                    .within(libc::IFLA_LINKINFO)
                    .and_then(|info| info.name(IFLA_INFO_KIND));
                Some(Link {
                    master: master
                        .and_then(|bytes| bytes.first_chunk())
                        .map(|bytes| u32::from_ne_bytes(*bytes)),
                    is_vrf: kind == Some("vrf"),
                })
            },
        );
        match found {
            Ok(link) => Ok(link.unwrap_or_default()),
            Err(error) if error.is(libc::ENODEV) => Ok(Link::default()),
            Err(error) => Err(error),
        }
    }
}
