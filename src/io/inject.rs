//! Sends complete IP packets past conntrack and NAT.
//!
//! A raw socket with our own IP header; the packets carry [`INJECTED_MARK`], by which our table
//! exempts them from conntrack.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use socket2::{Domain, Protocol, Socket, Type};

use crate::{proto::packet::Segment, ruleset::INJECTED_MARK};

/// Raw sockets of both families.
#[derive(Debug)]
pub struct Injector {
    v4: Socket,
    /// None on a machine without IPv6.
    v6: Option<Socket>,
}

impl Injector {
    /// Opens the sockets.
    ///
    /// # Errors
    /// CAP_NET_RAW is missing.
    pub fn open() -> io::Result<Self> {
        let v4 = raw(Domain::IPV4)?;
        v4.set_header_included_v4(true)?;
        let v6 = raw(Domain::IPV6)
            .and_then(|socket| socket.set_header_included_v6(true).map(|()| socket))
            .ok();
        Ok(Self { v4, v6 })
    }

    /// Sends a packet to where its IP header says.
    ///
    /// # Errors
    /// It is no TCP packet, its family is missing here, or the kernel refuses it.
    pub fn send(&self, packet: &[u8]) -> io::Result<()> {
        let segment = Segment::parse(packet).map_err(io::Error::other)?;
        let destination = segment.tuple.destination.ip();
        let socket = match destination {
            IpAddr::V4(_) => &self.v4,
            IpAddr::V6(_) => self
                .v6
                .as_ref()
                .ok_or_else(|| io::Error::other("no IPv6 on this machine"))?,
        };
        socket
            .send_to(packet, &SocketAddr::new(destination, 0).into())
            .map(drop)
    }
}

fn raw(domain: Domain) -> io::Result<Socket> {
    let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(libc::IPPROTO_RAW)))?;
    socket.set_mark(INJECTED_MARK)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}
