//! Sends packets of our own making, in either end's name.
//!
//! They carry the mark [`INJECTED_MARK`], by which our table keeps conntrack away from them. A
//! packet in the name of the other end belongs to no connection of this machine.
//!
//! The sockets are raw ones of protocol `IPPROTO_RAW`, which take the IP header from us in both IP
//! versions. The crate `pnet` does not send them: it takes a header only in IPv4, and cannot mark a
//! packet.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::OwnedFd,
};

use nix::sys::socket::{setsockopt, sockopt};
use rustix::{
    io::Errno,
    net::{AddressFamily, SendFlags, SocketFlags, SocketType, ipproto, sendto, socket_with},
};

use crate::ruleset::INJECTED_MARK;

/// Why a packet could not be sent.
#[derive(Debug, thiserror::Error)]
pub enum InjectError {
    /// This process may not send packets of its own making.
    #[error(
        "sending packets needs CAP_NET_RAW and CAP_NET_ADMIN: run as root, or grant them with \
         `setcap cap_net_admin,cap_net_raw+ep`"
    )]
    NotPermitted,
    /// The bytes are not an IP packet.
    #[error("not an IP packet")]
    NotIp,
    /// The kernel has no IPv6.
    #[error("this machine has no IPv6")]
    NoIpv6,
    /// The kernel did not take it.
    #[error("sending a packet: {0}")]
    Socket(#[from] io::Error),
}

impl From<Errno> for InjectError {
    fn from(error: Errno) -> Self {
        match error {
            Errno::PERM | Errno::ACCESS => Self::NotPermitted,
            other => Self::Socket(other.into()),
        }
    }
}

/// Sends complete IP packets.
#[derive(Debug)]
pub struct Injector {
    v4: OwnedFd,
    v6: Option<OwnedFd>,
}

impl Injector {
    /// Opens the sockets. A machine without IPv6 has the one for IPv4 only.
    ///
    /// # Errors
    /// When the privilege is missing.
    pub fn open() -> Result<Self, InjectError> {
        let v6 = match open(AddressFamily::INET6) {
            Ok(socket) => Some(socket),
            Err(InjectError::Socket(error)) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => {
                None
            }
            Err(error) => return Err(error),
        };
        Ok(Self {
            v4: open(AddressFamily::INET)?,
            v6,
        })
    }

    /// Sends a packet, from its IP header on, to its destination. The caller has set the checksums,
    /// but for that of the IPv4 header.
    ///
    /// # Errors
    /// When it is no IP packet, or the kernel does not take it.
    pub fn inject(&self, packet: &[u8]) -> Result<(), InjectError> {
        let destination = destination(packet).ok_or(InjectError::NotIp)?;
        let socket = match destination {
            IpAddr::V4(_) => &self.v4,
            IpAddr::V6(_) => self.v6.as_ref().ok_or(InjectError::NoIpv6)?,
        };
        let to = SocketAddr::new(destination, 0);
        sendto(socket, packet, SendFlags::empty(), &to)?;
        Ok(())
    }
}

fn open(family: AddressFamily) -> Result<OwnedFd, InjectError> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::RAW, flags, Some(ipproto::RAW))?;
    match setsockopt(&socket, sockopt::Mark, &INJECTED_MARK) {
        Ok(()) => Ok(socket),
        Err(error) => Err(Errno::from_raw_os_error(error as i32).into()),
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
