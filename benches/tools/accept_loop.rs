//! The least that a program behind an NFQUEUE can do: it accepts every packet. `ftp-alg` is
//! measured against it.
//!
//! `accept_loop QUEUE...` binds each queue number on a thread of its own and prints `ready`.

use std::{env, error::Error, thread};

use nfq::{Queue, Verdict};

fn main() -> Result<(), Box<dyn Error>> {
    let numbers = env::args()
        .skip(1)
        .map(|number| number.parse())
        .collect::<Result<Vec<u16>, _>>()?;
    if numbers.is_empty() {
        return Err("which queues? e.g. accept_loop 0 1".into());
    }
    let mut threads = Vec::new();
    for number in numbers {
        let mut queue = Queue::open()?;
        queue.bind(number)?;
        threads.push(thread::spawn(move || accept_all(&mut queue)));
    }
    eprintln!("ready");
    for thread in threads {
        thread.join().map_err(|_| "a queue's thread panicked")??;
    }
    Ok(())
}

fn accept_all(queue: &mut Queue) -> std::io::Result<()> {
    loop {
        let mut message = queue.recv()?;
        message.set_verdict(Verdict::Accept);
        queue.verdict(message)?;
    }
}
