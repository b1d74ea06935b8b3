//! A whole network with a directory, made by the documented commands and nothing else: members, relays, exits and entries, each a
//! node with a folder of its own, on the addresses of one loopback.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rustix::process::Signal;
use serde_json::Value;

use crate::pair::hushwire;
use crate::process::{self, Running};
use crate::scratch::{Scratch, free_tcp_address};

mod dialogue;
pub mod lines;
pub mod loads;
pub mod report;
pub mod situations;
pub mod trouble;

/// How long a command may take on a busy machine.
const COMMAND_WITHIN: Duration = Duration::from_secs(30);
/// How often a waiting loop looks.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Where every relay's door is.
const DOOR: u16 = 4433;
/// Where members reach each other, and in which part of the loopback.
const CLUSTER: u16 = 4500;
const CLUSTER_NET: u8 = 9;
/// In which part of it entries send from, if they are told to.
const ENTRY_NET: u8 = 4;
/// Ports that links to relays hop over, within those that networks allow by default.
const HOP_PORTS: &str = "40000-49999";

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
    /// What each entry's tunnel has in both directions, as the command takes it.
    pub rate: &'static str,
    /// Ports of servers on this machine that exits may reach.
    pub servers: Vec<u16>,
}

/// One node.
#[derive(Debug)]
pub struct Machine {
    /// Its name, which is that of its folder.
    pub name: String,
    /// Its node id; none for an entry.
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
    size: Size,
    /// Last, so that it goes after the processes.
    folder: Scratch,
}

impl OneNetwork {
    /// Makes all files and starts all nodes, and waits until an edition has all relays and exits.
    ///
    /// # Errors
    /// When a command fails, or the network does not come about in time.
    pub fn start(size: Size) -> anyhow::Result<Self> {
        let nothing = || Vec::new();
        let (members, relays, exits, entries) = (nothing(), nothing(), nothing(), nothing());
        let mut net = Self { members, relays, exits, entries, size, folder: Scratch::new()? };
        net.found()?;
        for number in 0..net.size.members {
            net.start_member(usize::from(number), &["--found"])?;
        }
        net.until("an edition is published", |net| Ok(net.standing(0)?["published"].as_u64() > Some(0)))?;
        for member in 0..net.members.len() {
            let id = net.members[member].id.clone().context("members have ids")?;
            net.admit(&id, &["guard", "directory"], &format!("d{member}"))?;
        }
        for number in 0..net.size.relays {
            net.add_relay(number)?;
        }
        for number in 0..net.size.exits {
            net.add_exit(number)?;
        }
        let all = usize::from(net.size.members) + usize::from(net.size.relays) + usize::from(net.size.exits);
        net.until("all relays are in an edition", |net| Ok(net.listed()? == all))?;
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
        let socket = format!("{}/directory.socket", self.members[member].name);
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
            let socket = format!("{}/directory.socket", member.name);
            anyhow::Ok(serde_json::from_str(&self.run(&["directory", "show", "--socket", &socket, "--json"])?)?)
        };
        let alive = self.members.iter().filter(|member| member.running.is_some());
        alive.map(show).find_map(Result::ok).context("no member answers")
    }

    /// Waits until something is so.
    ///
    /// # Errors
    /// When it is not in time; with the logs' ends.
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
        let machines = [&self.members, &self.relays, &self.exits, &self.entries].into_iter().flatten();
        let logs: Vec<String> = machines
            .filter_map(|machine| Some(format!("{}:\n{}", machine.name, machine.running.as_ref()?.log_tail())))
            .collect();
        bail!("not in time: {what} ({last:?})\n{}", logs.join("\n"))
    }

    fn found(&mut self) -> anyhow::Result<()> {
        let operator = self.run(&["network", "operator", "alice.operator-key"])?;
        let domain = ["pki", "init", "--dir", "ca", "--name", "lab", "--domain", "lab.example"];
        let said = self.run(&domain)?;
        let cluster = said.lines().find(|line| line.contains("cluster = ")).context("the cluster's name")?.trim();
        let members: Vec<u8> = (0..self.size.members).collect();
        let mut ids = Vec::new();
        for number in &members {
            let name = format!("d{number}");
            std::fs::create_dir(self.folder.join(&name))?;
            let id = self.run(&["keys", "new", &format!("{name}/node.keys")])?.trim().to_owned();
            let (host, out) = (format!("{name}.lab.example"), format!("{name}/node.crt"));
            self.run(&["pki", "issue", "--dir", "ca", &id, "--name", &host, "--out", &out])?;
            ids.push(id);
        }
        let mut new = vec!["network", "new", "--name", "lab", "--operator-key", operator.trim(), "--directory"];
        new.extend(["--interval", self.size.interval, "--key-intervals", "30", "--valid-intervals", "20"]);
        ids.iter().for_each(|id| new.extend(["--member", id.as_str()]));
        new.push("network.charter");
        self.run(&new)?;
        let mut tables = String::new();
        for (number, id) in members.iter().zip(&ids) {
            tables += &format!(
                "[[cluster.members]]\nnode_id = \"{id}\"\nname = \"d{number}.lab.example\"\naddress = \"{}\"\n",
                cluster_address(*number)
            );
        }
        let mut and = Vec::new();
        for number in &members {
            let (name, door) = (format!("d{number}"), door(1, *number));
            let file = |file: &str| format!("{name}/{file}");
            let (keys, onion, own, door) =
                (file("node.keys"), file("node.onion-keys"), file("invitation"), door.to_string());
            let charter = ["--charter", "network.charter", "--keys", &keys, "--onion-keys", &onion];
            self.run(&[&["invite"], &charter[..], &["--address", &door, &own]].concat())?;
            std::fs::copy(self.folder.join("network.charter"), self.folder.join(&file("network.charter")))?;
            std::fs::copy(self.folder.join("ca/root.crt"), self.folder.join(&file("root.crt")))?;
            let text = member_text(cluster, *number, &door, &tables);
            std::fs::write(self.folder.join(&file("node.toml")), text)?;
            and.push(own);
        }
        let and: Vec<&str> = and.iter().flat_map(|file| ["--and", file.as_str()]).collect();
        self.run(&[&["invite"], &and[..], &["invitation"]].concat())?;
        for (number, id) in members.into_iter().zip(ids) {
            let (name, address) = (format!("d{number}"), door(1, number));
            self.members.push(Machine { name, id: Some(id), address, running: None });
        }
        Ok(())
    }

    fn spawn(&self, name: &str, more: &[&str]) -> anyhow::Result<Running> {
        let mut command = Command::new(hushwire()?);
        command.args(["node", &format!("{name}/node.toml")]).args(more).current_dir(self.folder.path());
        Running::start(name, &mut command, &self.folder.join(&format!("{name}.log")))
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
        let roles: Vec<&str> = roles.iter().flat_map(|role| ["--role", role]).collect();
        let rate = ["--operator", operator, "--rate", "100 Mbit/s"];
        self.order(&[&["admit", id], &roles[..], &rate].concat())
    }

    /// Operators put a node out.
    ///
    /// # Errors
    /// When the command fails.
    pub fn expel(&self, id: &str) -> anyhow::Result<()> {
        self.order(&["expel", id])
    }

    fn order(&self, words: &[&str]) -> anyhow::Result<()> {
        let signed = ["--charter", "network.charter", "--key", "alice.operator-key"];
        let alive: Vec<&Machine> = self.members.iter().filter(|member| member.running.is_some()).collect();
        let mut last = None;
        for member in alive {
            let socket = format!("{}/directory.socket", member.name);
            match self.run(&[&["directory"], words, &signed, &["--socket", &socket]].concat()) {
                Ok(_) => return Ok(()),
                Err(error) => last = Some(error),
            }
        }
        Err(last.context("no member runs")?)
    }

    fn join(&self, name: &str, words: &[&str]) -> anyhow::Result<()> {
        self.run(&[&["join"], words, &["--dir", name]].concat())?;
        Ok(())
    }

    /// Another relay: its invitation, its admission, its node.
    ///
    /// # Errors
    /// When a command fails.
    pub fn add_relay(&mut self, number: u8) -> anyhow::Result<()> {
        let (name, address) = (format!("r{number}"), door(2, number));
        let id = self.invite(&name)?;
        self.admit(&id, &["guard", "middle"], &name)?;
        let (file, at) = (format!("{name}.invitation"), address.to_string());
        let words = [&file, "--operator", &name, "--rate", "50 Mbit/s", "--address", &at, "--hop-ports", HOP_PORTS];
        self.join(&name, &words)?;
        let running = Some(self.spawn(&name, &[])?);
        self.relays.push(Machine { name, id: Some(id), address, running });
        Ok(())
    }

    fn add_exit(&mut self, number: u8) -> anyhow::Result<()> {
        let (name, address) = (format!("x{number}"), door(3, number));
        let id = self.invite(&name)?;
        self.admit(&id, &["exit", "directory"], &name)?;
        let (file, at) = (format!("{name}.invitation"), address.to_string());
        let roles = ["--role", "exit", "--role", "directory", "--exit-ports", "1-65535"];
        let words = [&file, "--operator", &name, "--rate", "50 Mbit/s", "--address", &at];
        self.join(&name, &[&words[..], &roles].concat())?;
        // Servers of this test are on this machine, which no exit reaches unless it is told to.
        let rules: Vec<String> = self.size.servers.iter().map(|port| format!("\"allow 127.0.0.1:{port}\"")).collect();
        let path = self.home(&name).join("node.toml");
        let text = std::fs::read_to_string(&path)?;
        std::fs::write(&path, format!("{text}\n[exit.exit_policy]\nrules = [{}]\n", rules.join(", ")))?;
        let running = Some(self.spawn(&name, &[])?);
        self.exits.push(Machine { name, id: Some(id), address, running });
        Ok(())
    }

    /// An entry, from the invitation for everybody.
    ///
    /// # Errors
    /// When a command fails.
    pub fn add_entry(&mut self, number: u8) -> anyhow::Result<()> {
        let (name, proxy) = (format!("e{number}"), free_tcp_address()?);
        self.join(&name, &["invitation", "--proxy", &proxy.to_string(), "--rate", self.size.rate])?;
        let running = Some(self.spawn(&name, &[])?);
        self.entries.push(Machine { name, id: None, address: proxy, running });
        Ok(())
    }

    fn invite(&self, name: &str) -> anyhow::Result<String> {
        let said = self.run(&["invite", "--and", "invitation", "--relay", &format!("{name}.invitation")])?;
        Ok(said.trim().to_owned())
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
        let file = format!("{}/node.toml#entry", self.entries[entry].name);
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

/// The door of a node: kinds of nodes and nodes have subnets of their own.
fn door(kind: u8, number: u8) -> SocketAddr {
    SocketAddrV4::new(Ipv4Addr::new(127, kind, number + 1, 1), DOOR).into()
}

/// Whether an address is one at which members reach each other.
pub fn is_cluster(address: IpAddr) -> bool {
    matches!(address, IpAddr::V4(address) if address.octets()[1] == CLUSTER_NET)
}

fn cluster_address(number: u8) -> SocketAddr {
    SocketAddrV4::new(Ipv4Addr::new(127, CLUSTER_NET, number + 1, 1), CLUSTER).into()
}

/// A member's file, as docs/directory.md says.
fn member_text(cluster: &str, number: u8, door: &str, tables: &str) -> String {
    format!(
        "[cluster]\n{cluster}\nkey_file = \"node.keys\"\ncertificate_file = \"node.crt\"\nroot_file = \"root.crt\"\n\
         listen = \"{}\"\n\n[cluster.directory]\ncharter_file = \"network.charter\"\nsocket = \"directory.socket\"\n\n{tables}\n\
         [mirror]\ninvitation_file = \"invitation\"\nsources = [\"directory.socket\"]\n\n\
         [mirror.announce]\nkey_file = \"node.keys\"\nonion_key_file = \"node.onion-keys\"\naddresses = [\"{door}\"]\n\
         roles = \"guard directory\"\noperator = \"d{number}\"\nrate = \"50 Mbit/s\"\n\n\
         [exit]\nkey_file = \"node.keys\"\n\n[exit.network]\nbind = \"{door}\"\nfile = \"network.document\"\n\
         onion_key_file = \"node.onion-keys\"\n\n[exit.directory]\nsocket = \"directory.socket\"\n\n\
         [exit.exit_policy]\nrules = [\"deny *\"]\n\n[exit.shaping]\nmode = \"off\"\n",
        cluster_address(number)
    )
}
