//! A SOCKS5 client, and transfers through it that note when bytes come.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use crate::load::{pattern, read_pattern, send_pattern};

const CHUNK: usize = 64 << 10;
/// Bytes of the head of an answer of HTTP, most.
const HEAD_MAX: usize = 4_096;

/// Where a connection is to go, as a proxy is told: a name, or an address in digits, which proxies that only take names take as well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    host: String,
    port: u16,
}

impl Place {
    /// A port of a name.
    pub fn named(host: &str, port: u16) -> Self {
        Self { host: host.to_owned(), port }
    }

    /// The name or the digits.
    pub fn host(&self) -> &str {
        &self.host
    }
}

impl From<SocketAddr> for Place {
    fn from(address: SocketAddr) -> Self {
        Self { host: address.ip().to_string(), port: address.port() }
    }
}

/// Opens a connection to `to` through the proxy. `silence`: how long either may say nothing, then and later.
///
/// # Errors
/// If the proxy is not there or refuses; then with the code of RFC 1928, section 6.
pub fn connect(proxy: SocketAddr, to: impl Into<Place>, silence: Duration) -> anyhow::Result<TcpStream> {
    let Place { host, port } = to.into();
    let mut stream = TcpStream::connect(proxy).with_context(|| format!("no proxy at {proxy}"))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(silence))?;
    stream.set_write_timeout(Some(silence))?;
    let mut request = vec![5, 1, 0, 3, u8::try_from(host.len())?];
    request.extend_from_slice(host.as_bytes());
    request.extend_from_slice(&port.to_be_bytes());
    stream.write_all(&[5, 1, 0])?;
    let mut method = [0; 2];
    stream.read_exact(&mut method).context("the proxy chose no method")?;
    ensure!(method == [5, 0], "the proxy wants another method: {method:?}");
    stream.write_all(&request)?;
    let mut head = [0; 4];
    stream.read_exact(&mut head).context("the proxy gave no answer")?;
    if head[1] != 0 {
        bail!("the proxy refuses with code {}", head[1]);
    }
    let bound = match head[3] {
        1 => 4 + 2,
        4 => 16 + 2,
        other => bail!("the proxy answers with an address of kind {other}"),
    };
    stream.read_exact(&mut [0; 18][..bound]).context("the proxy's answer is cut short")?;
    Ok(stream)
}

/// What came of a transfer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Transfer {
    /// Bytes of the pattern.
    pub bytes: u64,
    /// From the request for the connection to the last byte.
    pub lasting: Duration,
    /// From the request for the connection to the first byte.
    pub first_byte: Duration,
    /// The longest time between two bytes; on an upload, between two writes.
    pub longest_stall: Duration,
}

impl Transfer {
    /// Mbit/s over the whole.
    pub fn megabits_per_second(&self) -> f64 {
        self.bytes as f64 * 8.0 / 1e6 / self.lasting.as_secs_f64()
    }
}

/// Downloads the first `bytes` bytes of the pattern from a [`crate::load::Service::Source`] of at least as many, and compares
/// each. `progress` is told after each piece how many have come.
///
/// # Errors
/// If the connection fails or ends early, or a byte is wrong.
pub fn download(
    proxy: SocketAddr,
    source: impl Into<Place>,
    bytes: u64,
    silence: Duration,
    mut progress: impl FnMut(u64),
) -> anyhow::Result<Transfer> {
    let begun = Instant::now();
    let mut stream = connect(proxy, source, silence)?;
    let go_on = |come| {
        progress(come);
        true
    };
    compare(&mut stream, begun, bytes, go_on)
}

/// The same of a file of the pattern that a server of HTTP has under this name. It ends early, and well, when `go_on`, which is told
/// after each piece how many bytes have come, says no.
///
/// # Errors
/// If the connection fails or ends early, the server does not have it, or a byte is wrong.
pub fn get(
    proxy: SocketAddr,
    server: impl Into<Place>,
    name: &str,
    bytes: u64,
    silence: Duration,
    go_on: impl FnMut(u64) -> bool,
) -> anyhow::Result<Transfer> {
    let begun = Instant::now();
    let mut stream = ask(proxy, server, name, silence)?;
    compare(&mut stream, begun, bytes, go_on)
}

/// Asks a server of HTTP for a file. What comes out of the connection next is its first byte.
///
/// # Errors
/// If the connection fails, or the server does not have it.
pub fn ask(proxy: SocketAddr, server: impl Into<Place>, name: &str, silence: Duration) -> anyhow::Result<TcpStream> {
    let mut stream = connect(proxy, server, silence)?;
    stream.write_all(format!("GET /{name} HTTP/1.0\r\n\r\n").as_bytes())?;
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        ensure!(head.len() < HEAD_MAX, "the head of an answer does not end");
        stream.read_exact(&mut byte).context("the server gave no answer")?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head);
    ensure!(head.split(' ').nth(1) == Some("200"), "the server answers {head}");
    Ok(stream)
}

/// Reads so many bytes of the pattern of a transfer that was begun then.
fn compare(
    stream: &mut TcpStream,
    begun: Instant,
    bytes: u64,
    mut go_on: impl FnMut(u64) -> bool,
) -> anyhow::Result<Transfer> {
    let mut transfer = Transfer::default();
    let mut buffer = vec![0; CHUNK];
    let mut last = Instant::now();
    while transfer.bytes < bytes {
        let wanted = usize::try_from(bytes - transfer.bytes).unwrap_or(CHUNK).min(CHUNK);
        let length = read(stream, &mut buffer[..wanted])
            .with_context(|| format!("after {} of {bytes} bytes", transfer.bytes))?;
        let now = Instant::now();
        if transfer.bytes == 0 {
            transfer.first_byte = now - begun;
        } else {
            transfer.longest_stall = transfer.longest_stall.max(now - last);
        }
        last = now;
        for (index, byte) in buffer[..length].iter().enumerate() {
            let position = transfer.bytes + index as u64;
            ensure!(*byte == pattern(position), "byte {position} is wrong");
        }
        transfer.bytes += length as u64;
        transfer.lasting = now - begun;
        if !go_on(transfer.bytes) {
            break;
        }
    }
    Ok(transfer)
}

fn read(stream: &mut TcpStream, buffer: &mut [u8]) -> anyhow::Result<usize> {
    match stream.read(buffer) {
        Ok(0) => bail!("the connection has ended"),
        Ok(length) => Ok(length),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => bail!("nothing comes any more"),
        Err(error) => Err(error.into()),
    }
}

/// Starts a server for [`upload`] on a free port of loopback. It runs until the process ends.
///
/// Clients say first how much they send, since not every proxy lets a connection be closed in one direction alone.
///
/// # Errors
/// If no port is free.
pub fn start_sink() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A connection that breaks is its client's affair.
            std::thread::spawn(move || swallow(stream));
        }
    });
    Ok(address)
}

/// Reads eight bytes with a number, and so many bytes of the pattern; answers how many were right.
fn swallow(mut stream: TcpStream) -> io::Result<()> {
    let mut length = [0; 8];
    stream.read_exact(&mut length)?;
    let right = read_pattern(&mut (&mut stream).take(u64::from_be_bytes(length)))?;
    stream.write_all(&right.to_be_bytes())
}

/// Uploads `bytes` bytes of the pattern to a server of [`start_sink`], which compares them.
///
/// # Errors
/// If the connection fails, or something else has come there.
pub fn upload(proxy: SocketAddr, sink: SocketAddr, bytes: u64, silence: Duration) -> anyhow::Result<Transfer> {
    let begun = Instant::now();
    let mut stream = connect(proxy, sink, silence)?;
    stream.write_all(&bytes.to_be_bytes())?;
    let mut writer = Noting { stream: &mut stream, last: Instant::now(), longest: Duration::ZERO };
    send_pattern(&mut writer, bytes).context("while sending")?;
    let longest_stall = writer.longest;
    let mut counted = [0; 8];
    stream.read_exact(&mut counted).context("the sink has not answered")?;
    let counted = u64::from_be_bytes(counted);
    ensure!(counted == bytes, "the sink has counted {counted} of {bytes} bytes");
    Ok(Transfer { bytes, lasting: begun.elapsed(), first_byte: begun.elapsed(), longest_stall })
}

/// Notes the longest time between two writes.
struct Noting<'a> {
    stream: &'a mut TcpStream,
    last: Instant,
    longest: Duration,
}

impl Write for Noting<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.stream.write(bytes)?;
        self.longest = self.longest.max(self.last.elapsed());
        self.last = Instant::now();
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::{self, Service};
    use std::net::Shutdown;
    use std::thread;

    /// A proxy for one connection that answers with `code`.
    fn proxy(code: u8) -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has free ports");
        let address = listener.local_addr().expect("it is bound");
        thread::spawn(move || {
            let (mut client, _) = listener.accept()?;
            let mut head = [0; 3 + 5];
            client.read_exact(&mut head[..3])?;
            client.write_all(&[5, 0])?;
            client.read_exact(&mut head[3..])?;
            let mut rest = vec![0; usize::from(head[7]) + 2];
            client.read_exact(&mut rest)?;
            client.write_all(&[5, code, 0, 1, 0, 0, 0, 0, 0, 0])?;
            let (host, port) = rest.split_at(rest.len() - 2);
            let to = format!("{}:{}", String::from_utf8_lossy(host), u16::from_be_bytes([port[0], port[1]]));
            let mut server = TcpStream::connect(to)?;
            let (mut back, mut answers) = (server.try_clone()?, client.try_clone()?);
            thread::spawn(move || {
                io::copy(&mut back, &mut answers)?;
                answers.shutdown(Shutdown::Write)
            });
            io::copy(&mut client, &mut server)?;
            server.shutdown(Shutdown::Write)
        });
        address
    }

    const SILENCE: Duration = Duration::from_secs(60);

    #[test]
    fn transfers_are_compared_and_counted() {
        let source = load::start(Service::Source { bytes: 300_000 }).expect("loopback has free ports");
        let mut seen = 0;
        let down = download(proxy(0), source, 300_000, SILENCE, |bytes| seen = bytes).expect("a download");
        assert_eq!((down.bytes, seen), (300_000, 300_000));
        assert!(down.first_byte <= down.lasting && down.longest_stall <= down.lasting);
        let sink = start_sink().expect("loopback has free ports");
        assert_eq!(upload(proxy(0), sink, 300_001, SILENCE).map(|up| up.bytes).ok(), Some(300_001));
    }

    #[test]
    fn files_of_a_web_server_are_compared() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has free ports");
        let server = listener.local_addr().expect("it is bound");
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream?;
                let mut request = [0; 11];
                stream.read_exact(&mut request)?;
                let is_there = request.starts_with(b"GET /object");
                stream.write_all(if is_there { b"HTTP/1.1 200 OK\r\n\r\n" } else { b"HTTP/1.1 404 no\r\n\r\n" })?;
                send_pattern(&mut stream, 1_000)?;
            }
            io::Result::Ok(())
        });
        let place = Place::named(&server.ip().to_string(), server.port());
        let found = get(proxy(0), place.clone(), "object", 1_000, SILENCE, |_| true).expect("it is there");
        assert_eq!(found.bytes, 1_000);
        let error = get(proxy(0), place, "others", 1_000, SILENCE, |_| true).expect_err("it is not");
        assert!(error.to_string().contains("404"), "{error}");
    }

    #[test]
    fn what_goes_wrong_is_told() {
        let source = load::start(Service::Source { bytes: 10 }).expect("loopback has free ports");
        let refused = connect(proxy(2), source, SILENCE).expect_err("it is refused");
        assert!(refused.to_string().contains("code 2"), "{refused}");
        let short = download(proxy(0), source, 11, SILENCE, |_| {}).expect_err("there are only ten");
        assert!(format!("{short:#}").contains("after 10 of 11 bytes: the connection has ended"), "{short:#}");
        let echo = load::start(Service::Echo).expect("loopback has free ports");
        let silent = download(proxy(0), echo, 1, Duration::from_millis(50), |_| {}).expect_err("it says nothing");
        assert!(format!("{silent:#}").contains("nothing comes"), "{silent:#}");
    }
}
