//! The TCP ports that this machine needs itself: those on which a program listens, and those that
//! `net.ipv4.ip_local_reserved_ports` keeps for one.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Seek},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use crate::proto::nat::PortSet;

/// Linux's number of a socket that listens (`TCP_LISTEN`), as the files have it.
const LISTENING: &str = "0A";

/// The most lines that are read of one file. A gateway has few sockets of its own.
const LINES_MAX: usize = 65_536;

/// The kernel's files about them. They stay open, because the daemon may open no other files once
/// it has given up its privileges.
#[derive(Debug)]
pub struct LocalPorts {
    sockets: Vec<File>,
    reserved: Option<File>,
}

impl LocalPorts {
    /// Opens the files of this network namespace. One that is not there says nothing: a kernel may
    /// lack IPv6.
    #[must_use]
    pub fn open() -> Self {
        let sockets = ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"];
        Self {
            sockets: sockets
                .iter()
                .filter_map(|path| File::open(path).ok())
                .collect(),
            reserved: File::open("/proc/sys/net/ipv4/ip_local_reserved_ports").ok(),
        }
    }

    /// Reads which ports they are at present. A listener on a loopback address takes none: no other
    /// machine reaches it.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn read(&mut self) -> io::Result<PortSet> {
        let mut ports = PortSet::default();
        for file in &mut self.sockets {
            for line in lines(file)? {
                ports.extend(listening(&line?));
            }
        }
        if let Some(file) = &mut self.reserved {
            for line in lines(file)? {
                line?
                    .split(',')
                    .filter_map(range)
                    .for_each(|range| ports.extend(range));
            }
        }
        Ok(ports)
    }
}

fn lines(file: &mut File) -> io::Result<impl Iterator<Item = io::Result<String>> + '_> {
    file.rewind()?;
    Ok(BufReader::new(file).lines().take(LINES_MAX))
}

/// `   0: 00000000:0015 00000000:0000 0A …`: the port of a socket that listens for other machines.
fn listening(line: &str) -> Option<u16> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let (address, port) = fields.next()?.split_once(':')?;
    let state = fields.nth(1)?;
    let is_loopback = address_of(address)?.to_canonical().is_loopback();
    let port = u16::from_str_radix(port, 16).ok()?;
    (state == LISTENING && !is_loopback).then_some(port)
}

/// Words of four octets each, in the byte order of this machine.
fn address_of(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| {
        let digits = hex.get(at * 8..at * 8 + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    match hex.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let mut octets = [0; 16];
            for (at, part) in octets.chunks_exact_mut(4).enumerate() {
                part.copy_from_slice(&word(at)?);
            }
            Some(Ipv6Addr::from(octets).into())
        }
        _ => None,
    }
}

/// `8080` or `9148-9150`
fn range(written: &str) -> Option<std::ops::RangeInclusive<u16>> {
    let written = written.trim();
    let (first, last) = written.split_once('-').unwrap_or((written, written));
    Some(first.parse().ok()?..=last.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_endian = "little")]
    #[test]
    fn only_sockets_that_listen_for_other_machines_take_a_port() {
        let any = "   0: 00000000:13C4 00000000:0000 0A 00000000:00000000 00:00000000 00000000";
        assert_eq!(listening(any), Some(5060));
        assert_eq!(
            listening(&any.replace("00000000:13C4", "0100007F:13C4")),
            None
        );
        assert_eq!(listening(&any.replace(" 0A ", " 01 ")), None);
        let any6 = "   0: 00000000000000000000000000000000:0015 \
                    00000000000000000000000000000000:0000 0A 00000000:00000000";
        assert_eq!(listening(any6), Some(21));
        let loopback = "   0: 00000000000000000000000001000000:0015 \
                        00000000000000000000000000000000:0000 0A 00000000:00000000";
        assert_eq!(listening(loopback), None);
        assert_eq!(
            listening("  sl  local_address rem_address   st tx_queue rx_queue"),
            None
        );
    }

    #[test]
    fn a_port_on_which_this_machine_begins_to_listen_is_seen() {
        let mut local = LocalPorts::open();
        let listener = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(local.read().unwrap().contains(port));
        drop(listener);
        assert!(!local.read().unwrap().contains(port));
    }

    #[test]
    fn reserved_ports_are_single_ones_and_ranges() {
        assert_eq!(range("8080\n"), Some(8080..=8080));
        assert_eq!(range("9148-9150"), Some(9148..=9150));
        assert_eq!(range("\n"), None);
    }
}
