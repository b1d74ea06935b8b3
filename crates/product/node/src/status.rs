//! The node's state as the supervisor knows it, for the admin socket.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use flow_queue::Side;
use os_net::confine::Confinement;
use serde::{Deserialize, Serialize};

use crate::figures;
use crate::plan::{NodePlan, NodeRole};

/// Where a process is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProcessState {
    /// Started, not serving yet.
    Starting,
    /// Serving.
    Ready,
    /// Ended; it will be started again.
    Waiting,
    /// Ended; it will not be started again.
    Ended,
}

/// One process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProcessStatus {
    /// Name of its role.
    pub name: String,
    /// Where it is in its life.
    pub state: ProcessState,
    /// Its number, while it runs.
    pub pid: Option<u32>,
    /// How often it has been started again.
    pub restarts: u64,
    /// Seconds since the present process was started.
    pub uptime_s: Option<u64>,
    /// Processor seconds, user and system, of the present process.
    pub cpu_s: Option<f64>,
    /// Bytes of resident memory of the present process, shared segments included.
    pub rss_bytes: Option<u64>,
    /// Bytes of it that are shared memory, mostly the segments.
    pub shared_bytes: Option<u64>,
    /// What it has given up, if it has said so.
    pub confinement: Option<Confinement>,
    /// The newest thing that it, or the supervisor about it, had to tell a person.
    pub last_fault: Option<String>,
    /// Whether it keeps dying.
    pub crash_loop: bool,
    /// The newest figures that the process itself sent, since its start.
    pub body: Option<serde_json::Value>,
    /// Milliseconds since these came.
    pub body_age_ms: Option<u64>,
}

/// The whole node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Entry or exit.
    pub role: NodeRole,
    /// Seconds since the supervisor started.
    pub uptime_s: u64,
    /// Number of the newest queues.
    pub generation: u64,
    /// Bytes of both shared segments.
    pub segments_bytes: u64,
    /// Whether the node is ending.
    pub stopping: bool,
    /// The supervisor itself.
    pub supervisor: ProcessStatus,
    /// The process that faces the network.
    pub shaped: ProcessStatus,
    /// The process that faces applications or destinations.
    pub unshaped: ProcessStatus,
}

impl ProcessStatus {
    fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            state: ProcessState::Starting,
            pid: None,
            restarts: 0,
            uptime_s: None,
            cpu_s: None,
            rss_bytes: None,
            shared_bytes: None,
            confinement: None,
            last_fault: None,
            crash_loop: false,
            body: None,
            body_age_ms: None,
        }
    }

    fn read_figures(&mut self) {
        if let Some(figures) = self.pid.and_then(figures::read) {
            self.cpu_s = Some(figures.cpu.as_secs_f64());
            self.rss_bytes = Some(figures.rss_bytes);
            self.shared_bytes = Some(figures.shared_bytes);
        }
    }

    /// The same in the schema of `hushwire status`.
    pub fn to_admin(&self) -> admin::status::Process {
        use os_net::confine::PartState;
        let in_force = |confinement: &Confinement| {
            let parts = confinement.parts.iter().map(|part| match &part.state {
                PartState::On => part.name.clone(),
                PartState::Partly => format!("{} (in part)", part.name),
                PartState::NotAvailable(why) => format!("no {}: {why}", part.name),
            });
            parts.collect()
        };
        admin::status::Process {
            name: self.name.clone(),
            pid: self.pid,
            restarts: self.restarts,
            cpu_s: self.cpu_s,
            rss_bytes: self.rss_bytes,
            confinement: self.confinement.as_ref().map(in_force),
        }
    }
}

impl NodeStatus {
    /// All processes, the supervisor first.
    pub fn processes(&self) -> [&ProcessStatus; 3] {
        [&self.supervisor, &self.unshaped, &self.shaped]
    }
}

/// Answers what the state is now. Cheap to clone, usable from any thread, stays valid after the node has ended.
#[derive(Debug, Clone)]
pub struct StatusSource {
    board: Arc<Mutex<Board>>,
}

impl StatusSource {
    pub(crate) fn new(plan: &NodePlan) -> Self {
        let own = ProcessStatus {
            pid: Some(std::process::id()),
            state: ProcessState::Ready,
            ..ProcessStatus::new("supervisor")
        };
        let status = NodeStatus {
            role: plan.role,
            uptime_s: 0,
            generation: 0,
            segments_bytes: 0,
            stopping: false,
            supervisor: own,
            shaped: ProcessStatus::new(&plan.shaped.name),
            unshaped: ProcessStatus::new(&plan.unshaped.name),
        };
        let started = Instant::now();
        let times = || Times { started: None, heard: None };
        let board = Board { status, started, shaped: times(), unshaped: times() };
        Self { board: Arc::new(Mutex::new(board)) }
    }

    /// The state now. Reads `/proc` for all three processes.
    pub fn snapshot(&self) -> NodeStatus {
        let (mut status, started, times) = {
            let board = self.lock();
            (board.status.clone(), board.started, [board.shaped, board.unshaped])
        };
        let uptime = started.elapsed().as_secs();
        status.uptime_s = uptime;
        status.supervisor.uptime_s = Some(uptime);
        status.supervisor.read_figures();
        for (process, times) in [&mut status.shaped, &mut status.unshaped].into_iter().zip(times) {
            process.uptime_s = times.started.map(|started| started.elapsed().as_secs());
            process.body_age_ms = times.heard.map(|heard| saturating_ms(heard.elapsed()));
            process.read_figures();
        }
        status
    }

    pub(crate) fn update(&self, change: impl FnOnce(&mut NodeStatus)) {
        change(&mut self.lock().status);
    }

    pub(crate) fn note_started(&self, side: Side, pid: u32, restarts: u64) {
        let mut board = self.lock();
        let (process, times) = board.side(side);
        *times = Times { started: Some(Instant::now()), heard: None };
        *process = ProcessStatus {
            pid: Some(pid),
            restarts,
            last_fault: process.last_fault.take(),
            crash_loop: process.crash_loop,
            ..ProcessStatus::new(&process.name)
        };
    }

    pub(crate) fn note_ended(&self, side: Side, state: ProcessState) {
        let mut board = self.lock();
        let (process, times) = board.side(side);
        *times = Times { started: None, heard: None };
        *process = ProcessStatus {
            state,
            restarts: process.restarts,
            last_fault: process.last_fault.take(),
            crash_loop: process.crash_loop,
            ..ProcessStatus::new(&process.name)
        };
    }

    pub(crate) fn note_body(&self, side: Side, body: serde_json::Value) {
        let mut board = self.lock();
        let (process, times) = board.side(side);
        times.heard = Some(Instant::now());
        process.body = Some(body);
    }

    pub(crate) fn update_process(&self, side: Side, change: impl FnOnce(&mut ProcessStatus)) {
        change(self.lock().side(side).0);
    }

    fn lock(&self) -> MutexGuard<'_, Board> {
        // A thread that panicked while it wrote a figure leaves at worst an old figure.
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Clone, Copy)]
struct Times {
    started: Option<Instant>,
    heard: Option<Instant>,
}

#[derive(Debug)]
struct Board {
    status: NodeStatus,
    started: Instant,
    shaped: Times,
    unshaped: Times,
}

impl Board {
    fn side(&mut self, side: Side) -> (&mut ProcessStatus, &mut Times) {
        match side {
            Side::Shaped => (&mut self.status.shaped, &mut self.shaped),
            Side::Unshaped => (&mut self.status.unshaped, &mut self.unshaped),
        }
    }
}

fn saturating_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
