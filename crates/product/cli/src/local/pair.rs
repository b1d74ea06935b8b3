//! An entry and an exit on loopback, each a supervised node of its own, as separate programs.

use crate::args::{ModeArg, RoleArg};
use crate::failure::{Code, Failure};
use crate::local::folder::Folder;
use crate::local::part::Part;
use crate::local::ports;
use crate::settings;
use crate::template::{Template, quoted};
use admin::protocol::Request;
use admin::status::{LinkState, Status};
use identity::PeerAddress;
use std::ffi::OsStr;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long both nodes may take until packets flow.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a node may take to end.
const STOP_TIMEOUT: Duration = Duration::from_secs(8);
/// How long flows may finish before both nodes are told to end at once.
const FLOWS_PATIENCE: Duration = Duration::from_secs(1);
/// Pause between two looks at something that is waited for.
const LOOK: Duration = Duration::from_millis(50);

/// What kind of pair.
#[derive(Debug, Clone)]
pub(crate) struct PairPlan {
    pub(crate) mode: ModeArg,
    pub(crate) rate: String,
    pub(crate) slot_ms: u32,
    /// Port of the proxy; 0 for a free one.
    pub(crate) proxy_port: u16,
}

/// A running pair. Dropping it ends both nodes and removes every file.
#[derive(Debug)]
pub(crate) struct Pair {
    proxy: SocketAddr,
    entry: Node,
    exit: Node,
    /// Last, so that it goes after the nodes.
    _folder: Folder,
}

/// A supervised node, an entry or an exit.
#[derive(Debug)]
pub(crate) struct Node {
    part: Part,
    socket: PathBuf,
}

impl Pair {
    /// Writes files, starts both nodes, and returns when the link between them is up.
    pub(crate) async fn start(plan: &PairPlan) -> Result<Self, Failure> {
        let folder = Folder::new()?;
        let proxy = SocketAddr::from((Ipv4Addr::LOCALHOST, free_tcp_port(plan.proxy_port)?));
        write_files(plan, folder.path(), proxy)?;
        let exit = Node::spawn(RoleArg::Exit, folder.path())?;
        let entry = Node::spawn(RoleArg::Entry, folder.path())?;
        let mut pair = Self { proxy, entry, exit, _folder: folder };
        pair.wait_until_up().await?;
        Ok(pair)
    }

    /// Where applications connect: SOCKS5 and HTTP CONNECT.
    pub(crate) fn proxy(&self) -> SocketAddr {
        self.proxy
    }

    /// What the entry says about itself.
    pub(crate) async fn entry_status(&self) -> Result<Status, Failure> {
        self.entry.status().await
    }

    /// What the exit says about itself.
    pub(crate) async fn exit_status(&self) -> Result<Status, Failure> {
        self.exit.status().await
    }

    /// An error if one of the nodes has ended.
    pub(crate) fn check(&mut self) -> Result<(), Failure> {
        self.entry.part.check()?;
        self.exit.part.check()
    }

    /// Asks both nodes to end and waits until they have. Flows that are still open get a moment.
    pub(crate) async fn stop(mut self) {
        self.ask_to_stop().await;
        let begun = Instant::now();
        let mut asked_again = false;
        while begun.elapsed() < STOP_TIMEOUT && (self.entry.part.is_running() || self.exit.part.is_running()) {
            if begun.elapsed() > FLOWS_PATIENCE && !asked_again {
                asked_again = true;
                self.ask_to_stop().await;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn ask_to_stop(&self) {
        for node in [&self.entry, &self.exit] {
            // A node that no longer answers is ended by force when it is dropped.
            let _ = admin::client::ask(&node.socket, Request::Stop).await;
        }
    }

    async fn wait_until_up(&mut self) -> Result<(), Failure> {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            self.check()?;
            let up = |status: &Status| status.links.iter().any(|link| link.state == Some(LinkState::Up));
            // Until the sockets are there, the question itself fails.
            if let (Ok(entry), Ok(exit)) = (self.entry.status().await, self.exit.status().await)
                && up(&entry)
                && up(&exit)
            {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let sentence = format!("the two nodes do not reach each other within {} s", START_TIMEOUT.as_secs());
                return Err(Failure::new(Code::Software, sentence)
                    .detail(self.entry.part.log_tail() + &self.exit.part.log_tail()));
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

impl Node {
    /// Starts `hushwire entry` or `exit` with the configuration of that name in `folder`.
    pub(crate) fn spawn(role: RoleArg, folder: &Path) -> Result<Self, Failure> {
        let name = role.name();
        let config = folder.join(format!("{name}.toml"));
        let arguments = [OsStr::new(name), OsStr::new("-c"), config.as_os_str()];
        let part = Part::spawn(&format!("the {name}"), &arguments, &folder.join(format!("{name}.log")))?;
        Ok(Self { part, socket: folder.join(format!("{name}.admin")) })
    }

    /// Its supervisor.
    pub(crate) fn part(&mut self) -> &mut Part {
        &mut self.part
    }

    /// What it says about itself.
    pub(crate) async fn status(&self) -> Result<Status, Failure> {
        admin::client::status(&self.socket).await.map_err(|error| crate::commands::status::not_answered(&error))
    }
}

fn write_files(plan: &PairPlan, folder: &Path, proxy: SocketAddr) -> Result<(), Failure> {
    let (entry_keys, exit_keys) = (settings::new_keys()?, settings::new_keys()?);
    let udp = SocketAddr::from((Ipv4Addr::LOCALHOST, ports::free_udp()?));
    let (mode, rate) = (quoted(plan.mode.name()), quoted(&plan.rate));
    let slot = plan.slot_ms.to_string();

    let mut exit = Template::new(config::EXAMPLE_EXIT);
    let peers = format!("[{}]", quoted(&entry_keys.peer_string(None).reveal()));
    let exit_set = [
        exit.set("", "peers", &peers),
        exit.set("network", "bind", &quoted(&udp.to_string())),
        exit.set("network", "public_address", &quoted(&udp.to_string())),
        exit.set("shaping", "mode", &mode),
        exit.set("shaping", "max_rate", &rate),
        exit.set("shaping", "slot_ms", &slot),
        exit.set("exit_policy", "rules", "[\"allow 127.0.0.0/8\"]"),
    ];

    let mut entry = Template::new(config::EXAMPLE_ENTRY);
    entry.drop_second("listen");
    let peer = exit_keys.peer_string(Some(PeerAddress::from(udp)));
    let entry_set = [
        entry.set("", "peer", &quoted(&peer.reveal())),
        entry.set("network", "bind", &quoted("127.0.0.1:0")),
        entry.set("shaping", "mode", &mode),
        entry.set("shaping", "up", &rate),
        entry.set("shaping", "down", &rate),
        entry.set("shaping", "slot_ms", &slot),
        entry.set("listen", "address", &quoted(&proxy.to_string())),
    ];
    if !exit_set.into_iter().chain(entry_set).all(|set| set) {
        return Err(Failure::new(Code::Software, "an example file lacks a key"));
    }
    let files = [
        ("entry.keys", entry_keys.reveal().to_string()),
        ("exit.keys", exit_keys.reveal().to_string()),
        ("entry.toml", entry.text()),
        ("exit.toml", exit.text()),
    ];
    for (name, content) in &files {
        config::create_secret_file(&folder.join(name), content).map_err(|error| settings::secret(&error))?;
    }
    Ok(())
}

/// The port that is wanted, or another one if that is 0. Should somebody take it before the node does, the node says so.
pub(crate) fn free_tcp_port(wanted: u16) -> Result<u16, Failure> {
    if wanted == 0 {
        return ports::free_tcp();
    }
    let is_free = TcpListener::bind((Ipv4Addr::LOCALHOST, wanted)).map(|_| wanted);
    is_free.map_err(|error| {
        Failure::new(Code::System, format!("port {wanted} of 127.0.0.1 cannot be opened: {error}"))
            .remedy("choose another with --port, or leave it out")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_a_pair_are_good_and_fit_together() {
        let folder = Folder::new().expect("a folder for temporary files");
        let plan = PairPlan { mode: ModeArg::Off, rate: "10 Mbit/s".into(), slot_ms: 10, proxy_port: 0 };
        let proxy = SocketAddr::from(([127, 0, 0, 1], 1080));
        write_files(&plan, folder.path(), proxy).expect("files can be written");
        let load = |name: &str| config::load(&folder.path().join(name)).expect("a good file");
        let (entry, exit) = (load("entry.toml"), load("exit.toml"));
        assert_eq!((entry.shaping.clone(), entry.shaping.slot.as_millis()), (exit.shaping.clone(), 10));
        let (config::Role::Entry(in_role), config::Role::Exit(out_role)) = (&entry.role, &exit.role) else {
            panic!("one of each");
        };
        let id = |config: &config::Config| config::read_keys(&config.key_file).map(|keys| keys.node_secret.node_id());
        assert_eq!(id(&exit).ok(), Some(in_role.peer.as_ref().expect("a pair").node_id));
        assert_eq!(id(&entry).ok(), out_role.peers.first().map(|peer| peer.node_id));
        assert_eq!(
            in_role.peer.as_ref().and_then(|peer| peer.address.as_ref()).map(|address| address.port),
            Some(exit.network.bind.port())
        );
        assert!(in_role.up <= out_role.max_rate);
    }
}
