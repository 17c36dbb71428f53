//! Sends Ethernet frames out of the ports of bridges.
#![expect(
    unsafe_code,
    reason = "no crate here has the address of a packet socket"
)]

use std::{
    io,
    net::IpAddr,
    os::fd::{AsRawFd, OwnedFd},
};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use crate::proto::net::{IfIndex, MacAddress};

/// A socket that sends frames and receives none.
#[derive(Debug)]
pub(super) struct EthernetSocket(OwnedFd);

/// A frame's addresses, and the port of the bridge by which it leaves.
#[derive(Clone, Copy, Debug)]
pub(super) struct FrameTarget {
    pub(super) port: IfIndex,
    pub(super) source: MacAddress,
    pub(super) destination: MacAddress,
}

impl EthernetSocket {
    /// Opens it.
    ///
    /// # Errors
    /// When the privilege is missing (CAP_NET_RAW).
    pub(super) fn open() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        // Protocol 0: it receives nothing.
        Ok(Self(socket_with(
            AddressFamily::PACKET,
            SocketType::RAW,
            flags,
            None,
        )?))
    }

    /// Sends an IP packet to `receiver` in a frame.
    ///
    /// # Errors
    /// When the kernel does not take it: the port is down or gone.
    pub(super) fn send(
        &self,
        packet: &[u8],
        receiver: IpAddr,
        target: &FrameTarget,
    ) -> io::Result<()> {
        let kind = match receiver {
            IpAddr::V4(_) => libc::ETH_P_IP,
            IpAddr::V6(_) => libc::ETH_P_IPV6,
        } as u16;
        let (MacAddress(source), MacAddress(destination)) = (target.source, target.destination);
        let frame = [&destination[..], &source, &kind.to_be_bytes(), packet].concat();
        let mut sll_addr = [0; 8];
        sll_addr[..destination.len()].copy_from_slice(&destination);
        let address = libc::sockaddr_ll {
            sll_family: libc::AF_PACKET as u16,
            sll_protocol: kind.to_be(),
            sll_ifindex: target.port.0 as i32,
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: destination.len() as u8,
            sll_addr,
        };
        // SAFETY: the descriptor is open, and the frame and the address are alive for the call and
        // as long as they are said to be.
        let sent = unsafe {
            libc::sendto(
                self.0.as_raw_fd(),
                frame.as_ptr().cast(),
                frame.len(),
                0,
                std::ptr::from_ref(&address).cast(),
                size_of_val(&address) as libc::socklen_t,
            )
        };
        if sent < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }
}
