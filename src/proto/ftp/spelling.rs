//! Encodes an endpoint in the form of its announcement: host-port, long host-port or fields.

use std::{
    fmt::{self, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use super::{announcement::Announcement, kind::AnnouncementKind};

impl Announcement {
    /// How many bytes [`write_token`](Self::write_token) would write.
    pub(super) fn spelled_length(&self, endpoint: SocketAddr) -> Option<usize> {
        // It counts digits and writes none, because the search for an outside port asks for
        // thousands of ports.
        let (address, port) = (endpoint.ip(), endpoint.port());
        let port_octets = octets_length(&port.to_be_bytes());
        let lengths = match (self.kind, address) {
            (AnnouncementKind::Port | AnnouncementKind::Pasv, _) => {
                [octets_length(&ipv4(address)?.octets()), 1, port_octets]
            }
            (AnnouncementKind::Lprt | AnnouncementKind::Lpsv, IpAddr::V4(address)) => [
                octets_length(&address.octets()),
                "4,4,,2,".len(),
                port_octets,
            ],
            (AnnouncementKind::Lprt | AnnouncementKind::Lpsv, IpAddr::V6(address)) => [
                octets_length(&address.octets()),
                "6,16,,2,".len(),
                port_octets,
            ],
            (AnnouncementKind::Eprt | AnnouncementKind::Epsv, _) if self.address.is_some() => {
                [text_length(address), "|1|||".len(), digits(port)]
            }
            (AnnouncementKind::Eprt | AnnouncementKind::Epsv, _) => [0, "||||".len(), digits(port)],
        };
        Some(lengths.into_iter().fold(0, usize::saturating_add))
    }

    /// Writes the endpoint canonically, in the form of this announcement.
    pub(super) fn write_token(&self, out: &mut impl Write, endpoint: SocketAddr) -> Option<()> {
        let (address, port) = (endpoint.ip(), endpoint.port());
        match self.kind {
            AnnouncementKind::Port | AnnouncementKind::Pasv => {
                write_host_port(out, ipv4(address)?, port)
            }
            AnnouncementKind::Lprt | AnnouncementKind::Lpsv => {
                write_long_host_port(out, address, port)
            }
            AnnouncementKind::Eprt | AnnouncementKind::Epsv if self.address.is_some() => {
                let family = if address.is_ipv4() { 1 } else { 2 };
                // RFC 2428 §2 recommends the delimiter `|`. `Display` writes the canonical text of
                // RFC 5952.
                write!(out, "|{family}|{address}|{port}|")
            }
            AnnouncementKind::Eprt | AnnouncementKind::Epsv => write!(out, "|||{port}|"),
        }
        .ok()
    }
}

/// `10,0,0,1,19,137`
fn write_host_port(out: &mut impl Write, address: Ipv4Addr, port: u16) -> fmt::Result {
    write_octets(out, &address.octets())?;
    out.write_char(',')?;
    write_octets(out, &port.to_be_bytes())
}

/// `4,4,10,0,0,1,2,19,137`
fn write_long_host_port(out: &mut impl Write, address: IpAddr, port: u16) -> fmt::Result {
    match address {
        IpAddr::V4(address) => {
            out.write_str("4,4,")?;
            write_octets(out, &address.octets())?;
        }
        IpAddr::V6(address) => {
            out.write_str("6,16,")?;
            write_octets(out, &address.octets())?;
        }
    }
    out.write_str(",2,")?;
    write_octets(out, &port.to_be_bytes())
}

fn write_octets(out: &mut impl Write, octets: &[u8]) -> fmt::Result {
    for (index, octet) in octets.iter().enumerate() {
        if index > 0 {
            out.write_char(',')?;
        }
        write!(out, "{octet}")?;
    }
    Ok(())
}

/// The IPv4 address, also of an IPv4-mapped IPv6 address (RFC 4291 §2.5.5.2).
const fn ipv4(address: IpAddr) -> Option<Ipv4Addr> {
    match address.to_canonical() {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}

/// The length of an address as text, in bytes.
fn text_length(address: IpAddr) -> usize {
    match address {
        IpAddr::V4(address) => octets_length(&address.octets()),
        IpAddr::V6(address) => {
            let mut length = Length(0);
            write!(length, "{address}").map_or(0, |()| length.0)
        }
    }
}

/// The length of octets as decimal numbers with a separator between each two, in bytes.
fn octets_length(octets: &[u8]) -> usize {
    octets
        .iter()
        .map(|&octet| digits(octet.into()))
        .fold(octets.len().saturating_sub(1), usize::saturating_add)
}

const fn digits(number: u16) -> usize {
    match number {
        0..=9 => 1,
        10..=99 => 2,
        100..=999 => 3,
        1000..=9999 => 4,
        10000.. => 5,
    }
}

/// A writer that counts its bytes.
struct Length(usize);

impl Write for Length {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 = self.0.saturating_add(text.len());
        Ok(())
    }
}
