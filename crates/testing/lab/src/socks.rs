//! A SOCKS5 client, and transfers through it that note when bytes come.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use crate::load::{pattern, read_pattern, send_pattern};

const CHUNK: usize = 64 << 10;

/// Opens a connection to `to` through the proxy. `silence`: how long either may say nothing, then and later.
///
/// # Errors
/// If the proxy is not there or refuses; then with the code of RFC 1928, section 6.
pub fn connect(proxy: SocketAddr, to: SocketAddr, silence: Duration) -> anyhow::Result<TcpStream> {
    let mut stream = TcpStream::connect(proxy).with_context(|| format!("no proxy at {proxy}"))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(silence))?;
    stream.set_write_timeout(Some(silence))?;
    // A host of digits is what proxies that only take names take as well.
    let host = to.ip().to_string();
    let mut request = vec![5, 1, 0, 3, u8::try_from(host.len())?];
    request.extend_from_slice(host.as_bytes());
    request.extend_from_slice(&to.port().to_be_bytes());
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
    source: SocketAddr,
    bytes: u64,
    silence: Duration,
    mut progress: impl FnMut(u64),
) -> anyhow::Result<Transfer> {
    let begun = Instant::now();
    let mut stream = connect(proxy, source, silence)?;
    let mut transfer = Transfer::default();
    let mut buffer = vec![0; CHUNK];
    let mut last = Instant::now();
    while transfer.bytes < bytes {
        let wanted = usize::try_from(bytes - transfer.bytes).unwrap_or(CHUNK).min(CHUNK);
        let length = read(&mut stream, &mut buffer[..wanted])
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
        progress(transfer.bytes);
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

    const SILENCE: Duration = Duration::from_secs(10);

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
