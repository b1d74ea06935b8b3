//! One running process and what it says.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use flow_queue::Side;
use os_net::process_channel::{AsyncChannel, Channel, FromProcess, ReceiveError, Received, SendError, ToProcess};
use os_net::readiness::Registered;
use os_net::spawn::{self, Program};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::plan::NodePlan;

/// How long the last words of a process that has ended may take. They lie in the kernel already.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// Something that a process did.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) side: Side,
    /// Which start of that side; reports of earlier ones are stale.
    pub(crate) instance: u64,
    pub(crate) event: ChildEvent,
}

#[derive(Debug)]
pub(crate) enum ChildEvent {
    /// A message with its descriptors.
    Said(FromProcess, Vec<OwnedFd>),
    /// It does not speak the protocol and is being killed.
    Broken(ReceiveError),
    /// It has ended and been awaited.
    Ended(io::Result<ExitStatus>),
}

/// A process that was started and has not been reported as ended. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Child {
    pub(crate) pid: u32,
    pub(crate) instance: u64,
    pub(crate) started: Instant,
    channel: Arc<AsyncChannel>,
    pidfd: Arc<Registered<OwnedFd>>,
    task: JoinHandle<()>,
}

impl Child {
    /// Starts the process of a side. Reports go to `reports`, which holds the process back while it is full.
    pub(crate) fn start(plan: &NodePlan, side: Side, instance: u64, reports: mpsc::Sender<Report>) -> io::Result<Self> {
        let (here, there) = Channel::pair()?;
        let mut arguments = plan.launch.arguments.clone();
        arguments.push(plan.process(side).name.clone().into());
        let program = Program {
            executable: plan.launch.executable.clone(),
            name: "hushwire".into(),
            arguments,
            environment: plan.launch.environment.clone(),
        };
        let channel = Arc::new(here.into_async()?);
        let started = spawn::start(&program, there)?;
        let pid = started.pid();
        let owned = Owned(started.child);
        let pidfd = Arc::new(Registered::from_owned(started.pidfd)?);
        let watch = Watch { side, instance, reports, channel: Arc::clone(&channel), pidfd: Arc::clone(&pidfd), owned };
        let task = tokio::spawn(watch.run());
        Ok(Self { pid, instance, started: Instant::now(), channel, pidfd, task })
    }

    pub(crate) fn send(&self, message: &ToProcess, descriptors: &[BorrowedFd<'_>]) -> Result<(), SendError> {
        self.channel.send(message, descriptors)
    }

    /// The channel to it, for answers that take a while.
    pub(crate) fn channel(&self) -> Arc<AsyncChannel> {
        Arc::clone(&self.channel)
    }

    /// Kills it; its end is reported like any other.
    pub(crate) fn kill(&self) {
        if let Err(error) = spawn::kill(self.pidfd.get_ref().as_fd()) {
            tracing::warn!(%error, "a process cannot be killed");
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The process for its parent. Dropping it kills and awaits it, so that no zombie is left.
#[derive(Debug)]
struct Owned(std::process::Child);

impl Drop for Owned {
    fn drop(&mut self) {
        // Errors mean that it has been awaited already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The task that listens to one process until it has ended.
struct Watch {
    side: Side,
    instance: u64,
    reports: mpsc::Sender<Report>,
    channel: Arc<AsyncChannel>,
    pidfd: Arc<Registered<OwnedFd>>,
    owned: Owned,
}

impl Watch {
    async fn run(mut self) {
        let mut listens = true;
        loop {
            // Both branches are cancel-safe: a message is taken only when it is returned, an ended process stays so.
            tokio::select! {
                biased;
                received = self.channel.receive::<FromProcess>(), if listens => {
                    listens = self.handle_received(received).await;
                }
                _ = self.pidfd.readable() => break,
            }
        }
        while listens {
            let last = tokio::time::timeout(LAST_WORDS, self.channel.receive::<FromProcess>()).await;
            let Ok(received) = last else { break };
            listens = self.handle_received(received).await;
        }
        let ended = self.owned.0.wait();
        self.report(ChildEvent::Ended(ended)).await;
    }

    /// Returns whether there may be more to hear.
    async fn handle_received(&mut self, received: Result<Received<FromProcess>, ReceiveError>) -> bool {
        match received {
            Ok(Received { message, descriptors }) => {
                self.report(ChildEvent::Said(message, descriptors)).await;
                return true;
            }
            Err(ReceiveError::Closed) => {}
            Err(error) => self.report(ChildEvent::Broken(error)).await,
        }
        // Without its channel a process serves nothing. Usually it is ending anyway.
        if let Err(error) = spawn::kill(self.pidfd.get_ref().as_fd()) {
            tracing::warn!(%error, "a process cannot be killed");
        }
        false
    }

    async fn report(&self, event: ChildEvent) {
        // Nobody listens once the supervisor is gone, and then nothing matters any more.
        let _ = self.reports.send(Report { side: self.side, instance: self.instance, event }).await;
    }
}
