//! What a demo fetches itself, and compares.

use crate::failure::{Code, Failure};
use crate::local::connect::{self, FetchError};
use crate::local::origin::{OBJECT_PATH, PAGE};
use crate::local::pattern;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// How long a fetch may be silent.
const SILENCE: Duration = Duration::from_secs(15);

/// Fetches the page through the proxy; how long that took.
pub(super) async fn page(proxy: SocketAddr, server: SocketAddr) -> Result<Duration, Failure> {
    let fetched = tokio::task::spawn_blocking(move || fetch_page(proxy, server)).await;
    fetched.map_err(|_| defect())?.map_err(|error| failed(&error))
}

fn fetch_page(proxy: SocketAddr, server: SocketAddr) -> Result<Duration, FetchError> {
    let begun = Instant::now();
    let stream = connect::through(proxy, server, SILENCE)?;
    let mut page = Vec::new();
    connect::get(stream, "/", None, |_, piece| page.extend_from_slice(piece))?;
    if page != PAGE.as_bytes() {
        return Err(FetchError::Answer("another page than it has".to_owned()));
    }
    Ok(begun.elapsed())
}

/// Downloads the first `length` bytes of the object and compares every one of them.
pub(super) fn object(proxy: SocketAddr, server: SocketAddr, length: u64) -> Result<(), FetchError> {
    let stream = connect::through(proxy, server, SILENCE)?;
    let mut expected = vec![0; 64 * 1024];
    let mut equal = true;
    connect::get(stream, OBJECT_PATH, Some((0, length)), |position, piece| {
        pattern::fill(position, &mut expected[..piece.len()]);
        equal &= expected[..piece.len()] == *piece;
    })?;
    if equal { Ok(()) } else { Err(FetchError::Answer("other bytes than it has".to_owned())) }
}

pub(super) fn failed(error: &FetchError) -> Failure {
    Failure::from_error(Code::Software, error)
        .remedy("run the demo again with HUSHWIRE_LOG=debug and report what it says")
}

pub(super) fn defect() -> Failure {
    Failure::new(Code::Software, "a part of the demo ended unexpectedly")
}
