//! A node of two dummies, and waiting for what it is to do.

use std::cell::RefCell;
use std::error::Error;
use std::future::Future;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use flow_queue::Geometry;
use node::{Beside, OrderHandle, StatusSource, StopHandle, run_node};
use node::{HopPorts, LaunchPlan, ListenerPlan, NodeError, NodePlan, NodeRole, NodeStatus, ProcessPlan, RestartPlan};

use crate::dummy::{Behaviour, Boot};

pub(crate) type Outcome = Result<(), Box<dyn Error>>;

/// No wait of these tests is longer; on a busy machine the events of a second take a few.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A directory that goes with the value.
pub(crate) struct Directory(pub(crate) PathBuf);

impl Directory {
    pub(crate) fn new() -> std::io::Result<Self> {
        let path = std::env::temp_dir().join(format!("hushwire-node-{}", std::process::id()));
        // Of a process that was killed and had the same number.
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A node of two dummies that behave so.
pub(crate) fn plan(directory: &Directory, shaped: Behaviour, unshaped: Behaviour) -> Result<NodePlan, Box<dyn Error>> {
    let queues = Geometry::new(4, 4096, 0)?;
    let process = |name: &str, behaviour| -> Result<ProcessPlan, Box<dyn Error>> {
        Ok(ProcessPlan {
            name: name.to_owned(),
            boot: serde_json::to_value(Boot { behaviour, queues, confine: false, document_bytes: 0 })?,
            generation_pointer: "/queues/generation".to_owned(),
            core: None,
        })
    };
    let any_port: std::net::SocketAddr = "127.0.0.1:0".parse()?;
    let unix = ListenerPlan::Unix { path: directory.0.join("socks"), mode: 0o600 };
    Ok(NodePlan {
        role: NodeRole::Entry,
        queues,
        shaped: process("dummy-shaped", shaped)?,
        unshaped: process("dummy-unshaped", unshaped)?,
        udp: any_port.into(),
        further_udp: Vec::new(),
        hop_ports: HopPorts::None,
        listeners: vec![ListenerPlan::Tcp(any_port), unix],
        replay_path: directory.0.join("replay"),
        document: None,
        asks: None,
        kept: None,
        stop_deadline: Duration::from_secs(2),
        restart: RestartPlan { steady_after: Duration::ZERO, ..RestartPlan::default() },
        launch: LaunchPlan::own_program(),
    })
}

/// Runs a node, and next to it a test that stops the node when it is through.
pub(crate) fn with_node<F>(plan: NodePlan, test: impl FnOnce(Watcher) -> F) -> Outcome
where
    F: Future<Output = Outcome>,
{
    let seen: Rc<RefCell<Outcome>> = Rc::new(RefCell::new(Ok(())));
    let result = Rc::clone(&seen);
    run_node(plan, |Beside { status, stop, orders }| {
        let running = test(Watcher { status, stop: stop.clone(), orders });
        async move {
            *result.borrow_mut() = running.await;
            stop.stop();
        }
    })?;
    seen.replace(Ok(()))
}

/// What a node says that does not start.
pub(crate) fn refusal(plan: NodePlan) -> Result<NodeError, Box<dyn Error>> {
    let never = |_| std::future::pending::<()>();
    match run_node(plan, never) {
        Ok(()) => Err("the node started".into()),
        Err(error) => Ok(error),
    }
}

pub(crate) struct Watcher {
    pub(crate) status: StatusSource,
    pub(crate) stop: StopHandle,
    pub(crate) orders: OrderHandle,
}

impl Watcher {
    /// Waits until the state is as wanted and returns it.
    pub(crate) async fn until(&self, what: &str, wanted: impl Fn(&NodeStatus) -> bool) -> Result<NodeStatus, String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status = self.status.snapshot();
            if wanted(&status) {
                return Ok(status);
            }
            if Instant::now() >= deadline {
                return Err(format!("not in time: {what}: {status:#?}"));
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Waits until both processes serve with the same queues and the shaped one has read what the unshaped one wrote
    /// into exactly these.
    pub(crate) async fn until_served(&self) -> Result<NodeStatus, String> {
        self.until("both serve", serves).await
    }
}

/// Both processes use the newest queues, and the bytes in them are of that generation.
pub(crate) fn serves(status: &NodeStatus) -> bool {
    let number = |process: &node::ProcessStatus, key: &str| process.body.as_ref().and_then(|body| body[key].as_u64());
    let newest = Some(status.generation);
    number(&status.shaped, "generation") == newest
        && number(&status.unshaped, "generation") == newest
        && number(&status.shaped, "marker") == newest
}

pub(crate) fn kill(pid: Option<u32>) -> Outcome {
    let pid = pid.and_then(|pid| i32::try_from(pid).ok()).and_then(rustix::process::Pid::from_raw);
    Ok(rustix::process::kill_process(pid.ok_or("no process")?, rustix::process::Signal::KILL)?)
}

/// Whether a process exists and is no zombie.
pub(crate) fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
}
