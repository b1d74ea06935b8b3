//! Introducing the unshaped process to the other ends of its unix connections, so that both can go on by shared memory
//! (docs/spec/swap.md, 1). The process itself may make no sockets, and asks for it.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use os_net::process_channel::{AsyncChannel, Meeting, ToProcess};
use os_net::readiness::Registered;
use swap_link::rendezvous::Introduction;
use tokio::sync::Semaphore;

/// Introductions under way at a time, each with one door. A further one is answered as if the other end were absent; the
/// process asks again after more calls.
const INTRODUCTIONS_MAX: usize = 64;

/// How long the other end is waited for. It answers at one of its next calls.
const PATIENCE: Duration = Duration::from_secs(10);

/// The introductions of a supervisor.
#[derive(Debug)]
pub(crate) struct Introductions {
    places: Arc<Semaphore>,
}

impl Introductions {
    pub(crate) fn new() -> Self {
        Self { places: Arc::new(Semaphore::new(INTRODUCTIONS_MAX)) }
    }

    /// Begins one for a process, which hears of its end on `channel`. `descriptors`: the connection and the segment to offer.
    pub(crate) fn begin(&self, channel: Arc<AsyncChannel>, number: u32, descriptors: Vec<OwnedFd>) {
        let place = Arc::clone(&self.places).try_acquire_owned();
        let begun = match (place, descriptors.as_slice()) {
            (Ok(place), [connection, segment]) => {
                Introduction::begin(connection.as_fd(), segment.as_fd()).ok().map(|introduction| (introduction, place))
            }
            _ => None,
        };
        // The connection ends when the process closes it, and not later because of this one.
        drop(descriptors);
        let Some((introduction, place)) = begun else { return answer(&channel, number, Meeting::Absent, None) };
        tokio::spawn(async move {
            let segment = wait(&introduction).await;
            drop(introduction);
            drop(place);
            let meeting = if segment.is_some() { Meeting::Met } else { Meeting::Silent };
            answer(&channel, number, meeting, segment);
        });
    }
}

/// The other end's segment, if it comes in time.
async fn wait(introduction: &Introduction) -> Option<OwnedFd> {
    let door = introduction.as_fd().try_clone_to_owned().and_then(Registered::from_owned).ok()?;
    let comes = async {
        loop {
            door.readable().await.ok()?;
            let taken = door.try_read(|_| introduction.take().ok_or_else(|| std::io::ErrorKind::WouldBlock.into()));
            if let Ok(segment) = taken {
                return Some(segment);
            }
        }
    };
    // An offer that is there when the time is over counts: its sender takes himself for linked.
    tokio::time::timeout(PATIENCE, comes).await.unwrap_or_else(|_| introduction.take())
}

fn answer(channel: &AsyncChannel, number: u32, meeting: Meeting, segment: Option<OwnedFd>) {
    let descriptors: Vec<_> = segment.iter().map(AsFd::as_fd).collect();
    if let Err(error) = channel.send(&ToProcess::Introduced { number, meeting }, &descriptors) {
        tracing::debug!(%error, "the unshaped process does not take an introduction");
    }
}
