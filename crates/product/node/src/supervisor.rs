//! The supervisor: opens, starts, hands over, restarts, ends.

mod documents;
mod drain;

use std::future::Future;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitStatus;
use std::time::Duration;

use flow_queue::Side;
use os_net::process_channel::{FromProcess, ToProcess};
use rustix::process::{Pid, Resource, Rlimit};
use tokio::sync::mpsc;
use tokio::time::Instant;

use documents::{HeldDocument, hung_up};

use crate::backoff::Backoff;
use crate::child::{Child, ChildEvent, Report};
use crate::error::NodeError;
use crate::generations::Generations;
use crate::introductions::Introductions;
use crate::orders::{OrderHandle, orders};
use crate::plan::{NodePlan, ProcessPlan};
use crate::replay_file;
use crate::resources::{self, Resources};
use crate::service::Service;
use crate::status::{ProcessState, StatusSource};
use crate::stop::{Signals, StopHandle, StopRequests};

/// Reports of processes that may wait for the supervisor. Further ones wait in the processes' channels, and when
/// these are full the processes drop figures.
const REPORTS_MAX: usize = 64;

/// How long a process may take until it serves. Then it is killed and started again.
const START_PATIENCE: Duration = Duration::from_secs(20);

/// How long a process that has sent figures may be silent. Then it hangs and is killed.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// Pairs of sockets that are opened and closed before the runtime is made, which needs six descriptors.
const PROBES: usize = 3;

/// Runs a node with a supervisor of its own until SIGINT or SIGTERM ends it. `beside` runs next to it, for the admin
/// socket; when it ends the node goes on.
///
/// To be called on the main thread: the kernel kills the processes when the calling thread ends.
pub fn run_node<F, B>(plan: NodePlan, beside: B) -> Result<(), NodeError>
where
    B: FnOnce(Beside) -> F,
    F: Future<Output = ()>,
{
    let runtime = probe_descriptors()
        .and_then(|()| tokio::runtime::Builder::new_current_thread().enable_all().build())
        .map_err(|source| NodeError::Runtime { source })?;
    runtime.block_on(async {
        let signals = Signals::listen().map_err(|source| NodeError::Runtime { source })?;
        let supervisor = Supervisor::open(plan)?;
        let stop = supervisor.stop_handle();
        let orders = supervisor.order_handle();
        let beside = beside(Beside { status: supervisor.status_source(), stop: stop.clone(), orders });
        let aside = async { tokio::join!(beside, signals.pass_on(stop)) };
        let mut aside = std::pin::pin!(aside);
        let mut main = std::pin::pin!(supervisor.run());
        // Neither branch is dropped before the supervisor has ended.
        tokio::select! {
            ended = &mut main => ended,
            _ = &mut aside => main.await,
        }
    })
}

/// What runs beside the supervisor is given.
#[derive(Debug, Clone)]
pub struct Beside {
    /// Answers what the state is.
    pub status: StatusSource,
    /// Ends the node.
    pub stop: StopHandle,
    /// Gives orders to the shaped process.
    pub orders: OrderHandle,
}

/// One of the two sides and its process.
#[derive(Debug, Default)]
struct SideState {
    child: Option<Child>,
    /// Generation that the running process has.
    generation: u64,
    /// Starts so far.
    instances: u64,
    is_ready: bool,
    was_ever_ready: bool,
    last_status: Option<Instant>,
    last_fault: Option<String>,
    backoff: Backoff,
    start_at: Option<Instant>,
}

/// Runs one node. Everything that can be opened is open when it exists; nothing is started before [`Supervisor::run`].
#[derive(Debug)]
pub struct Supervisor {
    plan: NodePlan,
    resources: Resources,
    generations: Generations,
    shaped: SideState,
    unshaped: SideState,
    status: StatusSource,
    service: Service,
    stop: StopHandle,
    stop_requests: StopRequests,
    reports: mpsc::Receiver<Report>,
    reporter: mpsc::Sender<Report>,
    order_handle: OrderHandle,
    orders: mpsc::Receiver<serde_json::Value>,
    introductions: Introductions,
    alive_at: Option<Instant>,
    /// Of a node that goes by one.
    document: Option<HeldDocument>,
    /// Whether the service manager has been told that the node serves.
    announced: bool,
}

impl Supervisor {
    /// Opens sockets and files and makes the first shared memory. To be called inside a tokio runtime, and on the
    /// thread on which [`Supervisor::run`] will run.
    pub fn open(plan: NodePlan) -> Result<Self, NodeError> {
        // The supervisor holds keys; they must not end in a core file. Its processes inherit the limit.
        if let Err(error) = rustix::process::setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }) {
            tracing::warn!(%error, "core files cannot be forbidden");
        }
        let resources = Resources::open(&plan)?;
        let document = plan.document.as_ref().map(HeldDocument::new).transpose()?;
        // Opened again at each start of the process; here only to say now what would fail then.
        drop(resources::open_replay(&plan.replay_path)?);
        let mut generations = Generations::new(plan.queues);
        generations.prepare(Side::Shaped).map_err(|source| segments_error(&plan, source))?;
        let status = StatusSource::new(&plan);
        let side = || SideState { backoff: Backoff::new(plan.restart), ..SideState::default() };
        let (shaped, unshaped) = (side(), side());
        let (reporter, reports) = mpsc::channel(REPORTS_MAX);
        let (order_handle, orders) = orders();
        let stop = StopHandle::new();
        let stop_requests = stop.listen();
        Ok(Self {
            plan,
            resources,
            generations,
            shaped,
            unshaped,
            status,
            service: Service::from_environment(),
            stop,
            stop_requests,
            reports,
            reporter,
            order_handle,
            orders,
            introductions: Introductions::new(),
            alive_at: None,
            document,
            announced: false,
        })
    }

    /// Where the state can be asked for.
    pub fn status_source(&self) -> StatusSource {
        self.status.clone()
    }

    /// What ends the node.
    pub fn stop_handle(&self) -> StopHandle {
        self.stop.clone()
    }

    /// What gives orders to the shaped process.
    pub fn order_handle(&self) -> OrderHandle {
        self.order_handle.clone()
    }

    /// Where the UDP socket is bound; the port is the kernel's choice if the plan left it open.
    pub fn udp_address(&self) -> std::net::SocketAddr {
        self.resources.udp_address
    }

    /// Where the TCP listeners are bound, in the plan's order.
    pub fn tcp_addresses(&self) -> &[std::net::SocketAddr] {
        &self.resources.tcp_addresses
    }

    /// Runs the node until it is stopped. An error means that it never served: later failures are restarts.
    pub async fn run(mut self) -> Result<(), NodeError> {
        self.alive_at = self.service.alive_interval().map(|_| Instant::now());
        for side in [Side::Shaped, Side::Unshaped] {
            self.start(side)?;
        }
        loop {
            let next = self.next_deadline();
            // All branches are cancel-safe: reports, orders and requests are taken when returned, a deadline is absolute.
            tokio::select! {
                () = self.stop_requests.reached(1) => break,
                Some(report) = self.reports.recv() => self.handle_report(report)?,
                Some(order) = self.orders.recv() => self.pass_on(order),
                () = hung_up(&mut self.document) => self.look_at_document(true),
                () = tokio::time::sleep_until(next) => self.handle_deadlines(),
            }
        }
        self.drain().await;
        Ok(())
    }

    fn side(&mut self, side: Side) -> &mut SideState {
        match side {
            Side::Shaped => &mut self.shaped,
            Side::Unshaped => &mut self.unshaped,
        }
    }

    fn process(&self, side: Side) -> &ProcessPlan {
        self.plan.process(side)
    }

    /// Starts the process of a side with queues that no process of that side has had, and gives the same queues to
    /// the sibling if that has others.
    fn start(&mut self, side: Side) -> Result<(), NodeError> {
        let handed = self.generations.prepare(side).map_err(|source| segments_error(&self.plan, source))?;
        let generation = handed.generation;
        let plan = self.process(side);
        let (name, core) = (plan.name.clone(), plan.core);
        let config = plan.boot_for(generation).ok_or_else(|| NodeError::Plan(name.clone()))?;
        let replay = match side {
            Side::Shaped => Some(resources::open_replay(&self.plan.replay_path)?),
            Side::Unshaped => None,
        };
        let instance = self.side(side).instances + 1;
        let child = Child::start(&self.plan, side, instance, self.reporter.clone())
            .map_err(|source| NodeError::Spawn { name: name.clone(), source })?;
        let own = match side {
            Side::Shaped => std::slice::from_ref(&self.resources.udp),
            Side::Unshaped => &self.resources.listeners[..],
        };
        let document = self.document.as_ref().filter(|_| side == Side::Shaped).map(HeldDocument::memory);
        let further = match side {
            Side::Shaped => &self.resources.further_udp[..],
            Side::Unshaped => &[],
        };
        let descriptors = handed.with(own.iter().chain(&replay).chain(document).chain(further).map(AsFd::as_fd));
        let boot = ToProcess::Boot { config };
        child.send(&boot, &descriptors).map_err(|source| NodeError::HandOver { name: name.clone(), source })?;
        self.generations.note_taken(side);
        if side == Side::Shaped {
            self.note_document_handed();
        }
        if let Some(core) = core {
            pin(child.pid, core);
        }
        self.status.note_started(side, child.pid, instance - 1);
        tracing::info!(process = name, generation, restarts = instance - 1, "process started");
        let state = self.side(side);
        *state = SideState {
            child: Some(child),
            generation,
            instances: instance,
            was_ever_ready: state.was_ever_ready,
            backoff: state.backoff,
            ..SideState::default()
        };
        self.attach(sibling(side), generation);
        self.publish_generation();
        Ok(())
    }

    /// Gives a running process the queues of a newer generation. What goes wrong ends that process or waits for the
    /// next start of its sibling, which comes here again.
    fn attach(&mut self, side: Side, at_least: u64) {
        let state = self.side(side);
        if state.child.is_none() || state.generation >= at_least {
            return;
        }
        let handed = match self.generations.prepare(side) {
            Ok(handed) => handed,
            Err(source) => {
                let sentence = segments_error(&self.plan, source).to_string();
                tracing::error!(%sentence, "the running process keeps its dead queues for now");
                self.status.update_process(side, |process| process.last_fault = Some(sentence));
                return;
            }
        };
        let message = ToProcess::Attach { generation: handed.generation };
        let state = self.side(side);
        let Some(child) = &state.child else { return };
        match child.send(&message, &handed.with([])) {
            Ok(()) => {
                state.generation = handed.generation;
                self.generations.note_taken(side);
                tracing::info!(process = self.process(side).name, handed.generation, "new queues");
            }
            Err(error) => {
                tracing::error!(process = self.process(side).name, %error, "it cannot be given new queues and is killed");
                self.kill(side);
            }
        }
    }

    /// Gives the shaped process an order, if one runs.
    fn pass_on(&self, body: serde_json::Value) {
        let Some(child) = self.shaped.child.as_ref().filter(|_| self.shaped.is_ready) else { return };
        if let Err(error) = child.send(&ToProcess::Order { body }, &[]) {
            tracing::warn!(%error, "the shaped process does not take an order");
        }
    }

    /// Gives a question to whoever answers it.
    fn pass_question_on(&self, side: Side, body: serde_json::Value) {
        let asks = self.plan.asks.as_ref().filter(|_| side == Side::Shaped);
        if !asks.is_some_and(|asks| asks.pass_on(body)) {
            tracing::debug!("a question of the shaped process is dropped");
        }
    }

    fn publish_generation(&self) {
        let (newest, bytes) = (self.generations.newest(), self.generations.bytes());
        self.status.update(|status| {
            status.generation = newest;
            status.segments_bytes = bytes;
        });
    }

    fn kill(&mut self, side: Side) {
        if let Some(child) = &self.side(side).child {
            child.kill();
        }
    }

    /// Takes in a report. An error: a process gave up before the node ever served.
    fn handle_report(&mut self, report: Report) -> Result<(), NodeError> {
        let Report { side, instance, event } = report;
        if self.side(side).child.as_ref().is_none_or(|child| child.instance != instance) {
            return Ok(());
        }
        match event {
            ChildEvent::Said(message, descriptors) => self.handle_message(side, message, descriptors),
            ChildEvent::Broken(error) => {
                tracing::error!(process = self.process(side).name, %error, "killed, it breaks the protocol");
                self.side(side).last_fault = Some(error.to_string());
            }
            ChildEvent::Ended(ended) => {
                let how = in_words(ended);
                self.note_end(side, &how)?;
            }
        }
        Ok(())
    }

    fn handle_message(&mut self, side: Side, message: FromProcess, descriptors: Vec<OwnedFd>) {
        match message {
            FromProcess::Ready => {
                let state = self.side(side);
                (state.is_ready, state.was_ever_ready) = (true, true);
                self.status.update_process(side, |process| process.state = ProcessState::Ready);
                tracing::info!(process = self.process(side).name, "process serves");
                if self.shaped.is_ready && self.unshaped.is_ready && !self.announced {
                    self.announced = true;
                    self.service.ready();
                }
            }
            FromProcess::Status { body } => {
                self.side(side).last_status = Some(Instant::now());
                self.status.note_body(side, body);
            }
            FromProcess::OpenSocket { number, beside, port, any_other } => {
                self.hand_socket(side, number, || resources::open_hop_socket(&self.plan, beside, port, any_other));
            }
            FromProcess::Introduce { number } => {
                if let Some(child) = self.unshaped.child.as_ref().filter(|_| side == Side::Unshaped) {
                    self.introductions.begin(child.channel(), number, descriptors);
                }
            }
            FromProcess::Keep { text } => self.keep(side, &text),
            FromProcess::Ask { body } => self.pass_question_on(side, body),
            FromProcess::Confined { confinement } => {
                self.status.update_process(side, |process| process.confinement = Some(confinement));
            }
            FromProcess::Fault { sentence } => {
                tracing::error!(process = self.process(side).name, "{sentence}");
                self.status.update_process(side, |process| process.last_fault = Some(sentence.clone()));
                self.side(side).last_fault = Some(sentence);
            }
        }
    }

    /// Keeps what the shaped process wants to find at its next start, in the file and for a restart by this supervisor.
    fn keep(&mut self, side: Side, text: &str) {
        let Some(kept) = self.plan.kept.as_ref().filter(|_| side == Side::Shaped) else {
            return tracing::warn!("a process gives text to keep that has no place");
        };
        if !self.plan.shaped.set(&kept.pointer, text) {
            tracing::warn!("the boot message has no place for kept text");
        }
        if let Err(error) = replay_file::replace(&kept.path, text.as_bytes()) {
            let sentence = format!("{} cannot be written: {error}", kept.path.display());
            tracing::error!("{sentence}; after a restart of the node it will be missing or old");
            self.status.update_process(side, |process| process.last_fault = Some(sentence));
        }
    }

    /// Opens a socket for the shaped process, which may not do so itself. It is handed over and closed here, so a
    /// process that asks without end comes to its own limit of descriptors.
    fn hand_socket(&self, side: Side, number: u32, open: impl FnOnce() -> std::io::Result<OwnedFd>) {
        let Some(child) = self.shaped.child.as_ref().filter(|_| side == Side::Shaped) else { return };
        let opened = open();
        let refused = opened.as_ref().err().map(ToString::to_string);
        let descriptors: Vec<_> = opened.iter().map(AsFd::as_fd).collect();
        if let Err(error) = child.send(&ToProcess::Socket { number, refused }, &descriptors) {
            tracing::warn!(%error, "the shaped process does not take a socket");
        }
    }

    /// Notes that a process has ended, gives its sibling fresh queues, and plans the next start.
    fn note_end(&mut self, side: Side, how: &str) -> Result<(), NodeError> {
        let name = self.process(side).name.clone();
        let state = self.side(side);
        let alive = state.child.take().map_or(Duration::ZERO, |child| child.started.elapsed());
        if let Some(sentence) = state.last_fault.take_if(|_| !state.was_ever_ready && state.instances == 1) {
            return Err(NodeError::Process { name, sentence });
        }
        let how = state.last_fault.as_ref().map_or(how.to_owned(), |fault| format!("{how}: {fault}"));
        self.plan_start(side, alive, &how);
        self.generations.note_dead(side);
        // Its flows are dead; the sibling learns it now and not when the successor is there.
        let dead_generation = self.side(side).generation;
        self.attach(sibling(side), dead_generation + 1);
        self.publish_generation();
        Ok(())
    }

    fn plan_start(&mut self, side: Side, alive: Duration, how: &str) {
        let name = self.process(side).name.clone();
        let state = self.side(side);
        let wait = state.backoff.note_death(alive, random());
        state.start_at = Some(Instant::now() + wait);
        let backoff = state.backoff;
        self.status.note_ended(side, ProcessState::Waiting);
        self.status.update_process(side, |process| process.crash_loop = backoff.is_crash_loop());
        tracing::warn!(process = name, wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX), "{how}");
        if backoff.is_new_crash_loop() {
            let sentence = format!(
                "{name} has ended {} times in a row (last: {how}); it goes on being started, at most {} s apart",
                backoff.deaths(),
                self.plan.restart.wait_max.as_secs()
            );
            tracing::error!("{sentence}");
            self.service.says(&sentence);
            self.status.update_process(side, |process| {
                process.last_fault.get_or_insert(sentence);
            });
        }
    }

    fn next_deadline(&self) -> Instant {
        let of_side = |state: &SideState| {
            let started = state.child.as_ref().map(|child| child.started);
            let start_over = started.filter(|_| !state.is_ready).map(|started| started + START_PATIENCE);
            let steady = started.filter(|_| state.backoff.deaths() > 0).map(|at| at + state.backoff.steady_after());
            let silent = state.last_status.filter(|_| state.child.is_some()).map(|heard| heard + SILENCE_MAX);
            [state.start_at, start_over, steady, silent].into_iter().flatten().min()
        };
        let far = Instant::now() + Duration::from_secs(3600);
        let document = self.document.as_ref().map(HeldDocument::look_at);
        let all = [of_side(&self.shaped), of_side(&self.unshaped), self.alive_at, document];
        all.into_iter().flatten().min().unwrap_or(far)
    }

    fn handle_deadlines(&mut self) {
        let now = Instant::now();
        if self.alive_at.is_some_and(|at| at <= now) {
            self.service.alive();
            self.alive_at = self.service.alive_interval().map(|interval| now + interval);
        }
        if self.document.as_ref().is_some_and(|document| document.look_at() <= now) {
            self.look_at_document(false);
        }
        for side in [Side::Shaped, Side::Unshaped] {
            self.kill_if_hung(side, now);
            self.note_if_steady(side, now);
            if self.side(side).start_at.take_if(|at| *at <= now).is_none() {
                continue;
            }
            if let Err(error) = self.start(side) {
                // A start may have failed after the process was made; it is killed with its `Child`.
                self.plan_start(side, Duration::ZERO, &error.to_string());
                self.status.update_process(side, |process| process.last_fault = Some(error.to_string()));
            }
        }
    }

    /// Ends a crash loop, for `status` too.
    fn note_if_steady(&mut self, side: Side, now: Instant) {
        let state = self.side(side);
        let steady_at = state.child.as_ref().map(|child| child.started + state.backoff.steady_after());
        if state.backoff.deaths() > 0 && steady_at.is_some_and(|at| at <= now) {
            state.backoff.note_steady();
            self.status.update_process(side, |process| process.crash_loop = false);
        }
    }

    fn kill_if_hung(&mut self, side: Side, now: Instant) {
        let state = self.side(side);
        let Some(child) = &state.child else { return };
        let sentence = if !state.is_ready && child.started + START_PATIENCE <= now {
            state.is_ready = true; // once is enough; its end is on the way
            "it does not come to serve and is killed"
        } else if state.last_status.take_if(|heard| *heard + SILENCE_MAX <= now).is_some() {
            "it hangs and is killed"
        } else {
            return;
        };
        child.kill();
        tracing::error!(process = self.process(side).name, "{sentence}");
        self.status.update_process(side, |process| process.last_fault = Some(sentence.to_owned()));
    }
}

/// The runtime panics, rather than fail, if it finds no descriptor for its signals.
fn probe_descriptors() -> std::io::Result<()> {
    let probes: std::io::Result<Vec<_>> = (0..PROBES).map(|_| std::os::unix::net::UnixStream::pair()).collect();
    probes.map(drop)
}

fn sibling(side: Side) -> Side {
    match side {
        Side::Shaped => Side::Unshaped,
        Side::Unshaped => Side::Shaped,
    }
}

fn segments_error(plan: &NodePlan, source: std::io::Error) -> NodeError {
    NodeError::Segments { max_flows: plan.queues.max_flows(), queue_size: plan.queues.queue_size(), source }
}

fn in_words(ended: std::io::Result<ExitStatus>) -> String {
    match ended {
        Ok(status) => format!("the process ended ({status})"),
        Err(error) => format!("the process ended and cannot be awaited ({error})"),
    }
}

fn pin(pid: u32, core: usize) {
    use rustix::thread::CpuSet;
    let mut cores = CpuSet::new();
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    if core >= CpuSet::MAX_CPU || pid.is_none() {
        tracing::warn!(core, "there is no such core; the process runs on all");
        return;
    }
    cores.set(core);
    if let Err(error) = rustix::thread::sched_setaffinity(pid, &cores) {
        tracing::warn!(core, %error, "the process cannot be pinned to its core and runs on all");
    }
}

/// Random bits for waiting times; nothing secret depends on them.
pub(crate) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}
