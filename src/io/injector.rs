//! Sends packets of our own making, in either end's name.
//!
//! They carry the priority [`INJECTED_PRIORITY`], by which our table keeps conntrack away from
//! them. A packet in the name of the other end belongs to no connection of this machine.
//!
//! They go the way of their connection's packets: by the same packet mark, in the same VRF, out of
//! the same port of a bridge. Where that way does not show, as with a VLAN tag on a bridge, nothing
//! is sent: the ends repeat.
//!
//! The sockets are raw ones of protocol `IPPROTO_RAW`, which take the IP header from us in both IP
//! versions. The crate `pnet` does not send them: it takes a header only in IPv4, and cannot mark a
//! packet.

use std::{
    io::{self, IoSlice},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::{AsRawFd, OwnedFd},
};

use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrStorage, sendmsg, setsockopt, sockopt};
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, socket_with};

use super::{
    ethernet::{EthernetSocket, FrameTarget},
    netlink::NetlinkError,
    vrf::VrfFinder,
};
use crate::{
    proto::{
        egress::OwnPacket,
        net::{IfIndex, Ingress, MacAddress, Path},
    },
    ruleset::INJECTED_PRIORITY,
};

/// Why a packet could not be sent.
#[derive(Debug, thiserror::Error)]
pub enum InjectError {
    /// This process may not open the sockets.
    #[error(
        "sending packets needs CAP_NET_RAW and CAP_NET_ADMIN: run as root, or grant them with \
         `setcap cap_net_admin,cap_net_raw+ep`"
    )]
    NotPermitted,
    /// Netfilter dropped it (EPERM).
    #[error(
        "a rule of an output chain drops it: let the daemon's packets out with `ct state untracked \
         accept` (iptables: `-m conntrack --ctstate UNTRACKED -j ACCEPT`)"
    )]
    Filtered,
    /// The bytes are not an IP packet.
    #[error("not an IP packet")]
    NotIp,
    /// The kernel has no IPv6.
    #[error("this machine has no IPv6")]
    NoIpv6,
    /// The kernel did not tell the VRF.
    #[error("finding the VRF of an interface: {0}")]
    Vrf(#[from] NetlinkError),
    /// The kernel did not take it.
    #[error("sending a packet: {0}")]
    Socket(#[from] io::Error),
}

/// Sends complete IP packets.
#[derive(Debug)]
pub struct Injector {
    v4: RawSocket,
    v6: Option<RawSocket>,
    ethernet: EthernetSocket,
    vrfs: VrfFinder,
}

#[derive(Debug)]
struct RawSocket {
    socket: OwnedFd,
    /// The mark that it gives to packets.
    mark: u32,
}

impl Injector {
    /// Opens the sockets. A machine without IPv6 has the one for IPv4 only.
    ///
    /// # Errors
    /// When the privilege is missing.
    pub fn open() -> Result<Self, InjectError> {
        let v6 = match RawSocket::open(AddressFamily::INET6) {
            Ok(socket) => Some(socket),
            Err(InjectError::Socket(error)) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => {
                None
            }
            Err(error) => return Err(error),
        };
        Ok(Self {
            v4: RawSocket::open(AddressFamily::INET)?,
            v6,
            ethernet: EthernetSocket::open().map_err(not_permitted)?,
            vrfs: VrfFinder::open()?,
        })
    }

    /// Sends a packet to its destination. The caller has set the checksums.
    ///
    /// # Errors
    /// When it is no IP packet, or the kernel does not take it.
    pub fn inject(&mut self, packet: &OwnPacket) -> Result<(), InjectError> {
        let destination = destination(&packet.bytes).ok_or(InjectError::NotIp)?;
        let of_sender = packet.ingress.unwrap_or_default();
        let Ingress {
            iif, mark, path, ..
        } = of_sender;
        // What came by a bridge and leaves by another link is routed.
        let is_bridged = |of_receiver: Ingress| {
            of_receiver.iif == iif && matches!(of_receiver.path, Path::Bridged { .. })
        };
        if let Path::Bridged { sender, .. } = path
            && packet.of_receiver.is_none_or(is_bridged)
        {
            return self.inject_frame(packet, destination, sender);
        }
        let vrf = self.vrfs.vrf_of(iif)?;
        let socket = match destination {
            IpAddr::V4(_) => &mut self.v4,
            IpAddr::V6(_) => self.v6.as_mut().ok_or(InjectError::NoIpv6)?,
        };
        socket.set_mark(mark)?;
        socket.send(&packet.bytes, destination, vrf)
    }

    /// Sends a packet of a bridged connection, in the name of the host whose frames its sender's
    /// packets came in.
    fn inject_frame(
        &self,
        packet: &OwnPacket,
        receiver: IpAddr,
        sender: Option<MacAddress>,
    ) -> Result<(), InjectError> {
        let of_receiver = packet.of_receiver.map(|ingress| ingress.path);
        let (Some(source), Some(Path::Bridged { port, sender })) = (sender, of_receiver) else {
            return Ok(());
        };
        let Some(destination) = sender else {
            return Ok(());
        };
        let target = FrameTarget {
            port,
            source,
            destination,
        };
        Ok(self.ethernet.send(&packet.bytes, receiver, &target)?)
    }
}

impl RawSocket {
    fn open(family: AddressFamily) -> Result<Self, InjectError> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let opened = socket_with(family, SocketType::RAW, flags, Some(ipproto::RAW));
        let socket = opened.map_err(|error| not_permitted(error.into()))?;
        setsockopt(&socket, sockopt::Priority, &(INJECTED_PRIORITY as i32))
            .map_err(|error| not_permitted(error.into()))?;
        Ok(Self { socket, mark: 0 })
    }

    fn set_mark(&mut self, mark: u32) -> Result<(), InjectError> {
        if self.mark != mark {
            setsockopt(&self.socket, sockopt::Mark, &mark).map_err(io::Error::from)?;
            self.mark = mark;
        }
        Ok(())
    }

    /// `vrf`: the device of the VRF whose routes it takes.
    fn send(
        &self,
        bytes: &[u8],
        destination: IpAddr,
        vrf: Option<IfIndex>,
    ) -> Result<(), InjectError> {
        let index = vrf.unwrap_or_default().0;
        let v4 = libc::in_pktinfo {
            ipi_ifindex: index as i32,
            ipi_spec_dst: libc::in_addr { s_addr: 0 },
            ipi_addr: libc::in_addr { s_addr: 0 },
        };
        let v6 = libc::in6_pktinfo {
            ipi6_addr: libc::in6_addr { s6_addr: [0; 16] },
            ipi6_ifindex: index,
        };
        let info = match destination {
            IpAddr::V4(_) => ControlMessage::Ipv4PacketInfo(&v4),
            IpAddr::V6(_) => ControlMessage::Ipv6PacketInfo(&v6),
        };
        let control = if vrf.is_some() { &[info][..] } else { &[] };
        let to = SockaddrStorage::from(SocketAddr::new(destination, 0));
        let sent = sendmsg(
            self.socket.as_raw_fd(),
            &[IoSlice::new(bytes)],
            control,
            MsgFlags::empty(),
            Some(&to),
        );
        match sent {
            Ok(_) => Ok(()),
            Err(nix::Error::EPERM) => Err(InjectError::Filtered),
            Err(error) => Err(io::Error::from(error).into()),
        }
    }
}

fn not_permitted(error: io::Error) -> InjectError {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => InjectError::NotPermitted,
        _ => error.into(),
    }
}

/// The destination in a packet's IP header.
fn destination(packet: &[u8]) -> Option<IpAddr> {
    match packet.first()? >> 4 {
        4 => Some(Ipv4Addr::from(*packet.get(16..)?.first_chunk::<4>()?).into()),
        6 => Some(Ipv6Addr::from(*packet.get(24..)?.first_chunk::<16>()?).into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::destination;

    #[test]
    fn what_is_too_short_or_of_another_version_has_no_destination() {
        assert_eq!(destination(&[]), None);
        assert_eq!(destination(&[0x45; 19]), None);
        assert_eq!(destination(&[0x60; 39]), None);
        assert_eq!(destination(&[0x50; 60]), None);
        assert!(destination(&[0x45; 20]).is_some_and(|address| address.is_ipv4()));
        assert!(destination(&[0x60; 40]).is_some_and(|address| address.is_ipv6()));
    }
}
