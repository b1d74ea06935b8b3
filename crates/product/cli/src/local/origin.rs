//! A small web server on loopback: a page, and an object large enough to watch.

use crate::local::pattern;
use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, RANGE};
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// Bytes of the object at [`OBJECT_PATH`].
pub(crate) const OBJECT_LEN: u64 = 100_000_000;
/// Where the object is.
pub(crate) const OBJECT_PATH: &str = "/100mb";
/// Bytes of each piece of the object that is made at once.
const PIECE: u64 = 64 * 1024;
/// Connections served at once; the next one waits.
const CONNECTIONS_MAX: usize = 256;

/// The page at `/`.
pub(crate) const PAGE: &str = "<!doctype html>
<html lang=\"en\">
<meta charset=\"utf-8\">
<title>It works</title>
<h1>It works</h1>
<p>This page came through Hushwire: your program talked to the entry, the entry to the exit in packets of one size at a
public rate, over relays if there are any, and the exit to this small server.</p>
<p>While you fetch <a href=\"/100mb\">/100mb</a>, look at the demo's terminal: the wire carries what it always carries.</p>
</html>
";

type Answer = Response<Either<Full<Bytes>, Pattern>>;

/// A listening server; requests are answered while [`Origin::serve`] runs.
pub(crate) struct Origin {
    listener: TcpListener,
    address: SocketAddr,
}

impl Origin {
    /// Opens a free port on loopback.
    pub(crate) async fn bind() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until it is dropped; its connections end with it.
    pub(crate) async fn serve(self) {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut connections = tokio::task::JoinSet::new();
        loop {
            while connections.try_join_next().is_some() {}
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let Ok((stream, _)) = self.listener.accept().await else {
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                continue;
            };
            connections.spawn(async move {
                let _place = place;
                let service = service_fn(|request| std::future::ready(Ok::<_, Infallible>(answer(&request))));
                // A client that goes away in the middle is no event for a server.
                let _ =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    }
}

fn answer(request: &Request<Incoming>) -> Answer {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
    }
    match request.uri().path() {
        "/" => {
            let mut page = plain(StatusCode::OK, PAGE);
            page.headers_mut()
                .insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static("text/html; charset=utf-8"));
            page
        }
        OBJECT_PATH => object(request.headers()),
        _ => plain(StatusCode::NOT_FOUND, "there are / and /100mb\n"),
    }
}

fn object(headers: &HeaderMap) -> Answer {
    let range = headers.get(RANGE).map(|value| value.to_str().ok().and_then(|text| parse_range(text, OBJECT_LEN)));
    let (status, start, end) = match range {
        None => (StatusCode::OK, 0, OBJECT_LEN),
        Some(Some((start, end))) => (StatusCode::PARTIAL_CONTENT, start, end),
        Some(None) => {
            let mut refused = plain(StatusCode::RANGE_NOT_SATISFIABLE, "");
            insert(&mut refused, CONTENT_RANGE, &format!("bytes */{OBJECT_LEN}"));
            return refused;
        }
    };
    let mut answer = Response::new(Either::Right(Pattern { position: start, end }));
    *answer.status_mut() = status;
    insert(&mut answer, CONTENT_TYPE, "application/octet-stream");
    insert(&mut answer, CONTENT_LENGTH, &(end - start).to_string());
    insert(&mut answer, ACCEPT_RANGES, "bytes");
    if status == StatusCode::PARTIAL_CONTENT {
        insert(&mut answer, CONTENT_RANGE, &format!("bytes {start}-{}/{OBJECT_LEN}", end - 1));
    }
    answer
}

fn insert(answer: &mut Answer, name: hyper::header::HeaderName, value: &str) {
    if let Ok(value) = value.parse() {
        answer.headers_mut().insert(name, value);
    }
}

/// One range of RFC 9110, section 14.1.2, as start and end (exclusive); `None` when it cannot be satisfied.
fn parse_range(text: &str, length: u64) -> Option<(u64, u64)> {
    let (first, last) = text.trim().strip_prefix("bytes=")?.split_once('-')?;
    let (start, end) = match (first.trim(), last.trim()) {
        ("", suffix) => (length.saturating_sub(suffix.parse().ok()?), length),
        (first, "") => (first.parse().ok()?, length),
        (first, last) => (first.parse().ok()?, last.parse::<u64>().ok()?.saturating_add(1).min(length)),
    };
    (start < end).then_some((start, end))
}

fn plain(status: StatusCode, text: &'static str) -> Answer {
    let mut answer = Response::new(Either::Left(Full::new(Bytes::from_static(text.as_bytes()))));
    *answer.status_mut() = status;
    answer
}

/// The rest of the object from a position on.
pub(crate) struct Pattern {
    position: u64,
    end: u64,
}

impl Body for Pattern {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let length = PIECE.min(self.end - self.position);
        if length == 0 {
            return Poll::Ready(None);
        }
        let mut piece = vec![0; length as usize];
        pattern::fill(self.position, &mut piece);
        self.position += length;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from(piece)))))
    }

    fn is_end_stream(&self) -> bool {
        self.position == self.end
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.end - self.position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::connect;
    use std::error::Error;
    use std::time::Duration;

    #[test]
    fn ranges_are_read_as_rfc_9110_says() {
        assert_eq!(parse_range("bytes=0-0", 100), Some((0, 1)));
        assert_eq!(parse_range("bytes=10-", 100), Some((10, 100)));
        assert_eq!(parse_range("bytes=-10", 100), Some((90, 100)));
        assert_eq!(parse_range("bytes=-1000", 100), Some((0, 100)));
        assert_eq!(parse_range("bytes=50-1000", 100), Some((50, 100)));
        for wrong in
            ["bytes=100-", "bytes=5-4", "bytes=-0", "bytes=x-", "lines=1-2", "bytes=1", "bytes=-", "bytes=0-1,3-4"]
        {
            assert_eq!(parse_range(wrong, 100), None, "{wrong}");
        }
    }

    #[tokio::test]
    async fn the_page_and_pieces_of_the_object_are_served() -> Result<(), Box<dyn Error>> {
        let origin = Origin::bind().await?;
        let address = origin.address();
        let serving = tokio::spawn(origin.serve());
        let fetch = move |path: &'static str, range| {
            tokio::task::spawn_blocking(move || -> Result<Vec<u8>, connect::FetchError> {
                let stream = std::net::TcpStream::connect(address)?;
                stream.set_read_timeout(Some(Duration::from_secs(10)))?;
                let mut body = Vec::new();
                connect::get(stream, path, range, |_, piece| body.extend_from_slice(piece))?;
                Ok(body)
            })
        };
        assert_eq!(fetch("/", None).await??, PAGE.as_bytes());
        let (start, length) = (99_900_001, 99_998);
        let piece = fetch(OBJECT_PATH, Some((start, length))).await??;
        let mut expected = vec![0; length as usize];
        pattern::fill(start, &mut expected);
        assert!(piece == expected, "the piece has the bytes of its position");
        assert!(fetch("/nothing", None).await?.is_err());
        serving.abort();
        Ok(())
    }
}
