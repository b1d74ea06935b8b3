//! The loop that both ends have: bookkeeping first, then events.

use std::io;
use std::time::{Duration, Instant};

use os_net::clock::unix_time;
use os_net::datagram::{DATAGRAM_BUFFER_BYTES, DatagramSocket, Inbox};
use port_hopping::ports::PortSet;
use thiserror::Error;

use crate::counters::Counters;
use crate::poller::{Kind, Poller, Ready, Token};
use crate::status::Status;
use crate::table::Table;
use crate::wake::Handle;

/// Most batches that are read from one socket in one turn. Level-triggered events bring the rest in the next one, after
/// the other sockets had theirs.
pub(crate) const READS_A_TURN_MAX: usize = 2;

/// Most flows that bookkeeping looks at in one turn. Those it does not reach are a turn late, and served meanwhile.
pub(crate) const FLOWS_A_TURN_MAX: usize = 256;

/// The longest wait of a turn: the system's clock may jump, and the machine may have slept.
const WAIT_MAX: Duration = Duration::from_secs(1);

/// How often counters are shown to other threads.
const PUBLISHED_EVERY: Duration = Duration::from_millis(200);

/// Why an end does not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// Not one address could be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: std::net::SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// None of the ports could be opened.
    #[error("none of the ports {ports} could be opened: {source}")]
    NoPort {
        /// The ports.
        ports: PortSet,
        /// What the system said to the last one.
        source: io::Error,
    },
    /// There is no server, target or address to listen on.
    #[error("there is nothing to listen on or nowhere to send to")]
    Empty,
    /// The system refused something else.
    #[error("the system refused what a hop proxy needs: {0}")]
    System(#[from] io::Error),
}

/// The two clocks, read once a turn.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    /// Never goes back.
    pub(crate) now: Instant,
    /// Time since 1970 UTC; may jump.
    pub(crate) unix: Duration,
}

impl Moment {
    pub(crate) fn read() -> Self {
        Self { now: Instant::now(), unix: unix_time() }
    }
}

/// What an end does in a turn.
pub(crate) trait End {
    /// Expires, closes, hops. Runs before the events of a turn, so that nothing that ends here is served in that turn.
    fn keep_books(&mut self, moment: Moment);
    /// When it wants to do so again.
    fn deadline(&self) -> Option<Instant>;
    /// Handles one event.
    fn handle(&mut self, ready: Ready, inbox: &mut Inbox, moment: Moment);
    /// What it does at present.
    fn status(&mut self, moment: Moment) -> Status;
    /// The counters.
    fn counters(&mut self) -> &Counters;
    /// The poller.
    fn poller(&self) -> &Poller;
}

/// Watches the bell of a handle.
pub(crate) fn watch_bell(poller: &Poller, handle: &Handle) -> io::Result<()> {
    // The bell has no table; any key will do.
    poller.add(handle.bell(), Token { kind: Kind::Wake, key: Table::new().insert(()) })
}

/// Runs an end until its handle stops it.
pub(crate) fn run(end: &mut impl End, handle: &Handle) -> io::Result<()> {
    let mut inbox = Inbox::new();
    let mut ready = Vec::new();
    let mut published = Instant::now();
    handle.publish(end.counters());
    let mut timeout = Some(Duration::ZERO);
    while !handle.is_stopping() {
        end.poller().wait(timeout, &mut ready)?;
        let moment = Moment::read();
        end.keep_books(moment);
        for event in &ready {
            if event.token.kind == Kind::Wake {
                handle.silence();
            }
            end.handle(*event, &mut inbox, moment);
        }
        handle.tell(|| end.status(moment));
        if moment.now.saturating_duration_since(published) >= PUBLISHED_EVERY {
            handle.publish(end.counters());
            published = moment.now;
        }
        let until = end.deadline().map_or(WAIT_MAX, |next| next.saturating_duration_since(Instant::now()));
        timeout = Some(until.min(WAIT_MAX));
    }
    handle.publish(end.counters());
    Ok(())
}

/// Says once that buffers are smaller than wanted.
pub(crate) fn look_at_buffers(socket: &DatagramSocket) {
    let Ok((receive, send)) = socket.buffer_bytes() else { return };
    if receive.min(send) < DATAGRAM_BUFFER_BYTES {
        tracing::warn!(
            receive_bytes = receive,
            send_bytes = send,
            wanted_bytes = DATAGRAM_BUFFER_BYTES,
            "small kernel buffers: bursts above them are lost; raise net.core.rmem_max and wmem_max, or give the \
             program CAP_NET_ADMIN"
        );
    }
}

/// A seed from the system.
pub(crate) fn seed() -> io::Result<[u8; 32]> {
    let mut seed = [0; 32];
    aws_lc_rs::rand::fill(&mut seed).map_err(|_| io::Error::other("the system gives no random bytes"))?;
    Ok(seed)
}
