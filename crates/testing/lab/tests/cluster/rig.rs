//! Nodes of a cluster as processes of their own, each in a network namespace, and what is done to them.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use admin::cluster::{ClusterAnswer, ClusterRequest, ClusterStatus};
use anyhow::{Context, bail, ensure};
use lab::network::{HostPlan, Network, Rule};
use lab::pair::hushwire;
use lab::process::{self, Running};
use lab::scratch::Scratch;
use rustix::process::Signal;

use super::run::PATIENCE;

pub(crate) type Outcome = anyhow::Result<()>;

const PORT: u16 = 4500;
/// Size of the small disk. A log takes its room 16 MiB at a time, and a term has one or two files.
const SMALL_DISK: &str = "size=96m,mode=700";
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A cluster whose last node has a small disk. Order of the fields: processes end before their network and files go.
pub(crate) struct Cluster {
    nodes: Vec<Node>,
    small: SmallDisk,
    network: Network,
    folder: Scratch,
}

struct Node {
    name: String,
    running: Option<Running>,
}

impl Cluster {
    /// Makes keys, certificates and namespaces, and founds the cluster.
    pub(crate) fn found(count: usize) -> anyhow::Result<Self> {
        let folder = Scratch::new()?;
        let plans: Vec<HostPlan> = (1..=count).map(|number| HostPlan::cable(&format!("n{number}"))).collect();
        let network = Network::start(&plans)?;
        write_files(&folder, &network)?;
        let last = network.hosts().last().context("a cluster has nodes")?;
        let small = SmallDisk::mount(&folder.join(last.name()).join("log"))?;
        let nodes = plans.into_iter().map(|plan| Node { name: plan.name, running: None }).collect();
        let mut cluster = Self { nodes, small, network, folder };
        for node in 0..count {
            cluster.launch(node, &["--found"])?;
        }
        cluster.leader().context("after the founding")?;
        Ok(cluster)
    }

    pub(crate) fn count(&self) -> usize {
        self.nodes.len()
    }

    pub(crate) fn pipes(&self) -> Vec<PathBuf> {
        self.nodes.iter().map(|node| self.folder.join(&node.name).join("pipe")).collect()
    }

    /// Starts a node that runs no more.
    pub(crate) fn start(&mut self, node: usize) -> Outcome {
        self.launch(node, &[])
    }

    fn launch(&mut self, index: usize, more: &[&str]) -> Outcome {
        let Some(node) = self.nodes.get_mut(index) else { bail!("there is no node {index}") };
        let home = self.folder.join(&node.name);
        let namespace = self.network.host(&node.name)?.namespace();
        // All nodes see the small disk; nobody else does.
        let mut command = namespace.command("nsenter")?;
        command.arg(format!("--mount={}", self.small.mounts())).arg(hushwire()?);
        command.args(["cluster", "run"]).arg(home.join("cluster.toml")).args(more).env_remove("HUSHWIRE_LOG");
        node.running = Some(Running::start(&node.name, &mut command, &home.join("output"))?);
        Ok(())
    }

    fn running(&mut self, index: usize) -> anyhow::Result<&mut Running> {
        let node = self.nodes.get_mut(index).with_context(|| format!("there is no node {index}"))?;
        node.running.as_mut().with_context(|| format!("{} does not run", node.name))
    }

    /// kill -9, and waits for the end.
    pub(crate) fn kill(&mut self, index: usize) -> Outcome {
        self.running(index)?.signal(Signal::KILL);
        self.end_of(index).map(drop)
    }

    /// What a node that ends by itself said at last.
    pub(crate) fn end_of(&mut self, index: usize) -> anyhow::Result<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Err(ended) = self.running(index)?.check() {
                if let Some(node) = self.nodes.get_mut(index) {
                    node.running = None;
                }
                return Ok(format!("{ended:#}"));
            }
            ensure!(Instant::now() < deadline, "node {index} runs on; its log: {}", self.running(index)?.log_tail());
            std::thread::sleep(LOOK_EVERY);
        }
    }

    pub(crate) fn signal(&mut self, index: usize, signal: Signal) -> Outcome {
        self.running(index)?.signal(signal);
        Ok(())
    }

    /// Nobody that should run has ended.
    pub(crate) fn check(&mut self) -> Outcome {
        self.nodes.iter_mut().filter_map(|node| node.running.as_mut()).try_for_each(Running::check)
    }

    /// Cuts these directions, and no others.
    pub(crate) fn cut(&self, directions: &[(usize, usize)]) -> Outcome {
        let name = |index: usize| self.nodes.get(index).map(|node| node.name.clone()).context("there is such a node");
        let rule = |(from, to): &(usize, usize)| Ok(Rule::Cut { from: name(*from)?, to: name(*to)? });
        let rules = directions.iter().map(rule).collect::<anyhow::Result<Vec<Rule>>>()?;
        self.network.set_rules(&rules)
    }

    /// Who leads, as a leader itself says; waits until somebody does.
    pub(crate) fn leader(&mut self) -> anyhow::Result<usize> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            // One that was replaced and does not know it yet has the older term.
            let leads = |node| self.status(node).ok().filter(|status| status.leads).map(|status| (status.term, node));
            if let Some((_, leader)) = (0..self.count()).filter_map(leads).max() {
                return Ok(leader);
            }
            self.check()?;
            ensure!(Instant::now() < deadline, "nobody leads");
            std::thread::sleep(LOOK_EVERY);
        }
    }

    fn status(&self, index: usize) -> anyhow::Result<ClusterStatus> {
        match self.ask(index, ClusterRequest::Status)? {
            ClusterAnswer::Status { status } => Ok(*status),
            other => bail!("the answer is {other:?}"),
        }
    }

    fn ask(&self, index: usize, request: ClusterRequest) -> anyhow::Result<ClusterAnswer> {
        let node = self.nodes.get(index).context("there is such a node")?;
        let socket = self.folder.join(&node.name).join("admin");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let asked =
            async { tokio::time::timeout(Duration::from_secs(5), admin::client::cluster(&socket, request)).await };
        Ok(runtime.block_on(asked)??)
    }

    /// The node with the small disk.
    pub(crate) fn small(&self) -> usize {
        self.nodes.len() - 1
    }

    /// Fills the small disk, and has the term end, so that the next one's files want room: the node ends, and says why.
    pub(crate) fn fill_disk(&mut self) -> Outcome {
        self.small.fill()?;
        let small = self.small();
        let deadline = Instant::now() + PATIENCE;
        // While another one becomes the leader, nobody does it.
        while !(0..small).any(|node| matches!(self.ask(node, ClusterRequest::EndTerm), Ok(ClusterAnswer::Done))) {
            ensure!(Instant::now() < deadline, "no node ends the term");
            std::thread::sleep(LOOK_EVERY);
        }
        let said = self.end_of(small)?;
        for part in ["No space left", "free space on that disk and start the node again", "exit status: 74"] {
            ensure!(said.contains(part), "the node does not say `{part}`: {said}");
        }
        Ok(())
    }

    /// Gives the room back, and starts the node again.
    pub(crate) fn free_disk(&mut self) -> Outcome {
        self.small.free()?;
        self.start(self.small())
    }
}

/// A small file system that only processes which ask for it see. It is gone with the last of them, whatever happens here.
struct SmallDisk {
    holder: Child,
    filling: PathBuf,
}

impl SmallDisk {
    fn mount(at: &Path) -> anyhow::Result<Self> {
        // It ends with its input, so with this process too.
        let script = format!("mount -t tmpfs -o {SMALL_DISK} hushwire-test \"$0\" && echo mounted && exec cat");
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", &script]).arg(at).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut holder = command.spawn().context("unshare, of the Debian package util-linux, is needed")?;
        let mut line = String::new();
        BufReader::new(holder.stdout.take().context("it is piped")?).read_line(&mut line)?;
        let outside = at.strip_prefix("/").context("an absolute path")?;
        let filling = PathBuf::from(format!("/proc/{}/root", holder.id())).join(outside).join("filling");
        let disk = Self { holder, filling };
        ensure!(line == "mounted\n", "the small disk cannot be mounted: run it as root");
        Ok(disk)
    }

    fn mounts(&self) -> String {
        format!("/proc/{}/ns/mnt", self.holder.id())
    }

    fn fill(&self) -> Outcome {
        let mut file = std::fs::File::create(&self.filling)?;
        let block = [0; 64 << 10];
        // The last, smaller rooms too.
        for length in [block.len(), 4096] {
            let piece = block.get(..length).context("a part of the block")?;
            while std::io::Write::write_all(&mut file, piece).is_ok() {}
        }
        Ok(())
    }

    fn free(&self) -> Outcome {
        Ok(std::fs::remove_file(&self.filling)?)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// Keys, certificates and configurations, made with the commands that an operator uses.
fn write_files(folder: &Scratch, network: &Network) -> Outcome {
    let run = |arguments: &[&str]| -> anyhow::Result<String> {
        let mut command = Command::new(hushwire()?);
        let ran = process::run(command.args(arguments).current_dir(folder.path()), PATIENCE)?;
        Ok(String::from_utf8(ran.stdout)?)
    };
    let made = run(&["pki", "init", "--dir", "ca", "--name", "box"])?;
    let cluster = made.lines().find(|line| line.starts_with("cluster = ")).context("`pki init` prints the cluster")?;
    let mut members = String::new();
    for host in network.hosts() {
        let name = host.name();
        std::fs::create_dir_all(folder.join(name).join("log"))?;
        let id = run(&["keys", "new", &format!("{name}/node.keys")])?;
        let certificate = format!("{name}/node.crt");
        run(&["pki", "issue", "--dir", "ca", id.trim(), "--name", name, "--out", &certificate])?;
        write!(
            members,
            "[[members]]\nnode_id = \"{}\"\nname = \"{name}\"\naddress = \"{}:{PORT}\"\n",
            id.trim(),
            host.ipv4()
        )?;
    }
    for host in network.hosts() {
        let text = format!(
            "{cluster}\nkey_file = \"node.keys\"\ncertificate_file = \"node.crt\"\nroot_file = \"../ca/root.crt\"\n\
             data_dir = \"log/cluster\"\npipe = \"pipe\"\nadmin_socket = \"admin\"\nlisten = \"{}:{PORT}\"\n\
             idle_timeout_s = 3\n\n{members}",
            host.ipv4()
        );
        std::fs::write(folder.join(host.name()).join("cluster.toml"), text)?;
    }
    Ok(())
}
