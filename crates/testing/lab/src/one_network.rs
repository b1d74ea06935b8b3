//! A whole network with a directory, made by the documented commands and nothing else, as `local_network::Recipe` says it: members,
//! relays, exits and entries, each a node with a folder of its own, on the addresses of one loopback or on a machine of its own.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use local_network::{Addresses, Kind, Node, Recipe, Runner, directory_socket};
use rustix::process::Signal;
use serde_json::Value;

use crate::network::Namespace;
use crate::pair::hushwire;
use crate::process::{self, Running};
use crate::scratch::{Scratch, free_tcp_address};
use switch::Switch;

mod dialogue;
pub mod lines;
pub mod loads;
pub mod report;
pub mod service;
pub mod situations;
pub mod switch;
pub mod trouble;

/// How long a command may take on a busy machine.
const COMMAND_WITHIN: Duration = Duration::from_secs(90);
/// How often a waiting loop looks.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// In which part of the network entries send from, if they are told to.
const ENTRY_NET: u8 = 4;

/// How large it is to be.
#[derive(Debug, Clone)]
pub struct Size {
    /// Members of the directory.
    pub members: u8,
    /// Guards and middles.
    pub relays: u8,
    /// Exits.
    pub exits: u8,
    /// Length of an interval, as the command takes it.
    pub interval: &'static str,
    /// What each entry's tunnel has in both directions, as the command takes it; without it the mode is `off`.
    pub rate: Option<&'static str>,
    /// What each relay forwards at most, as the command takes it.
    pub relay_rate: &'static str,
    /// Ports of servers on this machine that exits may reach.
    pub servers: Vec<u16>,
}

/// One node.
#[derive(Debug)]
pub struct Machine {
    /// Its name, which is that of its folder.
    pub name: String,
    /// Its node id; none for an entry or a service.
    pub id: Option<String>,
    /// Where it is reached or, for an entry, where its proxy is.
    pub address: SocketAddr,
    running: Option<Running>,
}

/// A running network. All processes end with this value; a failing test prints the ends of their logs.
#[derive(Debug)]
pub struct OneNetwork {
    /// Members of the directory.
    pub members: Vec<Machine>,
    /// Guards and middles.
    pub relays: Vec<Machine>,
    /// Exits.
    pub exits: Vec<Machine>,
    /// Entries.
    pub entries: Vec<Machine>,
    /// Services.
    pub services: Vec<Machine>,
    recipe: Recipe,
    /// None: all nodes are where the thread is that starts them.
    switch: Option<Arc<Switch>>,
    /// Machines at the switch, by the names of their nodes.
    places: BTreeMap<String, Namespace>,
    /// Last, so that it goes after the processes.
    folder: Scratch,
}

impl OneNetwork {
    /// Makes all files and starts all nodes, and waits until an edition has all relays and exits. They are on one machine, or with a
    /// switch each on its own; whoever calls is beside it then.
    ///
    /// # Errors
    /// When a command fails, or the network does not come about in time.
    pub fn start(size: Size, switch: Option<Arc<Switch>>) -> anyhow::Result<Self> {
        let recipe = recipe(&size);
        let mut net = Self {
            members: Vec::new(),
            relays: Vec::new(),
            exits: Vec::new(),
            entries: Vec::new(),
            services: Vec::new(),
            recipe: recipe.clone(),
            switch,
            places: BTreeMap::new(),
            folder: Scratch::new()?,
        };
        let brought_up = recipe.bring_up(&mut net);
        brought_up.with_context(|| net.ends())?;
        Ok(net)
    }

    /// The folder of a machine.
    pub fn home(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The log of a machine.
    ///
    /// # Errors
    /// When there is none.
    pub fn log(&self, name: &str) -> anyhow::Result<String> {
        Ok(std::fs::read_to_string(self.folder.join(&format!("{name}.log")))?)
    }

    /// Runs a command in the folder of all machines, and returns what it printed.
    ///
    /// # Errors
    /// When it fails.
    pub fn run(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let mut command = Command::new(hushwire()?);
        command.args(arguments).current_dir(self.folder.path()).env_remove("HUSHWIRE_LOG");
        let output = process::run(&mut command, COMMAND_WITHIN).with_context(|| arguments.join(" "))?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// How the directory stands, as a member says.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn standing(&self, member: usize) -> anyhow::Result<Value> {
        let socket = directory_socket(&self.members[member].name);
        Ok(serde_json::from_str(&self.run(&["directory", "status", "--socket", &socket, "--json"])?)?)
    }

    /// Relays of the newest edition.
    ///
    /// # Errors
    /// When no member answers.
    pub fn listed(&self) -> anyhow::Result<usize> {
        Ok(self.edition()?["relays"].as_array().map_or(0, Vec::len))
    }

    /// The newest edition.
    ///
    /// # Errors
    /// When no member answers.
    pub fn edition(&self) -> anyhow::Result<Value> {
        let show = |member: &Machine| {
            let socket = directory_socket(&member.name);
            anyhow::Ok(serde_json::from_str(&self.run(&["directory", "show", "--socket", &socket, "--json"])?)?)
        };
        let alive = self.members.iter().filter(|member| member.running.is_some());
        alive.map(show).find_map(Result::ok).context("no member answers")
    }

    /// Waits until something is so.
    ///
    /// # Errors
    /// When it is not in time.
    pub fn until(&self, what: &str, is_so: impl Fn(&Self) -> anyhow::Result<bool>) -> anyhow::Result<()> {
        let begun = Instant::now();
        let mut last = None;
        while begun.elapsed() < 4 * COMMAND_WITHIN {
            match is_so(self) {
                Ok(true) => return Ok(()),
                Ok(false) => last = None,
                Err(error) => last = Some(error),
            }
            std::thread::sleep(LOOK_EVERY);
        }
        bail!("not in time: {what} ({last:?})")
    }

    /// How entries and services stand, and the ends of all logs, for whoever has to find out why something failed.
    pub fn ends(&self) -> String {
        let users = [(&self.entries, "entry"), (&self.services, "entry"), (&self.services, "service")];
        let users = users.iter().flat_map(|(machines, part)| machines.iter().map(move |machine| (machine, *part)));
        let stand = users.map(|(machine, part)| {
            let status = self.status_of_part(&machine.name, part);
            format!(
                "{} as {part}: {}",
                machine.name,
                status.map_or_else(|error| error.to_string(), |it| it.to_string())
            )
        });
        let machines = [&self.members, &self.relays, &self.exits, &self.entries, &self.services].into_iter().flatten();
        let logs =
            machines.filter_map(|machine| Some(format!("{}:\n{}", machine.name, machine.running.as_ref()?.log_tail())));
        stand.chain(logs).collect::<Vec<_>>().join("\n")
    }

    fn spawn(&self, name: &str, more: &[&str]) -> anyhow::Result<Running> {
        let mut command = Command::new(hushwire()?);
        command.args(["node", &format!("{name}/node.toml")]).args(more).current_dir(self.folder.path());
        let mut start = || Running::start(name, &mut command, &self.folder.join(&format!("{name}.log")));
        match self.places.get(name) {
            Some(place) => place.within(start),
            None => start(),
        }
    }

    /// Starts a member, again if it was stopped.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_member(&mut self, number: usize, more: &[&str]) -> anyhow::Result<()> {
        let running = self.spawn(&self.members[number].name, more)?;
        self.members[number].running = Some(running);
        Ok(())
    }

    /// Starts a relay again.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_relay(&mut self, number: usize) -> anyhow::Result<()> {
        let running = self.spawn(&self.relays[number].name, &[])?;
        self.relays[number].running = Some(running);
        Ok(())
    }

    /// Starts an entry again.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_entry(&mut self, number: usize) -> anyhow::Result<()> {
        let running = self.spawn(&self.entries[number].name, &[])?;
        self.entries[number].running = Some(running);
        Ok(())
    }

    /// Operators let a node in.
    ///
    /// # Errors
    /// When the command fails.
    pub fn admit(&self, id: &str, roles: &[&str], operator: &str) -> anyhow::Result<()> {
        self.recipe.admit(self, id, roles, operator)
    }

    /// Operators put a node out.
    ///
    /// # Errors
    /// When the command fails.
    pub fn expel(&self, id: &str) -> anyhow::Result<()> {
        self.recipe.expel(self, id)
    }

    /// Another relay: its invitation, its admission, its node.
    ///
    /// # Errors
    /// When a command fails.
    pub fn add_relay(&mut self, number: u8) -> anyhow::Result<()> {
        let node = self.recipe.relay(self, number)?;
        self.recipe.let_in(self, &node)?;
        self.start(node, &[])
    }

    /// An entry, from the invitation for everybody.
    ///
    /// # Errors
    /// When a command fails.
    pub fn add_entry(&mut self, number: u8) -> anyhow::Result<()> {
        let node = self.recipe.entry(self, number, self.proxy(number)?)?;
        self.start(node, &[])
    }

    /// Where the proxy of an entry or a service is.
    fn proxy(&self, number: u8) -> std::io::Result<SocketAddr> {
        if self.switch.is_some() { Ok(switch::proxy(number)) } else { free_tcp_address() }
    }

    /// The number of the member that leads the log, as one that runs says.
    ///
    /// # Errors
    /// When none says so.
    pub fn leader(&self) -> anyhow::Result<usize> {
        for member in self.members.iter().filter(|member| member.running.is_some()) {
            let file = format!("{}/node.toml#cluster", member.name);
            let Ok(said) = self.run(&["cluster", "status", "-c", &file, "--json"]) else { continue };
            let status: Value = serde_json::from_str(&said)?;
            let leader = status["leader"].as_str().unwrap_or_default().to_owned();
            let found = self.members.iter().position(|member| {
                member.id.as_deref() == Some(&leader) || leader.starts_with(&format!("{}.", member.name))
            });
            if let Some(found) = found {
                return Ok(found);
            }
        }
        bail!("no member knows a leader")
    }

    /// What `hushwire status` says of an entry.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn entry_status(&self, entry: usize) -> anyhow::Result<Value> {
        self.status_of_part(&self.entries[entry].name, "entry")
    }

    /// The same of a part of any machine's node.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn status_of_part(&self, name: &str, part: &str) -> anyhow::Result<Value> {
        let file = format!("{name}/node.toml#{part}");
        let said: Value = serde_json::from_str(&self.run(&["status", "-c", &file, "--json"])?)?;
        Ok(said[0].clone())
    }

    /// Waits until an entry has so many legs that carry cells.
    ///
    /// # Errors
    /// When it has not, in time.
    pub fn until_linked(&self, entry: usize, legs: usize) -> anyhow::Result<()> {
        self.until("an entry has its legs", |net| {
            let status = net.entry_status(entry)?;
            let found = status["circuits"]["legs"].as_array().cloned().unwrap_or_default();
            Ok(found.iter().filter(|leg| leg["state"] == "linked").count() >= legs)
        })
    }
}

impl Machine {
    /// Whether its node was started and not killed.
    pub fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Kills it if it runs, and does not wait.
    fn cut(&self) {
        if let Some(running) = &self.running {
            running.signal(Signal::KILL);
        }
    }

    /// Kills it, and with it all of its programs.
    ///
    /// # Errors
    /// When it did not run.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        let running = self.running.take().context("it does not run")?;
        running.signal(Signal::KILL);
        drop(running);
        Ok(())
    }

    /// Asks it to end gently and waits.
    ///
    /// # Errors
    /// When it did not run, or does not end well.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        let status = self.running.take().context("it does not run")?.stop()?;
        ensure!(status.success(), "{}: {status}", self.name);
        Ok(())
    }
}

impl Runner for OneNetwork {
    type Error = anyhow::Error;

    fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    fn run(&self, arguments: &[&str]) -> anyhow::Result<String> {
        Self::run(self, arguments)
    }

    fn start(&mut self, node: Node, more: &[&str]) -> anyhow::Result<()> {
        if let Some(switch) = &self.switch {
            self.places.insert(node.name.clone(), switch.add(&node)?);
        }
        let running = Some(self.spawn(&node.name, more)?);
        let machines = match node.kind {
            Kind::Member => &mut self.members,
            Kind::Relay => &mut self.relays,
            Kind::Exit => &mut self.exits,
            Kind::Entry => &mut self.entries,
            Kind::Service => &mut self.services,
        };
        let Node { name, id, address, .. } = node;
        machines.push(Machine { name, id, address, running });
        Ok(())
    }

    fn members(&self) -> Vec<String> {
        self.members.iter().filter(|member| member.running.is_some()).map(|member| member.name.clone()).collect()
    }

    fn until(&mut self, what: &str, is_so: impl Fn(&Self) -> anyhow::Result<bool>) -> anyhow::Result<()> {
        Self::until(self, what, is_so)
    }
}

/// Each test has a namespace of its own, so addresses are fixed. A test's day is short: what happens at changes of keys happens in it.
fn recipe(size: &Size) -> Recipe {
    Recipe {
        members: size.members,
        relays: size.relays,
        exits: size.exits,
        interval: size.interval.to_owned(),
        key_intervals: 30,
        valid_intervals: 20,
        rate: size.rate.map(str::to_owned),
        relay_rate: size.relay_rate.to_owned(),
        servers: size.servers.iter().map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, *port))).collect(),
        addresses: Addresses::fixed(),
    }
}

/// Whether an address is one at which members reach each other.
pub fn is_cluster(address: IpAddr) -> bool {
    Addresses::is_cluster(address)
}
