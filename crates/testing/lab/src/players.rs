//! Players of video as the simulator has them: each asks for a segment every five seconds over one connection through
//! the proxy, whether or not the last one has come.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, ensure};
use shaping_sim::REQUEST_BYTES;
use shaping_sim::trace::{Direction, Trace};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::Instant;

/// Most players: each has an address of its own in 127.1.0.0/16.
pub const PLAYERS_MAX: u32 = 1 << 14;
/// Largest segment that the server sends.
const SEGMENT_BYTES_MAX: u64 = 1 << 24;
const CHUNK: usize = 64 << 10;

/// What players saw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watched {
    /// From the moment a segment was due to its last byte, of every segment that came.
    pub latencies: Vec<Duration>,
    /// Bytes of requests and of segments that came before the end of the trace.
    pub application_bytes: u64,
    /// Segments that had not come when watching ended.
    pub missing: usize,
}

/// A segment: when it is due, and its bytes.
type Segment = (Duration, u64);

/// Starts the server of segments on a free port of loopback, in a thread of its own.
///
/// # Errors
/// If no port is free.
pub fn serve() -> io::Result<SocketAddr> {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::spawn(move || {
        runtime.block_on(async move {
            let Ok(listener) = TcpListener::from_std(listener) else { return };
            while let Ok((stream, _)) = listener.accept().await {
                // A connection that breaks is seen by its player.
                tokio::spawn(answer(stream));
            }
        });
    });
    Ok(address)
}

/// Reads requests, each of which begins with the length of its answer, and answers them in turn.
async fn answer(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut request = [0; REQUEST_BYTES as usize];
    let chunk = vec![0x5a; CHUNK];
    loop {
        stream.read_exact(&mut request).await?;
        let mut left = length_in(&request).min(SEGMENT_BYTES_MAX);
        while left > 0 {
            let length = left.min(CHUNK as u64);
            stream.write_all(&chunk[..length as usize]).await?;
            left -= length;
        }
    }
}

fn length_in(request: &[u8]) -> u64 {
    request.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

/// Plays the segments of a trace through a SOCKS5 proxy and waits `drain` longer for what is under way. Every client of
/// the trace has an address of its own, so that it is a client of its own to the entry. `started` is called when all are
/// connected and the time of the trace begins.
///
/// # Errors
/// If the trace has too many clients, or a connection is refused or breaks.
pub fn play(
    proxy: SocketAddr,
    server: SocketAddr,
    trace: &Trace,
    length: Duration,
    drain: Duration,
    started: impl FnOnce(),
) -> anyhow::Result<Watched> {
    ensure!(trace.clients() <= PLAYERS_MAX, "{} clients are more than {PLAYERS_MAX}", trace.clients());
    let mut segments = vec![Vec::new(); trace.clients() as usize];
    for transfer in trace.transfers().iter().filter(|it| it.direction == Direction::Down && it.at < length) {
        segments[transfer.client.0 as usize].push((transfer.at, transfer.bytes));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut streams = Vec::new();
        for client in 0..trace.clients() {
            streams.push(connect(proxy, server, client).await.with_context(|| format!("player {client}"))?);
        }
        started();
        let start = Instant::now();
        let mut players = tokio::task::JoinSet::new();
        for (stream, segments) in streams.into_iter().zip(segments) {
            players.spawn(player(stream, segments, start, length, drain));
        }
        let mut all = Watched::default();
        while let Some(one) = players.join_next().await {
            let one = one??;
            all.latencies.extend(one.latencies);
            all.application_bytes += one.application_bytes;
            all.missing += one.missing;
        }
        Ok(all)
    })
}

async fn connect(proxy: SocketAddr, server: SocketAddr, client: u32) -> anyhow::Result<TcpStream> {
    let SocketAddr::V4(server) = server else { anyhow::bail!("the server has an IPv4 address") };
    let [_, _, high, low] = (client + 1).to_be_bytes();
    let socket = TcpSocket::new_v4()?;
    socket.bind((Ipv4Addr::new(127, 1, high, low), 0).into())?;
    let mut stream = socket.connect(proxy).await?;
    stream.set_nodelay(true)?;
    stream.write_all(&[5, 1, 0]).await?;
    let mut method = [0; 2];
    stream.read_exact(&mut method).await?;
    ensure!(method == [5, 0], "the proxy wants a login: {method:?}");
    let mut request = vec![5, 1, 0, 1];
    request.extend(server.ip().octets());
    request.extend(server.port().to_be_bytes());
    stream.write_all(&request).await?;
    let mut answer = [0; 10];
    stream.read_exact(&mut answer).await?;
    ensure!(answer[..2] == [5, 0], "the proxy refuses: {answer:?}");
    Ok(stream)
}

async fn player(
    stream: TcpStream,
    segments: Vec<Segment>,
    start: Instant,
    length: Duration,
    drain: Duration,
) -> anyhow::Result<Watched> {
    let (reader, writer) = stream.into_split();
    let ask = ask(writer, segments.clone(), start);
    let mut seen = Watched { missing: segments.len(), ..Watched::default() };
    let watch = watch(reader, segments, start, length, &mut seen);
    let until = start + length + drain;
    // A player whose segments have not come in time is a figure, no failure.
    if let Ok(both) = tokio::time::timeout_at(until, async { tokio::try_join!(ask, watch) }).await {
        both.context("a connection broke")?;
    }
    Ok(seen)
}

/// Asks for each segment when it is due. The direction stays open until the end.
async fn ask(mut writer: OwnedWriteHalf, segments: Vec<Segment>, start: Instant) -> io::Result<OwnedWriteHalf> {
    for (at, bytes) in segments {
        tokio::time::sleep_until(start + at).await;
        let mut request = [0; REQUEST_BYTES as usize];
        request[..8].copy_from_slice(&bytes.to_be_bytes());
        writer.write_all(&request).await?;
    }
    Ok(writer)
}

async fn watch(
    mut reader: OwnedReadHalf,
    segments: Vec<Segment>,
    start: Instant,
    length: Duration,
    seen: &mut Watched,
) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    for (at, bytes) in segments {
        let mut left = bytes;
        while left > 0 {
            let most = left.min(CHUNK as u64) as usize;
            let read = reader.read(&mut buffer[..most]).await?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            left -= read as u64;
            if start.elapsed() <= length {
                seen.application_bytes += read as u64;
            }
        }
        seen.application_bytes += REQUEST_BYTES;
        seen.latencies.push(start.elapsed().saturating_sub(at));
        seen.missing -= 1;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_answers_every_request_with_as_many_bytes_as_it_names() -> anyhow::Result<()> {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(serve()?)?;
        for bytes in [1_u64, 70_000, 0, 3] {
            let mut request = [0; REQUEST_BYTES as usize];
            request[..8].copy_from_slice(&bytes.to_be_bytes());
            stream.write_all(&request)?;
            let mut answer = vec![0; bytes as usize];
            stream.read_exact(&mut answer)?;
            assert!(answer.iter().all(|byte| *byte == 0x5a));
        }
        stream.set_read_timeout(Some(Duration::from_millis(50)))?;
        assert!(stream.read(&mut [0]).is_err(), "nothing beyond what was asked for");
        Ok(())
    }
}
