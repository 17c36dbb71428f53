//! A load of FTP announcements that costs little itself, to measure a helper with.
//!
//! `ftp_load serve ADDRESS:PORT` answers every PASV with a 227, accepts one data connection, sends
//! a few bytes over it, and says 226. `ftp_load run ADDRESS:PORT SESSIONS SECONDS` holds that many
//! sessions to it. Each does one transaction (PASV, 227, data connection, 226) after the other. The
//! program prints one line: transactions a second, and the median latency in microseconds.

#![expect(
    clippy::print_stdout,
    reason = "its one line of output is what it is run for"
)]
#![expect(clippy::disallowed_methods, reason = "a load measures real time")]

use std::{
    env,
    error::Error,
    io::{self, BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream},
    sync::{
        Arc, Barrier,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

const PAYLOAD: &[u8] = b"one data connection\r\n";
/// A transaction that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(5);
/// Sessions warm up before the clock starts.
const WARM_UP: Duration = Duration::from_millis(300);

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["serve", address] => serve(address.parse()?),
        ["run", address, sessions, seconds] => {
            run(address.parse()?, sessions.parse()?, seconds.parse()?)
        }
        _ => Err(
            "usage: ftp_load serve ADDRESS:PORT | ftp_load run ADDRESS:PORT SESSIONS SECONDS"
                .into(),
        ),
    }
}

fn serve(address: SocketAddr) -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind(address)?;
    eprintln!("ready");
    for control in listener.incoming() {
        let control = control?;
        // A client that goes away ends its session, not the server.
        thread::spawn(move || serve_session(control));
    }
    Ok(())
}

fn serve_session(control: TcpStream) -> io::Result<()> {
    control.set_nodelay(true)?;
    let SocketAddr::V4(local) = control.local_addr()? else {
        return Err(io::Error::other("IPv4 only"));
    };
    // One listener a session: what is measured is the helper, not the making of sockets.
    let data = TcpListener::bind(SocketAddrV4::new(*local.ip(), 0))?;
    let announcement = announcement(*local.ip(), data.local_addr()?.port());
    let mut commands = BufReader::new(control.try_clone()?);
    let mut replies = control;
    replies.write_all(b"220 load\r\n")?;
    let mut line = String::new();
    while commands.read_line(&mut line)? > 0 {
        line.clear();
        replies.write_all(announcement.as_bytes())?;
        let (mut transfer, _) = data.accept()?;
        transfer.write_all(PAYLOAD)?;
        drop(transfer);
        replies.write_all(b"226 done\r\n")?;
    }
    Ok(())
}

fn announcement(address: Ipv4Addr, port: u16) -> String {
    let [a, b, c, d] = address.octets();
    format!(
        "227 Entering Passive Mode ({a},{b},{c},{d},{},{}).\r\n",
        port >> 8,
        port & 255
    )
}

fn run(address: SocketAddr, sessions: usize, seconds: u64) -> Result<(), Box<dyn Error>> {
    let stop = Arc::new(AtomicBool::new(false));
    let measuring = Arc::new(AtomicBool::new(false));
    let connected = Arc::new(Barrier::new(sessions + 1));
    let threads: Vec<_> = (0..sessions)
        .map(|_| {
            let (stop, measuring, connected) = (
                Arc::clone(&stop),
                Arc::clone(&measuring),
                Arc::clone(&connected),
            );
            thread::spawn(move || -> io::Result<Vec<Duration>> {
                let session = Session::open(address);
                connected.wait();
                session?.transact(&stop, &measuring)
            })
        })
        .collect();
    connected.wait();
    thread::sleep(WARM_UP);
    measuring.store(true, Ordering::Relaxed);
    let begin = Instant::now();
    thread::sleep(Duration::from_secs(seconds));
    stop.store(true, Ordering::Relaxed);
    let elapsed = begin.elapsed();
    let mut latencies = Vec::new();
    for thread in threads {
        latencies.extend(thread.join().map_err(|_| "a session's thread panicked")??);
    }
    latencies.sort_unstable();
    let median = latencies
        .get(latencies.len() / 2)
        .ok_or("no transaction was completed")?;
    println!(
        "{:.1} {}",
        latencies.len() as f64 / elapsed.as_secs_f64(),
        median.as_micros()
    );
    Ok(())
}

struct Session {
    replies: BufReader<TcpStream>,
    commands: TcpStream,
}

impl Session {
    fn open(address: SocketAddr) -> io::Result<Self> {
        let commands = TcpStream::connect_timeout(&address, PATIENCE)?;
        commands.set_nodelay(true)?;
        commands.set_read_timeout(Some(PATIENCE))?;
        let mut session = Self {
            replies: BufReader::new(commands.try_clone()?),
            commands,
        };
        session.reply("220")?;
        Ok(session)
    }

    fn transact(mut self, stop: &AtomicBool, measuring: &AtomicBool) -> io::Result<Vec<Duration>> {
        let mut latencies = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            let begin = Instant::now();
            self.transaction()?;
            if measuring.load(Ordering::Relaxed) {
                latencies.push(begin.elapsed());
            }
        }
        Ok(latencies)
    }

    fn transaction(&mut self) -> io::Result<()> {
        self.commands.write_all(b"PASV\r\n")?;
        let line = self.reply("227")?;
        let endpoint =
            endpoint(&line).ok_or_else(|| io::Error::other(format!("no endpoint in {line:?}")))?;
        let mut transfer = TcpStream::connect_timeout(&endpoint, PATIENCE)?;
        transfer.set_read_timeout(Some(PATIENCE))?;
        let mut received = Vec::with_capacity(PAYLOAD.len());
        transfer.read_to_end(&mut received)?;
        self.reply("226")?;
        if received != PAYLOAD {
            return Err(io::Error::other(
                "the data connection brought something else",
            ));
        }
        Ok(())
    }

    fn reply(&mut self, code: &str) -> io::Result<String> {
        let mut line = String::new();
        self.replies.read_line(&mut line)?;
        if line.starts_with(code) {
            Ok(line)
        } else {
            Err(io::Error::other(format!("{line:?} in place of {code}")))
        }
    }
}

fn endpoint(line: &str) -> Option<SocketAddr> {
    let list = line.split_once('(')?.1.split_once(')')?.0;
    let numbers = list
        .split(',')
        .map(|number| number.parse().ok())
        .collect::<Option<Vec<u8>>>()?;
    let &[a, b, c, d, high, low] = numbers.as_slice() else {
        return None;
    };
    Some(SocketAddrV4::new(Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([high, low])).into())
}
