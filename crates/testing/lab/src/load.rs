//! Simple TCP loads: echo, latency, source and sink.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// Connections that a server here serves at once; more are closed at once.
const CONNECTIONS_MAX: usize = 4096;
/// Bytes of one round trip of [`latencies`].
const PROBE: usize = 64;
const CHUNK: usize = 64 << 10;
/// Connections that may wait to be accepted. With the library's 128, of a thousand that come at once some wait for a
/// repeated SYN, and on a busy machine the kernel may even forget one that the client believes to be open.
const BACKLOG: i32 = 4096;

/// What a server does with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Sends back what comes, and closes when the other side does.
    Echo,
    /// Sends so many bytes of [`pattern`], then closes its direction and reads to the end.
    Source {
        /// How many.
        bytes: u64,
    },
    /// Reads to the end, then answers with the number of bytes as eight big-endian bytes.
    Sink,
}

/// Starts a server on a free port of loopback. It runs until the process ends.
///
/// # Errors
/// If no port is free.
pub fn start(service: Service) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    rustix::net::listen(&listener, BACKLOG)?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || serve(&listener, service));
    Ok(address)
}

/// Serves connections, each in its own thread, until accepting fails.
pub fn serve(listener: &TcpListener, service: Service) {
    let open = std::sync::Arc::new(());
    for stream in listener.incoming() {
        let Ok(stream) = stream else { return };
        if std::sync::Arc::strong_count(&open) > CONNECTIONS_MAX {
            continue;
        }
        let token = std::sync::Arc::clone(&open);
        std::thread::spawn(move || {
            // A connection that breaks is the other side's affair.
            let _ = serve_one(stream, service);
            drop(token);
        });
    }
}

fn serve_one(mut stream: TcpStream, service: Service) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; CHUNK];
    match service {
        Service::Echo => loop {
            let length = stream.read(&mut buffer)?;
            if length == 0 {
                return stream.shutdown(Shutdown::Write);
            }
            stream.write_all(&buffer[..length])?;
        },
        Service::Source { bytes } => {
            send_pattern(&mut stream, bytes)?;
            stream.shutdown(Shutdown::Write)?;
            io::copy(&mut stream, &mut io::sink()).map(drop)
        }
        Service::Sink => {
            let bytes = io::copy(&mut stream, &mut io::sink())?;
            stream.write_all(&bytes.to_be_bytes())
        }
    }
}

/// Byte number `index` of the pattern: every 8-byte word is a scrambled word number, so that lost, repeated or
/// exchanged bytes show.
pub fn pattern(index: u64) -> u8 {
    word(index / 8).to_le_bytes()[(index % 8) as usize]
}

fn word(number: u64) -> u64 {
    let mixed = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}

/// Writes the first `bytes` bytes of the pattern.
///
/// # Errors
/// If writing fails.
pub fn send_pattern(to: &mut impl Write, bytes: u64) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    let mut sent = 0;
    while sent < bytes {
        for (index, place) in chunk.chunks_exact_mut(8).enumerate() {
            place.copy_from_slice(&word(sent / 8 + index as u64).to_le_bytes());
        }
        let length = usize::try_from(bytes - sent).unwrap_or(CHUNK).min(CHUNK);
        to.write_all(&chunk[..length])?;
        sent += length as u64;
    }
    Ok(())
}

/// Reads to the end and counts the bytes, which must be those of the pattern.
///
/// # Errors
/// If reading fails, or `InvalidData` with the position of the first wrong byte.
pub fn read_pattern(from: &mut impl Read) -> io::Result<u64> {
    let mut buffer = vec![0; CHUNK];
    let mut read = 0u64;
    loop {
        let length = match from.read(&mut buffer) {
            Ok(0) => return Ok(read),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        for (index, byte) in buffer[..length].iter().enumerate() {
            let position = read + index as u64;
            if *byte != pattern(position) {
                return Err(io::Error::new(io::ErrorKind::InvalidData, format!("byte {position} is wrong")));
            }
        }
        read += length as u64;
    }
}

/// Round-trip times of small messages over one connection to an echo server, each `gap` after the answer to the one
/// before, so that they fall on no regular grid of anybody else.
///
/// # Errors
/// If the connection fails.
pub fn latencies(stream: &mut TcpStream, count: usize, gap: Duration) -> io::Result<Vec<Duration>> {
    stream.set_nodelay(true)?;
    let mut times = Vec::with_capacity(count);
    let mut message = [0; PROBE];
    for index in 0..count {
        // Gaps from half to one and a half of the mean, in a fixed scrambled order.
        std::thread::sleep(gap.mul_f64(0.5 + (word(index as u64) % 1000) as f64 / 1000.0));
        message.fill(index as u8);
        let begin = Instant::now();
        stream.write_all(&message)?;
        stream.read_exact(&mut message)?;
        times.push(begin.elapsed());
    }
    Ok(times)
}

/// The value below which `share` of the times lie; `None` without times.
pub fn quantile(times: &[Duration], share: f64) -> Option<Duration> {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let index = (share * sorted.len() as f64) as usize;
    sorted.get(index.min(sorted.len().checked_sub(1)?)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connect(service: Service) -> TcpStream {
        let address = start(service).expect("loopback has free ports");
        TcpStream::connect(address).expect("the server listens")
    }

    #[test]
    fn the_source_sends_the_pattern_to_the_end() {
        for bytes in [0, 7, 100_003] {
            assert_eq!(read_pattern(&mut connect(Service::Source { bytes })).ok(), Some(bytes));
        }
    }

    #[test]
    fn wrong_bytes_are_found() {
        let mut bytes = Vec::new();
        send_pattern(&mut bytes, 1000).expect("memory takes it");
        bytes.swap(500, 501);
        let error = read_pattern(&mut bytes.as_slice()).expect_err("two bytes are exchanged");
        assert_eq!(error.to_string(), "byte 500 is wrong");
        bytes.swap(500, 501);
        bytes.drain(300..308);
        assert!(read_pattern(&mut bytes.as_slice()).is_err());
    }

    #[test]
    fn the_sink_answers_a_half_closed_connection() {
        let mut stream = connect(Service::Sink);
        send_pattern(&mut stream, 12_345).expect("the server reads");
        stream.shutdown(Shutdown::Write).expect("the connection is open");
        let mut answer = [0; 8];
        stream.read_exact(&mut answer).expect("the server answers");
        assert_eq!(u64::from_be_bytes(answer), 12_345);
    }

    #[test]
    fn latencies_over_the_echo() {
        let times = latencies(&mut connect(Service::Echo), 20, Duration::from_micros(100)).expect("the server answers");
        assert_eq!(times.len(), 20);
        assert!(quantile(&times, 0.0) <= quantile(&times, 0.5) && quantile(&times, 0.5) <= quantile(&times, 1.0));
        assert_eq!(quantile(&[], 0.5), None);
    }
}
