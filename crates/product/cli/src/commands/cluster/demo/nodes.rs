//! The processes of a demo.

use super::home::Home;
use crate::failure::{Code, Failure, Outcome};
use crate::settings;
use admin::cluster::{ClusterAnswer, ClusterRequest, ClusterStatus};
use admin::protocol::Request;
use std::fs::OpenOptions;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

/// How long the nodes may take until one leads.
const START_TIMEOUT: Duration = Duration::from_secs(20);
/// How long they may take to end.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// When a node that was killed is started again.
const RESTART_AFTER: Duration = Duration::from_secs(1);
/// Pause between two looks at something that is waited for.
const LOOK: Duration = Duration::from_millis(50);
/// Lines of a node's log that are shown when it fails.
const LOG_TAIL: usize = 12;

/// All nodes. Dropping it kills them.
pub(super) struct Nodes(Vec<Node>);

/// One node.
pub(super) struct Node {
    name: String,
    config: PathBuf,
    data: PathBuf,
    pipe: PathBuf,
    admin: PathBuf,
    log: PathBuf,
    running: Option<Running>,
    restart_at: Option<Instant>,
    restarts: u64,
}

struct Running {
    child: Child,
    /// The node ends when this closes, however this program ends.
    _leash: Option<ChildStdin>,
}

impl Nodes {
    pub(super) fn start(home: &Home) -> Result<Self, Failure> {
        let mut nodes = Vec::new();
        for (name, folder, config) in home.nodes() {
            let file = settings::loaded(config::load_cluster(&config))?;
            let mut node = Node {
                name,
                config,
                data: file.data_dir,
                pipe: file.pipe,
                admin: file.admin_socket,
                log: folder.join("node.log"),
                running: None,
                restart_at: None,
                restarts: 0,
            };
            node.spawn()?;
            nodes.push(node);
        }
        Ok(Self(nodes))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Node> {
        self.0.iter()
    }

    /// Starts those again that were killed. One that ended by itself is an error.
    pub(super) fn look(&mut self) -> Outcome {
        self.0.iter_mut().try_for_each(Node::look)
    }

    /// How each stands; `None` for one that does not answer.
    pub(super) async fn statuses(&self) -> Vec<Option<ClusterStatus>> {
        let mut statuses = Vec::with_capacity(self.0.len());
        for node in &self.0 {
            statuses.push(node.status().await);
        }
        statuses
    }

    pub(super) async fn wait_until_led(&mut self) -> Outcome {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            self.look()?;
            let statuses = self.statuses().await;
            let leads = |status: &Option<ClusterStatus>| status.as_ref().is_some_and(|status| status.leads);
            if statuses.iter().any(leads) && statuses.iter().all(Option::is_some) {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let sentence = format!("no node leads within {} s", START_TIMEOUT.as_secs());
                let detail = self.0.iter().map(Node::log_tail).collect();
                return Err(Failure::new(Code::Software, sentence).detail(detail));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Asks all to end and waits until they have; who does not is killed.
    pub(super) async fn stop(mut self) {
        for node in self.0.iter().filter(|node| node.running.is_some()) {
            // A node that no longer answers is ended by force when it is dropped.
            let _ = admin::client::ask(&node.admin, Request::Stop).await;
        }
        let begun = Instant::now();
        while begun.elapsed() < STOP_TIMEOUT && self.0.iter_mut().any(Node::is_running) {
            tokio::time::sleep(LOOK).await;
        }
    }
}

impl Node {
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn pipe(&self) -> &Path {
        &self.pipe
    }

    pub(super) fn config(&self) -> &Path {
        &self.config
    }

    pub(super) fn pid_text(&self) -> String {
        self.running.as_ref().map_or_else(|| "none".to_owned(), |running| running.child.id().to_string())
    }

    /// How often it was started again.
    pub(super) fn restarts(&self) -> u64 {
        self.restarts
    }

    fn spawn(&mut self) -> Result<(), Failure> {
        let failed = |error| Failure::io(format!("cannot start {}", self.name), &error);
        let stderr = OpenOptions::new().create(true).append(true).open(&self.log).map_err(failed)?;
        let mut command = Command::new("/proc/self/exe");
        command.arg0("hushwire").args(["cluster", "run"]).arg(&self.config).arg("--leash");
        if !has_log(&self.data) {
            command.arg("--found");
        }
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(stderr);
        // Ctrl-C is for this program, which then ends its nodes.
        let mut child = command.process_group(0).spawn().map_err(failed)?;
        let leash = child.stdin.take();
        self.running = Some(Running { child, _leash: leash });
        Ok(())
    }

    fn look(&mut self) -> Outcome {
        if let Some(running) = &mut self.running
            && let Ok(Some(status)) = running.child.try_wait()
        {
            self.running = None;
            if status.signal().is_none() {
                let sentence = format!("{} ended by itself ({status})", self.name);
                return Err(Failure::new(Code::Software, sentence).detail(self.log_tail()));
            }
            self.restart_at = Some(Instant::now() + RESTART_AFTER);
        }
        if self.restart_at.is_some_and(|at| Instant::now() >= at) {
            self.restart_at = None;
            self.restarts += 1;
            self.spawn()?;
        }
        Ok(())
    }

    async fn status(&self) -> Option<ClusterStatus> {
        self.running.as_ref()?;
        match admin::client::cluster(&self.admin, ClusterRequest::Status).await {
            Ok(ClusterAnswer::Status { status }) => Some(*status),
            // It starts, or it is being killed.
            _ => None,
        }
    }

    fn is_running(&mut self) -> bool {
        self.running.as_mut().is_some_and(|running| matches!(running.child.try_wait(), Ok(None)))
    }

    fn log_tail(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let tail = &lines[lines.len().saturating_sub(LOG_TAIL)..];
        format!("last words of {}:\n  {}\n", self.name, tail.join("\n  "))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(running) = &mut self.running {
            let _ = running.child.kill();
            let _ = running.child.wait();
        }
    }
}

/// Whether a node was founded here, as far as its checkpoint. One that was killed before is founded anew.
fn has_log(data: &Path) -> bool {
    let is_checkpoint = |entry: std::fs::DirEntry| entry.path().extension().is_some_and(|kind| kind == "checkpoint");
    std::fs::read_dir(data).is_ok_and(|entries| entries.flatten().any(is_checkpoint))
}
