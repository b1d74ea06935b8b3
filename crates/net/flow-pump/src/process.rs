//! The life of an unshaped process: boot, new generations of queues, draining, status.

use crate::board::{Board, BoardError};
use flow_queue::{DESCRIPTORS, Geometry, OpenError, QueueSide, Side};
use os_net::process_channel::{self, AsyncChannel, Channel, FromProcess, Meeting, ReceiveError, ToProcess};
use proxy_protocols::exit_policy::PolicyError;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;
use thiserror::Error;
use tokio::task::{JoinHandle, LocalSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use wire::flow::ResetReason;

/// How often the supervisor hears figures.
pub const STATUS_INTERVAL: Duration = Duration::from_secs(1);
/// How often a draining process looks whether it is empty.
const DRAIN_LOOK: Duration = Duration::from_millis(20);
/// How long the last answers of flows that end with the process may take.
const LAST_ANSWERS_MAX: Duration = Duration::from_millis(500);

/// What differs between the two unshaped processes.
pub trait Role {
    /// Flows of the old generation have been reset; use these queues from now on.
    fn attach(&self, board: Rc<Board>);
    /// Begin no more flows; those that are open may finish.
    fn stop(&self);
    /// Tasks that still have something to say to their sockets.
    fn unfinished(&self) -> usize;
    /// The supervisor's answer to an introduction that the role asked for.
    fn introduced(&self, number: u32, meeting: Meeting, segment: Option<OwnedFd>) {
        let _ = (number, meeting, segment);
        tracing::warn!("an introduction that nobody asked for was ignored");
    }
    /// Figures for `hushwire status`: numbers and fixed words only, no address and no name.
    fn status(&self) -> serde_json::Value;
}

/// What a role starts with.
pub struct Context {
    /// The first generation's queues.
    pub board: Rc<Board>,
    /// Number and size of the queues.
    pub geometry: Geometry,
    /// The role's own descriptors.
    pub descriptors: Vec<OwnedFd>,
    /// The supervisor.
    pub channel: Rc<AsyncChannel>,
}

/// Why a process ended although nobody asked it to.
#[derive(Debug, Error)]
pub enum RunError {
    /// The supervisor handed over too few or too many descriptors.
    #[error("the supervisor handed over a wrong number of descriptors; both must be of the same version")]
    Descriptors,
    /// The queues cannot be opened.
    #[error("the queues between the node's processes cannot be opened: {0}")]
    Queues(#[from] OpenError),
    /// The other process broke the queues.
    #[error(transparent)]
    Board(#[from] BoardError),
    /// The event loop or a socket cannot be set up.
    #[error("the process cannot be set up: {0}")]
    System(#[from] io::Error),
    /// The channel to the supervisor cannot be used.
    #[error(transparent)]
    Channel(#[from] process_channel::OpenError),
    /// The supervisor's messages cannot be understood.
    #[error("the supervisor's orders cannot be read: {0}")]
    Orders(#[from] ReceiveError),
    /// A rule of the exit policy.
    #[error("{0}; correct the rule and start the exit again")]
    Policy(PolicyError),
    /// A source address that this machine does not have, or that the process may not use.
    #[error("connections cannot leave from the configured source address: {0}; correct or remove it")]
    SourceAddress(io::ErrorKind),
    /// A setting that the supervisor should have refused.
    #[error("the setting `{0}` means nothing")]
    Setting(&'static str),
}

/// Runs a role until the channel closes, the supervisor stops it, or the queues break. `fds`: the queue set of the
/// unshaped side, then the role's own descriptors. `assigns`: the role opens the flows.
pub fn run<R: Role>(
    geometry: Geometry,
    assigns: bool,
    channel: Channel,
    fds: Vec<OwnedFd>,
    blocking_threads: usize,
    start: impl FnOnce(Context) -> Result<R, RunError>,
) -> Result<(), RunError> {
    raise_descriptor_limit();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(blocking_threads.max(1))
        .build()?;
    let local = LocalSet::new();
    let ended = local.block_on(&runtime, async {
        let channel = Rc::new(channel.into_async()?);
        let ended = live(geometry, assigns, &channel, fds, start).await;
        if let Err(error) = &ended {
            let sentence = error.to_string();
            // The channel may be what failed.
            let _ = channel.send(&FromProcess::Fault { sentence }, &[]);
        }
        ended
    });
    // Tasks end before the runtime does; a name look-up that hangs does not hold the process.
    drop(local);
    runtime.shutdown_background();
    ended
}

async fn live<R: Role>(
    geometry: Geometry,
    assigns: bool,
    channel: &Rc<AsyncChannel>,
    mut fds: Vec<OwnedFd>,
    start: impl FnOnce(Context) -> Result<R, RunError>,
) -> Result<(), RunError> {
    let descriptors = fds.split_off(fds.len().min(DESCRIPTORS));
    let mut generation = Generation::open(&geometry, assigns, fds)?;
    let role = start(Context { board: generation.board.clone(), geometry, descriptors, channel: channel.clone() })?;
    say(channel, &FromProcess::Ready);
    let mut status = interval(STATUS_INTERVAL);
    status.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            // All branches are cancel-safe.
            order = channel.receive::<ToProcess>() => match order {
                Err(ReceiveError::Closed) => return Ok(()),
                Err(error) => return Err(error.into()),
                Ok(received) => match received.message {
                    ToProcess::Boot { .. } => tracing::warn!("a second boot message was ignored"),
                    ToProcess::Socket { .. } => tracing::warn!("a socket that nobody asked for was closed"),
                    ToProcess::Introduced { number, meeting } => {
                        role.introduced(number, meeting, received.descriptors.into_iter().next());
                    }
                    ToProcess::Order { .. } => tracing::warn!("an order that this role does not have was ignored"),
                    ToProcess::Attach { generation: number } => {
                        generation.board.detach(ResetReason::TunnelLost);
                        let geometry = geometry.with_generation(number);
                        generation = Generation::open(&geometry, assigns, received.descriptors)?;
                        role.attach(generation.board.clone());
                        tracing::info!(number, "new queues: the other process of the node was restarted");
                    }
                    ToProcess::Stop { deadline_ms } => {
                        let deadline = Instant::now() + Duration::from_millis(deadline_ms);
                        return drain(&role, &mut generation, channel, deadline).await;
                    }
                },
            },
            error = &mut generation.runner => {
                generation.board.detach(ResetReason::TunnelLost);
                last_answers(&role, Instant::now() + LAST_ANSWERS_MAX).await;
                return Err(error.map_or_else(|_| io::Error::other("the task of the queues ended").into(), RunError::from));
            }
            _ = status.tick() => say(channel, &FromProcess::Status { body: role.status() }),
        }
    }
}

/// Queues with the task that listens to them.
struct Generation {
    board: Rc<Board>,
    runner: JoinHandle<BoardError>,
}

impl Generation {
    fn open(geometry: &Geometry, assigns: bool, fds: Vec<OwnedFd>) -> Result<Self, RunError> {
        let side = QueueSide::open(geometry, Side::Unshaped, assigns, fds)?;
        let board = Board::new(side, geometry, assigns);
        let running = board.clone();
        let runner = tokio::task::spawn_local(async move { running.run().await });
        Ok(Self { board, runner })
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        self.runner.abort();
    }
}

/// Lets open flows finish until the deadline and resets the rest.
async fn drain(
    role: &impl Role,
    generation: &mut Generation,
    channel: &AsyncChannel,
    deadline: Instant,
) -> Result<(), RunError> {
    role.stop();
    let finish = async {
        let mut look = interval(DRAIN_LOOK);
        while generation.board.used() > 0 || role.unfinished() > 0 {
            look.tick().await;
        }
    };
    tokio::select! {
        biased;
        () = finish => return Ok(()),
        () = sleep_until(deadline.checked_sub(LAST_ANSWERS_MAX).unwrap_or(deadline)) => {}
        _ = &mut generation.runner => {}
        () = closed(channel) => return Ok(()),
    }
    generation.board.detach(ResetReason::TunnelLost);
    last_answers(role, deadline).await;
    Ok(())
}

/// Resolves when the supervisor is gone; its further orders mean nothing to a process that ends.
async fn closed(channel: &AsyncChannel) {
    while channel.receive::<ToProcess>().await.is_ok() {}
}

async fn last_answers(role: &impl Role, deadline: Instant) {
    let finish = async {
        let mut look = interval(DRAIN_LOOK);
        while role.unfinished() > 0 {
            look.tick().await;
        }
    };
    let _ = timeout(deadline.saturating_duration_since(Instant::now()), finish).await;
}

/// What the supervisor does not read in time is not worth keeping.
fn say(channel: &AsyncChannel, message: &FromProcess) {
    if let Err(error) = channel.send(message, &[]) {
        tracing::debug!(%error, "the supervisor was not told");
    }
}

/// Every flow is a descriptor; the soft limit of 1024 that many systems start programs with is too low.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.current < limit.maximum || limit.maximum.is_none() {
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::warn!(%error, "the limit of open descriptors cannot be raised");
        }
    }
}
