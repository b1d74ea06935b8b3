//! Three nodes of a cluster, each a process of its own, with the files that `hushwire cluster demo` makes.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use admin::cluster::{ClusterAnswer, ClusterRequest, ClusterStatus};
use anyhow::Context;
use rustix::process::Signal;
use tokio::runtime::Runtime;

use super::super::processes::Watched;
use crate::pair::hushwire;
use crate::process::{self, Running};
use crate::scratch::Scratch;

/// How many there are.
pub(super) const COUNT: usize = 3;
/// How long the demo that makes the files may take.
const FILES_WITHIN: Duration = Duration::from_secs(60);
/// How long nodes may take until one leads and all know it.
const LED_WITHIN: Duration = Duration::from_secs(60);
/// How long a leader leads before it is settled.
const SETTLED_AFTER: Duration = Duration::from_millis(300);
/// How often is looked.
const LOOK: Duration = Duration::from_millis(10);

/// The nodes. Dropping them ends them and removes their files.
#[derive(Debug)]
pub(super) struct Nodes {
    running: Vec<Option<Running>>,
    folder: PathBuf,
    runtime: Runtime,
    _scratch: Scratch,
}

impl Nodes {
    /// Makes keys and certificates, starts all, and waits for a leader.
    pub(super) fn start() -> anyhow::Result<Self> {
        let scratch = Scratch::new()?;
        let folder = scratch.join("nodes");
        let mut demo = Command::new(hushwire()?);
        demo.args(["cluster", "demo", "--nodes", "3", "--for", "1", "--keep"]).arg(&folder);
        process::run(&mut demo, FILES_WITHIN)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut nodes = Self { running: Vec::new(), folder, runtime, _scratch: scratch };
        nodes.running.resize_with(COUNT, || None);
        (0..COUNT).try_for_each(|node| nodes.start_one(node))?;
        nodes.wait_until_level()?;
        Ok(nodes)
    }

    fn file(&self, node: usize, name: &str) -> PathBuf {
        self.folder.join(format!("n{}", node + 1)).join(name)
    }

    /// Starts one that does not run.
    pub(super) fn start_one(&mut self, node: usize) -> anyhow::Result<()> {
        let mut command = Command::new(hushwire()?);
        command.args(["cluster", "run"]).arg(self.file(node, "cluster.toml"));
        let running = Running::start(&format!("n{}", node + 1), &mut command, &self.file(node, "lab.log"))?;
        self.running[node] = Some(running);
        Ok(())
    }

    /// Ends one with SIGKILL, and says when the signal was sent.
    pub(super) fn kill(&mut self, node: usize) -> Instant {
        let at = Instant::now();
        if let Some(running) = self.running[node].take() {
            running.signal(Signal::KILL);
        }
        at
    }

    /// The pipe of one.
    pub(super) fn pipe(&self, node: usize) -> PathBuf {
        self.file(node, "cluster.pipe")
    }

    /// How one stands; `None` while it does not answer.
    pub(super) fn status(&self, node: usize) -> Option<ClusterStatus> {
        let socket = self.file(node, "cluster.admin");
        match self.runtime.block_on(admin::client::cluster(&socket, ClusterRequest::Status)) {
            Ok(ClusterAnswer::Status { status }) => Some(*status),
            _ => None,
        }
    }

    /// Who leads.
    pub(super) fn leader(&self) -> anyhow::Result<usize> {
        let leads = |node: &usize| self.status(*node).is_some_and(|status| status.leads);
        (0..COUNT).find(leads).context("no node leads")
    }

    /// Who leads, once that has not changed for a while: members that have just started may choose twice.
    pub(super) fn settled_leader(&self) -> anyhow::Result<usize> {
        let deadline = Instant::now() + LED_WITHIN;
        let (mut leader, mut since) = (self.leader()?, Instant::now());
        while since.elapsed() < SETTLED_AFTER {
            anyhow::ensure!(Instant::now() < deadline, "the leader changes all the time:\n{}", self.logs());
            std::thread::sleep(LOOK);
            let now = self.leader().unwrap_or(leader);
            if now != leader {
                (leader, since) = (now, Instant::now());
            }
        }
        Ok(leader)
    }

    /// Syncs that the nodes called slow in their logs.
    pub(super) fn slow_syncs(&self) -> anyhow::Result<usize> {
        let count = |node| -> anyhow::Result<usize> {
            let text = std::fs::read(self.file(node, "lab.log"))?;
            Ok(String::from_utf8_lossy(&text).matches("slow disk").count())
        };
        (0..COUNT).map(count).sum()
    }

    /// Waits until one leads and every other knows it and has applied what the leader had when it was asked.
    pub(super) fn wait_until_level(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + LED_WITHIN;
        while !self.is_level() {
            anyhow::ensure!(
                Instant::now() < deadline,
                "the nodes are not level within {LED_WITHIN:?}:\n{}",
                self.logs()
            );
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    fn is_level(&self) -> bool {
        let Ok(leader) = self.leader() else { return false };
        let Some(of_leader) = self.status(leader) else { return false };
        (0..COUNT)
            .filter_map(|node| self.status(node))
            .filter(|it| it.leader == of_leader.leader && it.next >= of_leader.next)
            .count()
            == COUNT
    }

    /// The ends of all logs.
    pub(super) fn logs(&self) -> String {
        self.running.iter().flatten().map(Running::log_tail).collect()
    }

    /// Syncs of all since their start.
    pub(super) fn syncs(&self) -> anyhow::Result<u64> {
        let syncs = |node| self.status(node).map(|status| status.syncs).context("a node does not answer");
        (0..COUNT).map(syncs).sum()
    }

    /// Bytes of one's log and checkpoints on the disk.
    pub(super) fn log_bytes(&self, node: usize) -> anyhow::Result<u64> {
        let mut bytes = 0;
        for entry in std::fs::read_dir(self.file(node, "cluster-log"))? {
            bytes += entry?.metadata()?.len();
        }
        Ok(bytes)
    }

    /// Their processes.
    pub(super) fn watched(&self) -> Watched {
        let named = |(node, running): (usize, &Option<Running>)| {
            running.as_ref().map(|running| (format!("n{}", node + 1), running.pid()))
        };
        Watched(self.running.iter().enumerate().filter_map(named).collect())
    }
}
