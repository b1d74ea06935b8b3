//! The task that drives a manager's tunnels or a service: one core, one socket, one loop.
//!
//! Each turn goes through the same things in the same order: what was ready and found no room, commands, packets that came,
//! streams that have news, what can be done for handles now, and what is ready to leave. Each has a budget, so that none keeps
//! the others waiting. Commands never wait for the network: what they begin leaves when there is room.

use crate::bell::Bell;
use crate::commands::{COMMANDS_A_TURN, Commands};
use crate::queues::StreamQueues;
use crate::socket::{Socket, now};
use link::Now;
use shaped_node::{DrivenNode, TunnelId};
use std::future::pending;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};
use tracing::warn;
use wire::flow::ResetReason;

/// How long a driver that stops gives its farewells to leave.
const FAREWELL: Duration = Duration::from_millis(100);
/// Longest sleep.
const SLEEP_MAX: Duration = Duration::from_secs(60);

/// What a driver does for its own kind of handles.
pub(crate) trait Work: Send + 'static {
    /// The core.
    type Node: DrivenNode<StreamQueues> + Send;
    /// What handles ask.
    type Command: Send;
    /// Whose driver it is, for the log.
    const WHOSE: &'static str;

    /// Does what a handle asks. To be answered when all has ended, if that is what it asks.
    fn obey(&mut self, time: Now, node: &mut Self::Node, command: Self::Command) -> Option<oneshot::Sender<()>>;

    /// The last handles of these tunnels are gone.
    fn handle_released(&mut self, _: &mut Self::Node, _: &[TunnelId]) {}

    /// Takes the streams that others have opened.
    fn take_streams(&mut self, _: &mut StreamQueues) {}

    /// Does what can be done now, once a turn, before packets leave.
    fn advance(&mut self, time: Now, node: &mut Self::Node);

    /// Keeps and logs what has happened to the core.
    fn drain_events(&mut self, node: &mut Self::Node);

    /// When this has something to do, beside the core.
    fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// Waits for what comes neither from handles nor from the network, and takes it. Cancel-safe.
    fn wait(&mut self, _: &mut Self::Node) -> impl Future<Output = ()> + Send {
        pending()
    }

    /// Tells the handles that it is over. It may be said more than once.
    fn close(&mut self) {}
}

/// What a turn has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// There is more to do at once.
    More,
    /// Nothing to do until something happens.
    Idle,
    /// The driver has stopped.
    Over,
}

/// The task's state.
pub(crate) struct Driver<W: Work> {
    node: W::Node,
    socket: Socket,
    bell: Arc<Bell>,
    commands: Commands<W::Command>,
    work: W,
    stop_at: Option<Instant>,
    stopped: Vec<oneshot::Sender<()>>,
}

impl<W: Work> Drop for Driver<W> {
    /// The runtime has ended under the task: nothing waits for anything any more, and what can be said at once is said.
    fn drop(&mut self) {
        self.socket.say_farewell(&mut self.node);
    }
}

impl<W: Work> Driver<W> {
    /// `bell`: the one of the node's queues.
    pub(crate) fn new(
        node: W::Node,
        socket: Socket,
        bell: Arc<Bell>,
        commands: mpsc::Receiver<W::Command>,
        work: W,
    ) -> Self {
        let commands = Commands::new(commands);
        Self { node, socket, bell, commands, work, stop_at: None, stopped: Vec::new() }
    }

    /// Runs until a handle stops it, or its handles and all streams are gone.
    pub(crate) async fn run(mut self) {
        loop {
            match self.turn() {
                Ok(Turn::More) => tokio::task::yield_now().await,
                Ok(Turn::Idle) => self.sleep().await,
                Ok(Turn::Over) => break,
                Err(error) => {
                    warn!(%error, "the network socket of {} failed", W::WHOSE);
                    break;
                }
            }
        }
        if let Some(queues) = self.node.queues() {
            queues.end_all(ResetReason::TunnelLost);
        }
        self.work.close();
        self.socket.say_farewell(&mut self.node);
        for answer in std::mem::take(&mut self.stopped) {
            // Who asked may have gone.
            let _ = answer.send(());
        }
    }

    fn turn(&mut self) -> io::Result<Turn> {
        let mut has_more = self.socket.send_stuck(&mut self.node);
        has_more |= self.take_commands();
        has_more |= self.socket.receive(&mut self.node)?;
        let time = now();
        self.node.handle_timeout_if_due(time);
        self.look_at_streams(time);
        self.work.advance(time, &mut self.node);
        has_more |= self.socket.send(&mut self.node);
        self.work.drain_events(&mut self.node);
        Ok(match self.stop_at {
            Some(at) if at <= time.instant => Turn::Over,
            _ if has_more => Turn::More,
            _ => Turn::Idle,
        })
    }

    /// Cancel-safe are all that is waited for: readiness is remembered, and a command is received whole or not at all.
    async fn sleep(&mut self) {
        let time = now();
        let queues = self.node.queues().and_then(|queues| queues.poll_timeout());
        let due = [self.node.next_wake(time), queues, self.work.poll_timeout(), self.stop_at];
        let longest = time.instant + SLEEP_MAX;
        let until = due.into_iter().flatten().min().unwrap_or(longest).min(longest);
        tokio::select! {
            biased;
            command = self.commands.next(), if !self.commands.is_forsaken() => {
                if let Some(command) = command {
                    self.obey(command);
                }
            }
            () = self.work.wait(&mut self.node) => {}
            () = self.socket.ready() => {}
            () = self.bell.rung() => {}
            () = tokio::time::sleep_until(until.into()) => {}
        }
    }

    /// True if there may be more.
    fn take_commands(&mut self) -> bool {
        for _ in 0..COMMANDS_A_TURN {
            let Some(command) = self.commands.poll() else { return false };
            self.obey(command);
        }
        true
    }

    fn obey(&mut self, command: W::Command) {
        let time = now();
        if let Some(answer) = self.work.obey(time, &mut self.node, command) {
            self.stopped.push(answer);
            self.stop(time);
        }
    }

    fn stop(&mut self, time: Now) {
        if self.stop_at.is_none() {
            self.work.close();
            self.node.close(time);
            self.stop_at = Some(time.instant + FAREWELL);
        }
    }

    fn look_at_streams(&mut self, time: Now) {
        let news = self.bell.take();
        self.work.handle_released(&mut self.node, &news.released);
        if let Some(queues) = self.node.queues() {
            for flow in news.flows {
                queues.look_at(time.instant, flow);
            }
            queues.handle_timeout(time.instant);
        }
        self.node.handle_queues(time);
        let open = self.node.queues().map_or(0, |queues| {
            self.work.take_streams(queues);
            queues.free_closed();
            queues.open_count()
        });
        if self.commands.is_forsaken() && open == 0 {
            self.stop(time);
        }
    }
}
