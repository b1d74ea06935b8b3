//! A network of relays with an entry and an exit, as real processes on loopback.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use admin::status::{Leg, Status};
use anyhow::{Context, bail};
use local_network::{Forward, LocalNetwork, LocalRelay, Plan, Shape};
use rustix::process::Signal;
use shaping::RateClass;

use crate::pair::{Role, hushwire, status_of};
use crate::process::Running;
use crate::scratch::{Scratch, free_tcp_address};

mod built;

/// How long a tunnel may take, on a busy machine.
const READY_WITHIN: Duration = Duration::from_secs(90);
/// What `status` says of a leg that carries cells.
const LINKED: &str = "linked";
/// How often a waiting loop looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What a network is started with.
#[derive(Clone, Debug)]
pub struct NetConfig {
    /// Relays, and the tunnel over them.
    pub shape: Shape,
    /// Destinations of plain forwards.
    pub forwards: Vec<SocketAddr>,
    /// What each relay but the exit sends at most.
    pub max_rate: Option<RateClass>,
    /// Rate of both directions in mode `constant`; without it the mode is `off`.
    pub constant: Option<RateClass>,
    /// How long entry and exit wait for each other.
    pub session_timeout_s: u16,
    /// How much every process writes into its log, such as `"trace"`.
    pub log: &'static str,
}

impl NetConfig {
    /// One relay more than the least for this tunnel, so that one can be replaced.
    pub fn new(hops: u8, legs: u8) -> Self {
        let shape = Shape { relays: 0, hops, legs };
        let shape = Shape { relays: shape.least() + 1, ..shape };
        Self { shape, forwards: Vec::new(), max_rate: None, constant: None, session_timeout_s: 30, log: "info" }
    }

    /// The same with a forward to this address.
    #[must_use]
    pub fn with_forward(mut self, to: SocketAddr) -> Self {
        self.forwards.push(to);
        self
    }
}

/// A running network. All processes end with this value; a failing test prints the end of their logs.
#[derive(Debug)]
pub struct CircuitNet {
    entry: Option<Running>,
    exit: Option<Running>,
    relays: Vec<Option<Running>>,
    network: LocalNetwork,
    plan: Plan,
    log: &'static str,
    /// Last, so that it goes after the processes.
    folder: Arc<Scratch>,
}

impl CircuitNet {
    /// Writes all files, starts all processes and waits until the entry has a tunnel with all its legs.
    ///
    /// # Errors
    /// If the binary cannot be built, a process does not start, or there is no tunnel; with the logs.
    pub fn start(config: &NetConfig) -> anyhow::Result<Self> {
        let mut net = Self::prepare(config)?;
        for index in 0..net.relays.len() {
            net.start_relay(index)?;
        }
        net.start_node(Role::Exit)?;
        net.start_node(Role::Entry)?;
        net.wait_until_whole()?;
        Ok(net)
    }

    /// The same without starting anything.
    ///
    /// # Errors
    /// If the binary cannot be built, or the files cannot be written.
    pub fn prepare(config: &NetConfig) -> anyhow::Result<Self> {
        hushwire()?;
        let folder = Arc::new(Scratch::new()?);
        let forward = |to: &SocketAddr| anyhow::Ok(Forward { listen: free_tcp_address()?, to: *to });
        let forwards = config.forwards.iter().map(forward).collect::<Result<_, _>>()?;
        let NetConfig { max_rate, constant, session_timeout_s, .. } = *config;
        let plan =
            Plan { forwards, max_rate, constant, session_timeout_s, ..Plan::new(config.shape, free_tcp_address()?) };
        let network = LocalNetwork::write(folder.path(), &plan)?;
        let relays = network.relays().iter().map(|_| None).collect();
        Ok(Self { entry: None, exit: None, relays, network, plan, log: config.log, folder })
    }

    /// The entry's SOCKS5 and HTTP CONNECT port.
    pub fn proxy(&self) -> SocketAddr {
        self.plan.proxy
    }

    /// The port of a plain forward, in the order of the configuration.
    pub fn forward(&self, index: usize) -> SocketAddr {
        self.plan.forwards[index].listen
    }

    /// The relays without the exit.
    pub fn relays(&self) -> &[LocalRelay] {
        self.network.relays()
    }

    /// The exit as a relay.
    pub fn exit(&self) -> &LocalRelay {
        self.network.exit()
    }

    /// The folder of keys, configurations and logs.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The logs of all processes, with the names of those.
    pub fn log_files(&self) -> Vec<(String, PathBuf)> {
        let relays = self.relays().iter().map(|relay| relay.name.clone());
        let names = relays.chain(["exit".to_owned(), "entry".to_owned()]);
        names.map(|name| (name.clone(), self.log_file(&name))).collect()
    }

    /// What `hushwire status` would show for a node.
    ///
    /// # Errors
    /// If the node does not answer.
    pub fn status(&self, role: Role) -> anyhow::Result<Status> {
        status_of(&self.folder.join(&format!("{}.admin", role.name())))
    }

    /// The process ids of a node's processes by name, the supervisor's included.
    ///
    /// # Errors
    /// If the node does not answer.
    pub fn pids(&self, role: Role) -> anyhow::Result<Vec<(String, u32)>> {
        let processes = self.status(role)?.processes;
        Ok(processes.into_iter().filter_map(|process| Some((process.name, process.pid?))).collect())
    }

    /// The process ids of the relays that run, with their names.
    pub fn relay_pids(&self) -> Vec<(String, u32)> {
        let relays = self.relays().iter().zip(&self.relays);
        relays.filter_map(|(about, running)| Some((about.name.clone(), running.as_ref()?.pid()))).collect()
    }

    /// A relay's process.
    pub fn relay(&mut self, index: usize) -> Option<&mut Running> {
        self.relays[index].as_mut()
    }

    /// Takes a relay's process out, to be stopped or killed.
    pub fn take_relay(&mut self, index: usize) -> Option<Running> {
        self.relays[index].take()
    }

    /// Takes a node's supervisor out, to be stopped or killed.
    pub fn take_node(&mut self, role: Role) -> Option<Running> {
        match role {
            Role::Entry => self.entry.take(),
            Role::Exit => self.exit.take(),
        }
    }

    /// Starts a relay, again if it has been stopped.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start_relay(&mut self, index: usize) -> anyhow::Result<()> {
        let LocalRelay { name, config, .. } = &self.network.relays()[index];
        let running = self.spawn(name, &["relay".as_ref(), config.as_ref()])?;
        self.relays[index] = Some(running);
        Ok(())
    }

    /// Starts a node, again if it has been stopped.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start_node(&mut self, role: Role) -> anyhow::Result<()> {
        let config = match role {
            Role::Entry => self.network.entry_config(),
            Role::Exit => self.network.exit().config.clone(),
        };
        let running = self.spawn(role.name(), &[role.name().as_ref(), "-c".as_ref(), config.as_ref()])?;
        match role {
            Role::Entry => self.entry = Some(running),
            Role::Exit => self.exit = Some(running),
        }
        Ok(())
    }

    fn spawn(&self, name: &str, arguments: &[&std::ffi::OsStr]) -> anyhow::Result<Running> {
        let mut command = Command::new(hushwire()?);
        command.args(arguments).env("HUSHWIRE_LOG", self.log);
        Running::start(name, &mut command, &self.log_file(name))
    }

    fn log_file(&self, name: &str) -> PathBuf {
        self.folder.join(&format!("{name}.log"))
    }

    /// Waits until the entry's tunnel has all its legs.
    ///
    /// # Errors
    /// If that does not happen, with the logs of all.
    pub fn wait_until_whole(&mut self) -> anyhow::Result<()> {
        let legs = usize::from(self.plan.shape.legs);
        self.wait_for(READY_WITHIN, |status| linked(status).count() == legs)
    }

    /// Waits until the entry's status is as wanted.
    ///
    /// # Errors
    /// If that does not happen, with the last status and the logs of all.
    pub fn wait_for(&mut self, within: Duration, wanted: impl Fn(&Status) -> bool) -> anyhow::Result<()> {
        let started = Instant::now();
        loop {
            let status = self.status(Role::Entry);
            if status.as_ref().is_ok_and(&wanted) {
                return Ok(());
            }
            for running in [self.exit.as_mut(), self.entry.as_mut()].into_iter().flatten() {
                running.check()?;
            }
            if started.elapsed() > within {
                bail!("not within {within:?}: {:?}\n{}", status.map(|status| status.circuits), self.logs());
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// The ends of all logs, for a message.
    pub fn logs(&self) -> String {
        let relays = self.relays().iter().zip(&self.relays).map(|(about, running)| (about.name.as_str(), running));
        let all = relays.chain([("exit", &self.exit), ("entry", &self.entry)]);
        let tails = all.filter_map(|(name, running)| Some((name, running.as_ref()?.log_tail())));
        tails.map(|(name, tail)| format!("the log of {name} ends with:\n{tail}")).collect()
    }

    /// The legs of the entry's tunnel that are linked.
    ///
    /// # Errors
    /// If the entry does not answer.
    pub fn legs(&self) -> anyhow::Result<Vec<Leg>> {
        Ok(linked(&self.status(Role::Entry)?).cloned().collect())
    }

    /// How many tunnels the entry has begun.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn tunnels(&self) -> anyhow::Result<u64> {
        Ok(tunnels(&self.status(Role::Entry)?))
    }

    /// Which relays are guards of linked legs now.
    ///
    /// # Errors
    /// If the entry does not answer.
    pub fn guards(&self) -> anyhow::Result<Vec<usize>> {
        let guard_of = |leg: Leg| {
            let guard = leg.path.first().context("a leg has hops")?;
            let is_it = |relay: &LocalRelay| relay.node_id.to_string().starts_with(guard.as_str());
            self.relays().iter().position(is_it).with_context(|| format!("no relay is called {guard}"))
        };
        self.legs()?.into_iter().map(guard_of).collect()
    }

    /// How long the entry's last start took from the process with the links to a session over all legs.
    ///
    /// # Errors
    /// If its log does not say so.
    pub fn build_time(&self) -> anyhow::Result<Duration> {
        let log = std::fs::read_to_string(self.log_file(Role::Entry.name()))?;
        let legs = self.plan.shape.legs.into();
        built::built(&log, legs).with_context(|| format!("the entry's log says nothing of {legs} legs"))
    }

    /// Asks all processes to end at once, so that none waits for another one.
    fn ask_to_end(&self) {
        for running in [&self.entry, &self.exit].into_iter().chain(&self.relays).flatten() {
            running.signal(Signal::TERM);
        }
    }

    /// Ends all processes, and keeps the folder for as long as the value that is returned.
    ///
    /// # Errors
    /// If one has to be killed.
    pub fn end(mut self) -> anyhow::Result<Arc<Scratch>> {
        self.ask_to_end();
        let relays = std::mem::take(&mut self.relays);
        for running in [self.entry.take(), self.exit.take()].into_iter().chain(relays).flatten() {
            running.stop()?;
        }
        Ok(Arc::clone(&self.folder))
    }
}

impl Drop for CircuitNet {
    fn drop(&mut self) {
        self.ask_to_end();
    }
}

/// The legs of an entry's tunnel that are linked.
pub fn linked(status: &Status) -> impl Iterator<Item = &Leg> {
    status.circuits.iter().flat_map(|circuits| &circuits.legs).filter(|leg| leg.state == LINKED)
}

/// How many tunnels an entry has begun.
pub fn tunnels(status: &Status) -> u64 {
    status.circuits.as_ref().map_or(0, |circuits| circuits.tunnels)
}
