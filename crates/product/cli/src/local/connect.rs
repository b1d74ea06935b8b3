//! A minimal client: HTTP CONNECT through the proxy, and GET behind it.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;
use thiserror::Error;

/// Bytes of the longest answer head that is read.
const HEAD_MAX: u64 = 16 * 1024;

/// Why a fetch failed.
#[derive(Debug, Error)]
pub(crate) enum FetchError {
    /// The connection failed or was silent for too long.
    #[error("the connection failed: {0}")]
    Connection(#[from] io::Error),
    /// The proxy refused, in its own words.
    #[error("the proxy answered: {0}")]
    Refused(String),
    /// The server's answer is not one.
    #[error("the server answered: {0}")]
    Answer(String),
}

/// Opens a connection to `to` through the proxy. `silence`: how long it may say nothing, then and later.
pub(crate) fn through(proxy: SocketAddr, to: SocketAddr, silence: Duration) -> Result<TcpStream, FetchError> {
    let stream = TcpStream::connect_timeout(&proxy, silence)?;
    stream.set_read_timeout(Some(silence))?;
    stream.set_write_timeout(Some(silence))?;
    stream.set_nodelay(true)?;
    (&stream).write_all(format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n").as_bytes())?;
    // Byte by byte: what follows the head belongs to the server.
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && (head.len() as u64) < HEAD_MAX {
        let mut byte = [0];
        (&stream).read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let first = first_line(&head);
    if first.split(' ').nth(1) == Some("200") { Ok(stream) } else { Err(FetchError::Refused(first)) }
}

/// Fetches `path` with HTTP/1.1 and hands every piece of the body with its position to `take`. Returns the body's
/// length. `range`: first byte and length, if not all.
pub(crate) fn get(
    stream: TcpStream,
    path: &str,
    range: Option<(u64, u64)>,
    mut take: impl FnMut(u64, &[u8]),
) -> Result<u64, FetchError> {
    let range = range.map(|(start, length)| format!("Range: bytes={start}-{}\r\n", start + length - 1));
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: origin.demo\r\n{}Connection: close\r\n\r\n",
        range.as_deref().unwrap_or_default()
    );
    (&stream).write_all(request.as_bytes())?;
    let mut reader = BufReader::new(stream);
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let before = head.len();
        reader.by_ref().take(HEAD_MAX).read_until(b'\n', &mut head)?;
        if head.len() == before || head.len() as u64 > HEAD_MAX {
            return Err(FetchError::Answer("no complete head".to_owned()));
        }
    }
    let first = first_line(&head);
    let wanted = if range.is_some() { "206" } else { "200" };
    if first.split(' ').nth(1) != Some(wanted) {
        return Err(FetchError::Answer(first));
    }
    let length = content_length(&head).ok_or_else(|| FetchError::Answer("no length".to_owned()))?;
    let mut position = 0;
    let mut buffer = vec![0; 64 * 1024];
    while position < length {
        let wanted = buffer.len().min(usize::try_from(length - position).unwrap_or(usize::MAX));
        let count = reader.read(&mut buffer[..wanted])?;
        if count == 0 {
            return Err(FetchError::Answer(format!("only {position} of {length} bytes")));
        }
        take(position, &buffer[..count]);
        position += count as u64;
    }
    Ok(length)
}

fn first_line(head: &[u8]) -> String {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    String::from_utf8_lossy(line).into_owned()
}

fn content_length(head: &[u8]) -> Option<u64> {
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok())
}
