//! The recipe of a whole network with a directory, by the documented commands and nothing else. Who follows it runs the commands
//! and the nodes: the demo and the tests of `lab` do.

use addresses::{DOOR_EXIT, DOOR_RELAY};
use config::SecretFileError;
use serde_json::Value;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use thiserror::Error;

mod addresses;
mod members;

pub use addresses::Addresses;

/// The operator's key, the charter and the invitation for everybody, in the folder of all nodes.
const OPERATOR_KEY: &str = "alice.operator-key";
const CHARTER: &str = "network.charter";
const INVITATION: &str = "invitation";
/// All nodes of a recipe are on one machine, so no clock is asked; and when files are made, members may not run yet.
const OFFLINE: &str = "--offline";
/// What a service is called on its machine.
const SERVICE: &str = "web";
/// What operators admit.
const ADMITTED_RATE: &str = "1 Gbit/s";
/// Ports over which links to relays hop. Systems give ports above these to whoever asks for any.
const HOP_PORTS: &str = "10000-19999";

/// What a network is to be like.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// Members of the directory: 3 to 9, each at the same time a guard and middle.
    pub members: u8,
    /// Guards and middles.
    pub relays: u8,
    /// Exits.
    pub exits: u8,
    /// Length of an interval of the directory, as the command takes it: 1s or more.
    pub interval: String,
    /// Intervals between two changes of onion keys, 1 to 10,000.
    pub key_intervals: u16,
    /// Intervals for which an edition is good: 2 to 1,000, and at most one more than `key_intervals`.
    pub valid_intervals: u16,
    /// Rate of an entry's tunnel in both directions, as the command takes it; without it the tunnel has no schedule.
    pub rate: Option<String>,
    /// What a relay or an exit forwards at most, as the command takes it.
    pub relay_rate: String,
    /// Servers on this machine that exits may reach. Without a word about them none is.
    pub servers: Vec<SocketAddr>,
    /// Where nodes are.
    pub addresses: Addresses,
}

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A member of the directory.
    Member,
    /// A guard and middle.
    Relay,
    /// An exit.
    Exit,
    /// An entry.
    Entry,
    /// A service behind an entry of its own.
    Service,
}

/// A node whose files are there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// What it is.
    pub kind: Kind,
    /// Its name, which is that of its folder: a letter for the kind, and a number from 0 on.
    pub name: String,
    /// Its node id, as it is printed; none for an entry or a service.
    pub id: Option<String>,
    /// Where it is reached or, for an entry or a service, where its proxy is.
    pub address: SocketAddr,
}

impl Node {
    /// Its file, in the folder of all nodes.
    pub fn file(&self) -> String {
        format!("{}/node.toml", self.name)
    }
}

/// Whoever follows a recipe.
pub trait Runner {
    /// Why it cannot.
    type Error: From<RecipeError>;

    /// The folder of all nodes. Commands run in it.
    fn folder(&self) -> PathBuf;

    /// Runs `hushwire` with these arguments to its end, and returns what it printed.
    ///
    /// # Errors
    /// When it fails.
    fn run(&self, arguments: &[&str]) -> Result<String, Self::Error>;

    /// Starts `hushwire node FILE` with the file of this node and these arguments behind it, and keeps it.
    ///
    /// # Errors
    /// When it cannot be started.
    fn start(&mut self, node: Node, more: &[&str]) -> Result<(), Self::Error>;

    /// Names of members that run, to be asked one after the other.
    fn members(&self) -> Vec<String>;

    /// Waits until something is so. `what` says it in words, for whoever waits in vain.
    ///
    /// # Errors
    /// When it is not so in time.
    fn until(&mut self, what: &str, is_so: impl Fn(&Self) -> Result<bool, Self::Error>) -> Result<(), Self::Error>;
}

/// Why a recipe cannot be followed, apart from commands that fail.
#[derive(Debug, Error)]
pub enum RecipeError {
    /// A file cannot be read or written.
    #[error("cannot read or write {}", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The same of a file that must be new.
    #[error(transparent)]
    NewFile(#[from] SecretFileError),
    /// The system has no port.
    #[error("no UDP port of a loopback address can be opened")]
    Port(#[source] io::Error),
    /// A command printed something else than it says.
    #[error("`hushwire {0}` did not print what it says")]
    Printed(&'static str),
    /// All members are dead.
    #[error("no member of the directory runs")]
    NoMember,
}

impl Recipe {
    /// Makes all files and starts members, relays and exits; it returns when an edition has all of them.
    ///
    /// # Errors
    /// When a command fails, or the network does not come about in time.
    pub fn bring_up<R: Runner>(&self, runner: &mut R) -> Result<(), R::Error> {
        let mut nodes = self.found(runner)?;
        for member in &nodes {
            runner.start(member.clone(), &["--found"])?;
        }
        // While the members find each other, the others' files are made.
        let members = nodes.len();
        for number in 0..self.relays {
            nodes.push(self.relay(runner, number)?);
        }
        for number in 0..self.exits {
            nodes.push(self.exit(runner, number)?);
        }
        runner.until("an edition is published", |runner| Ok(standing(runner)?["published"].as_u64() > Some(0)))?;
        for node in &nodes {
            self.let_in(runner, node)?;
        }
        let all = nodes.len() as u64;
        for node in nodes.drain(members..) {
            runner.start(node, &[])?;
        }
        runner.until("all relays are in an edition", |runner| Ok(standing(runner)?["relays"].as_u64() == Some(all)))
    }

    /// Another relay's files: its invitation, and what it makes of it.
    ///
    /// # Errors
    /// When a command fails.
    pub fn relay<R: Runner>(&self, runner: &R, number: u8) -> Result<Node, R::Error> {
        let address = self.addresses.door(DOOR_RELAY, number)?;
        self.guest(runner, Kind::Relay, format!("r{number}"), address, &["--hop-ports", HOP_PORTS])
    }

    /// Another exit's files.
    ///
    /// # Errors
    /// When a command fails.
    pub fn exit<R: Runner>(&self, runner: &R, number: u8) -> Result<Node, R::Error> {
        let address = self.addresses.door(DOOR_EXIT, number)?;
        let mut roles = vec!["--role", "exit", "--role", "directory", "--exit-ports", "1-65535"];
        roles.extend(self.rate.is_none().then_some("--unshaped"));
        let node = self.guest(runner, Kind::Exit, format!("x{number}"), address, &roles)?;
        // No exit reaches servers of its own machine unless it is told to.
        let rules: Vec<String> = self.servers.iter().map(|server| format!("\"allow {server}\"")).collect();
        let text = format!("\n[exit.exit_policy]\nrules = [{}]\n", rules.join(", "));
        append(&runner.folder().join(node.file()), &text)?;
        Ok(node)
    }

    /// An entry's files, from the invitation for everybody.
    ///
    /// # Errors
    /// When a command fails.
    pub fn entry<R: Runner>(&self, runner: &R, number: u8, proxy: SocketAddr) -> Result<Node, R::Error> {
        self.joined(runner, Kind::Entry, format!("e{number}"), proxy)
    }

    fn joined<R: Runner>(&self, runner: &R, kind: Kind, name: String, proxy: SocketAddr) -> Result<Node, R::Error> {
        let at = proxy.to_string();
        let shaping = match &self.rate {
            Some(rate) => vec!["--rate", rate],
            None => vec!["--unshaped"],
        };
        runner.run(&[&["join", INVITATION, "--dir", &name, "--proxy", &at, OFFLINE], &shaping[..]].concat())?;
        Ok(Node { kind, name, id: None, address: proxy })
    }

    /// A service's files: an entry, through which its records are published, and the service, which leads from port 80 to a server. The
    /// other value is its address.
    ///
    /// # Errors
    /// When a command fails.
    pub fn service<R: Runner>(
        &self,
        runner: &R,
        number: u8,
        proxy: SocketAddr,
        server: SocketAddr,
    ) -> Result<(Node, String), R::Error> {
        let node = self.joined(runner, Kind::Service, format!("s{number}"), proxy)?;
        let (file, to) = (node.file(), server.to_string());
        let said = runner.run(&["service", "add", SERVICE, "--to", &to, "-c", &file])?;
        Ok((node, said.trim().to_owned()))
    }

    fn guest<R: Runner>(
        &self,
        runner: &R,
        kind: Kind,
        name: String,
        address: SocketAddr,
        more: &[&str],
    ) -> Result<Node, R::Error> {
        let (file, at) = (format!("{name}.invitation"), address.to_string());
        let said = runner.run(&["invite", "--and", INVITATION, "--relay", &file])?;
        let rate = &self.relay_rate;
        let join = ["join", &file, "--dir", &name, "--operator", &name, "--rate", rate, "--address", &at, OFFLINE];
        runner.run(&[&join, more].concat())?;
        Ok(Node { kind, name, id: Some(said.trim().to_owned()), address })
    }

    /// The operator lets a node in, with the roles of its kind.
    ///
    /// # Errors
    /// When no member takes the order.
    pub fn let_in<R: Runner>(&self, runner: &R, node: &Node) -> Result<(), R::Error> {
        let roles: &[&str] = match node.kind {
            Kind::Member => &["guard", "middle", "directory"],
            Kind::Relay => &["guard", "middle"],
            Kind::Exit => &["exit", "directory"],
            // Entries are nobody's concern.
            Kind::Entry | Kind::Service => return Ok(()),
        };
        self.admit(runner, node.id.as_deref().unwrap_or_default(), roles, &node.name)
    }

    /// The operator lets a node in.
    ///
    /// # Errors
    /// When no member takes the order.
    pub fn admit<R: Runner>(&self, runner: &R, id: &str, roles: &[&str], operator: &str) -> Result<(), R::Error> {
        let roles: Vec<&str> = roles.iter().flat_map(|role| ["--role", role]).collect();
        let rate = ["--operator", operator, "--rate", ADMITTED_RATE];
        order(runner, &[&["admit", id], &roles[..], &rate].concat())
    }

    /// The operator puts a node out.
    ///
    /// # Errors
    /// When no member takes the order.
    pub fn expel<R: Runner>(&self, runner: &R, id: &str) -> Result<(), R::Error> {
        order(runner, &["expel", id])
    }
}

/// The socket of a member's directory, in the folder of all nodes.
pub fn directory_socket(member: &str) -> String {
    format!("{member}/directory.socket")
}

fn order<R: Runner>(runner: &R, words: &[&str]) -> Result<(), R::Error> {
    let signed = ["--charter", CHARTER, "--key", OPERATOR_KEY];
    ask(runner, &[words, &signed].concat())?;
    Ok(())
}

/// How the directory stands, as the first member says that answers.
fn standing<R: Runner>(runner: &R) -> Result<Value, R::Error> {
    let said = ask(runner, &["status", "--json"])?;
    Ok(serde_json::from_str(&said).map_err(|_| RecipeError::Printed("directory status --json"))?)
}

/// Runs a command of `hushwire directory` with one member after the other, until one takes it.
fn ask<R: Runner>(runner: &R, words: &[&str]) -> Result<String, R::Error> {
    let mut last = None;
    for member in runner.members() {
        let socket = directory_socket(&member);
        match runner.run(&[&["directory"], words, &["--socket", &socket]].concat()) {
            Ok(said) => return Ok(said),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| RecipeError::NoMember.into()))
}

fn append(path: &Path, text: &str) -> Result<(), RecipeError> {
    let opened = OpenOptions::new().append(true).open(path);
    opened
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|source| RecipeError::File { path: path.to_owned(), source })
}
