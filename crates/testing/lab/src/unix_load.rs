//! A client of a unix socket that measures itself, to be run plain or under the library of `hushwire swap`.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::load;
use crate::measure::cpu_ns;

/// Bytes of one call.
const CHUNK: usize = 64 << 10;
/// Bytes of one message of a round trip.
const PROBE: usize = 64;
/// Calls between two looks at the clock.
const CALLS_PER_LOOK: u32 = 64;

/// What a client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Work {
    /// Sends without end.
    Up,
    /// Receives without end.
    Down,
    /// Sends 64 bytes and waits for as many, one by one.
    Trips,
}

/// What it did.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Done {
    /// Bytes that it sent or received.
    pub bytes: u64,
    /// For how long.
    pub seconds: f64,
    /// Its processor time.
    pub cpu_s: f64,
    /// Median of its round trips in microseconds; 0 without any.
    pub trip_us: f64,
}

/// Works for a time. The server behind the socket sends (`d`) or takes (`u`) as the first byte says, or echoes.
///
/// # Errors
/// If connecting, sending or receiving fails.
pub fn run(path: &Path, work: Work, lasting: Duration) -> io::Result<Done> {
    let mut stream = UnixStream::connect(path)?;
    let (began, before) = (Instant::now(), cpu_ns(std::process::id()));
    let mut trips = Vec::new();
    let bytes = match work {
        Work::Trips => {
            let mut buffer = [0x5a; PROBE];
            while began.elapsed() < lasting {
                let sent = Instant::now();
                stream.write_all(&buffer)?;
                stream.read_exact(&mut buffer)?;
                trips.push(sent.elapsed());
            }
            (trips.len() * PROBE) as u64
        }
        Work::Up | Work::Down => endlessly(&mut stream, work, || began.elapsed() < lasting)?,
    };
    trips.sort_unstable();
    Ok(Done {
        bytes,
        seconds: began.elapsed().as_secs_f64(),
        cpu_s: cpu_ns(std::process::id()).saturating_sub(before) as f64 / 1e9,
        trip_us: load::quantile(&trips, 0.5).map_or(0.0, |trip| trip.as_secs_f64() * 1e6),
    })
}

fn endlessly(stream: &mut UnixStream, work: Work, goes_on: impl Fn() -> bool) -> io::Result<u64> {
    let mut buffer = vec![0x5a; CHUNK];
    stream.write_all(if work == Work::Up { b"u" } else { b"d" })?;
    let mut bytes = 0;
    while goes_on() {
        for _ in 0..CALLS_PER_LOOK {
            bytes += match work {
                Work::Up => stream.write(&buffer)?,
                _ => stream.read(&mut buffer)?,
            } as u64;
        }
    }
    Ok(bytes)
}
