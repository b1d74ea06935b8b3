//! An entry and an exit as real processes, on loopback or in two network namespaces.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use admin::status::{Link, LinkState, Status};
use anyhow::{Context, bail, ensure};

use crate::network::Namespace;
use crate::process::{self, Running};
use crate::relay::{Relay, RelayConfig};
use crate::scratch::{Scratch, free_tcp_address, free_udp_address};

/// How long the two nodes may take until the link is up, on a busy machine.
const READY_WITHIN: Duration = Duration::from_secs(90);
/// How often a waiting loop looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long a command of the binary may take.
const COMMAND_WITHIN: Duration = Duration::from_secs(90);
/// How long building the binary may take.
const BUILD_WITHIN: Duration = Duration::from_secs(1800);

/// Which node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Flows come in here.
    Entry,
    /// Flows go out here.
    Exit,
}

impl Role {
    /// As the command line and the configuration say it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Entry => "entry",
            Self::Exit => "exit",
        }
    }
}

/// The schedule of both nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A constant rate in each direction, as the configuration writes it, such as `"10 Mbit/s"`.
    Constant {
        /// From the entry.
        up: String,
        /// To the entry.
        down: String,
        /// Length of a slot.
        slot_ms: u32,
    },
    /// A rate that follows the load and is paid for by a ledger: `"stepped"`, `"dp"` or `"queue"`.
    Paced {
        /// The mode's name.
        mode: &'static str,
        /// Fastest rate from the entry.
        up: String,
        /// Fastest rate to the entry.
        down: String,
    },
    /// No schedule, with `"bbr"` or `"cubic"`.
    Off {
        /// The congestion controller.
        congestion: &'static str,
    },
}

impl Mode {
    /// The same rate in both directions, in slots of 5 ms.
    pub fn constant(rate: &str) -> Self {
        Self::Constant { up: rate.to_owned(), down: rate.to_owned(), slot_ms: 5 }
    }

    /// A rate that follows the load, up to the same in both directions.
    pub fn paced(mode: &'static str, most: &str) -> Self {
        Self::Paced { mode, up: most.to_owned(), down: most.to_owned() }
    }
}

/// What a pair is started with.
#[derive(Clone, Debug)]
pub struct PairConfig {
    /// The schedule.
    pub mode: Mode,
    /// Destinations of plain forwards, `host:port` each.
    pub forwards: Vec<String>,
    /// Destinations of plain forwards whose listeners are unix sockets.
    pub unix_forwards: Vec<String>,
    /// A relay between the nodes; its destination is set to the exit.
    pub relay: Option<RelayConfig>,
    /// Rules of the exit policy. The default allows loopback.
    pub policy: Vec<String>,
    /// More lines for tables of the configurations, such as `max_flows = 16` for `queues`.
    pub more: Vec<Line>,
    /// How long the link may be away.
    pub session_timeout_s: u32,
}

impl PairConfig {
    /// A pair with this schedule, without forwards and without relay.
    pub fn new(mode: Mode) -> Self {
        let policy = vec!["allow 127.0.0.0/8".to_owned(), "allow [::1]".to_owned()];
        let (forwards, unix_forwards) = (Vec::new(), Vec::new());
        Self { mode, forwards, unix_forwards, relay: None, policy, more: Vec::new(), session_timeout_s: 30 }
    }

    /// The same with a forward to this address.
    #[must_use]
    pub fn with_forward(mut self, to: SocketAddr) -> Self {
        self.forwards.push(to.to_string());
        self
    }

    /// The same with a forward to this address whose listener is a unix socket.
    #[must_use]
    pub fn with_unix_forward(mut self, to: SocketAddr) -> Self {
        self.unix_forwards.push(to.to_string());
        self
    }

    /// The same with a relay.
    #[must_use]
    pub fn with_relay(self, relay: RelayConfig) -> Self {
        Self { relay: Some(relay), ..self }
    }

    /// The same with one more line in a table of both configurations.
    #[must_use]
    pub fn with_line(mut self, table: &'static str, line: &str) -> Self {
        self.more.push(Line { role: None, table, text: line.to_owned() });
        self
    }

    /// The same with one more line in a table of one node's configuration.
    #[must_use]
    pub fn with_line_of(mut self, role: Role, table: &'static str, line: &str) -> Self {
        self.more.push(Line { role: Some(role), table, text: line.to_owned() });
        self
    }

    /// The lines of a node's configuration that the test added.
    fn more_of(&self, role: Role) -> impl Iterator<Item = &Line> {
        self.more.iter().filter(move |line| line.role.is_none_or(|one| one == role))
    }
}

/// A line that a test adds to a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Whose configuration; both without one.
    pub role: Option<Role>,
    /// The table.
    pub table: &'static str,
    /// The line.
    pub text: String,
}

/// Where the two nodes of a pair run, if not on loopback.
#[derive(Clone, Copy, Debug)]
pub struct Places<'network> {
    /// Where the entry runs, and where its listeners are, on loopback.
    pub entry: &'network Namespace,
    /// Where the exit runs.
    pub exit: &'network Namespace,
    /// The exit's own address, which the entry sends to.
    pub exit_address: SocketAddr,
}

/// What the addresses of a pair are.
#[derive(Clone, Copy, Debug)]
struct Addresses {
    /// What the entry's socket is bound to.
    entry: SocketAddr,
    /// What the exit's socket is bound to.
    exit: SocketAddr,
    /// Where the entry sends to.
    dialled: SocketAddr,
}

/// A running pair. Both nodes end with this value; a failing test prints the end of their logs.
#[derive(Debug)]
pub struct Pair {
    entry: Option<Running>,
    exit: Option<Running>,
    relay: Option<Relay>,
    proxy: SocketAddr,
    forwards: Vec<SocketAddr>,
    /// The names of the namespaces of entry and exit.
    namespaces: Option<[String; 2]>,
    folder: Scratch,
}

impl Pair {
    /// Makes keys and configurations, starts both nodes and waits until the link is up.
    ///
    /// # Errors
    /// If the binary cannot be built, a node does not start, or the link does not come up; with the logs.
    pub fn start(config: PairConfig) -> anyhow::Result<Self> {
        hushwire()?;
        let exit = free_udp_address()?;
        let relay = match config.relay.clone() {
            Some(relay) => Some(Relay::start(RelayConfig { to: exit, ..relay })?),
            None => None,
        };
        let dialled = relay.as_ref().map_or(exit, Relay::address);
        let addresses = Addresses { entry: (Ipv4Addr::LOCALHOST, 0).into(), exit, dialled };
        let listeners = listeners(&config)?;
        Self { relay, ..Self::prepared(listeners, None)? }.run(&config, addresses)
    }

    /// The same with each node in a namespace of its own, and no relay.
    ///
    /// # Errors
    /// As [`Pair::start`].
    pub fn start_in(config: PairConfig, places: Places<'_>) -> anyhow::Result<Self> {
        ensure!(config.relay.is_none(), "between namespaces a line takes the relay's place");
        let exit = places.exit_address;
        let any: IpAddr = if exit.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let listeners = places.entry.within(|| listeners(&config))?;
        let names = [places.entry, places.exit].map(|namespace| namespace.name().to_owned());
        let addresses = Addresses { entry: (any, 0).into(), exit, dialled: exit };
        Self::prepared(listeners, Some(names))?.run(&config, addresses)
    }

    /// A pair without processes.
    fn prepared(
        (proxy, forwards): (SocketAddr, Vec<SocketAddr>),
        namespaces: Option<[String; 2]>,
    ) -> anyhow::Result<Self> {
        let folder = Scratch::new()?;
        Ok(Self { entry: None, exit: None, relay: None, proxy, forwards, namespaces, folder })
    }

    fn run(self, config: &PairConfig, addresses: Addresses) -> anyhow::Result<Self> {
        let mut pair = self;
        let lines = [pair.make_keys(Role::Entry, None)?, pair.make_keys(Role::Exit, Some(addresses.dialled))?];
        pair.folder.write("entry.toml", pair.entry_config(config, addresses.entry, &lines[1]))?;
        pair.folder.write("exit.toml", exit_config(config, addresses, &lines[0]))?;
        for file in ["entry.toml", "exit.toml"] {
            make_private(&pair.folder.join(file))?;
        }
        if matches!(config.mode, Mode::Paced { .. }) {
            pair.make_ledger()?;
        }
        pair.start_node(Role::Exit)?;
        pair.start_node(Role::Entry)?;
        pair.wait_until_up()?;
        Ok(pair)
    }

    /// The entry's SOCKS5 and HTTP CONNECT port.
    pub fn proxy(&self) -> SocketAddr {
        self.proxy
    }

    /// The port of a plain forward, in the order of the configuration.
    pub fn forward(&self, index: usize) -> SocketAddr {
        self.forwards[index]
    }

    /// The unix socket of a plain forward, in the order of the configuration.
    pub fn unix_forward(&self, index: usize) -> PathBuf {
        self.folder.join(&format!("forward-{index}.sock"))
    }

    /// The relay between the nodes.
    pub fn relay(&self) -> Option<&Relay> {
        self.relay.as_ref()
    }

    /// The folder of keys, configurations and logs.
    pub fn folder(&self) -> &Path {
        self.folder.path()
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

    /// A node's supervisor.
    pub fn node(&mut self, role: Role) -> Option<&mut Running> {
        match role {
            Role::Entry => self.entry.as_mut(),
            Role::Exit => self.exit.as_mut(),
        }
    }

    /// Starts a node, again if it has been stopped.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start_node(&mut self, role: Role) -> anyhow::Result<()> {
        let mut command = match &self.namespaces {
            None => Command::new(hushwire()?),
            Some([entry, exit]) => Namespace::command_in(if role == Role::Entry { entry } else { exit }, hushwire()?)?,
        };
        let config = self.folder.join(&format!("{}.toml", role.name()));
        command.arg(role.name()).arg("--config").arg(config);
        let log = self.folder.join(&format!("{}.log", role.name()));
        let running = Running::start(role.name(), &mut command, &log)?;
        match role {
            Role::Entry => self.entry = Some(running),
            Role::Exit => self.exit = Some(running),
        }
        Ok(())
    }

    /// Takes a node's supervisor out, to be stopped or killed.
    pub fn take_node(&mut self, role: Role) -> Option<Running> {
        match role {
            Role::Entry => self.entry.take(),
            Role::Exit => self.exit.take(),
        }
    }

    /// Waits until both nodes say that their link is up.
    ///
    /// # Errors
    /// If that does not happen, with the logs of both.
    pub fn wait_until_up(&mut self) -> anyhow::Result<()> {
        let started = Instant::now();
        loop {
            let links = [Role::Exit, Role::Entry].map(|role| self.status(role).map(|status| status.links));
            if links.iter().all(|links| links.as_ref().is_ok_and(|links| are_up(links))) {
                return Ok(());
            }
            for node in [self.exit.as_mut(), self.entry.as_mut()] {
                node.context("the node is not running")?.check()?;
            }
            if started.elapsed() > READY_WITHIN {
                bail!("no link within {READY_WITHIN:?}: {links:?}\n{}", self.logs());
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// The ends of both nodes' logs, for a message.
    pub fn logs(&self) -> String {
        let tail = |node: &Option<Running>| node.as_ref().map(Running::log_tail).unwrap_or_default();
        format!("the exit's log ends with:\n{}the entry's log ends with:\n{}", tail(&self.exit), tail(&self.entry))
    }

    /// Makes a node's keys and returns the line that the other node needs.
    fn make_keys(&self, role: Role, address: Option<SocketAddr>) -> anyhow::Result<String> {
        let file = self.folder.join(&format!("{}.keys", role.name()));
        process::run(Command::new(hushwire()?).args(["keys", "new"]).arg(&file), COMMAND_WITHIN)?;
        let mut show = Command::new(hushwire()?);
        show.args(["keys", "show"]).arg(&file);
        if let Some(address) = address {
            show.arg("--address").arg(address.to_string());
        }
        let shown = process::run(&mut show, COMMAND_WITHIN)?;
        let shown = String::from_utf8(shown.stdout).context("the line of the keys is no text")?;
        let line = shown.lines().find(|line| line.starts_with("hushwire:"));
        Ok(line.context("`hushwire keys show` prints no line")?.to_owned())
    }

    fn make_ledger(&self) -> anyhow::Result<()> {
        let config = self.folder.join("entry.toml");
        process::run(Command::new(hushwire()?).args(["ledger", "new", "-c"]).arg(config), COMMAND_WITHIN)?;
        Ok(())
    }

    fn entry_config(&self, config: &PairConfig, bind: SocketAddr, peer: &str) -> String {
        let rates = match &config.mode {
            Mode::Constant { up, down, .. } | Mode::Paced { up, down, .. } => {
                format!("up = \"{up}\"\ndown = \"{down}\"\n")
            }
            Mode::Off { .. } => String::new(),
        };
        let mut text = format!("role = \"entry\"\nkey_file = \"entry.keys\"\npeer = \"{peer}\"\n");
        text += &format!("session_timeout_s = {}\n", config.session_timeout_s);
        text += &table(config, Role::Entry, "network", &format!("bind = \"{bind}\"\n"));
        text += &table(config, Role::Entry, "shaping", &format!("{}{rates}", shaping(&config.mode)));
        text += &more_tables(config, Role::Entry);
        text += &format!("\n[[listen]]\nkind = \"proxy\"\naddress = \"{}\"\n", self.proxy);
        for (address, to) in self.forwards.iter().zip(&config.forwards) {
            text += &format!("\n[[listen]]\nkind = \"forward\"\naddress = \"{address}\"\nto = \"{to}\"\n");
        }
        for (index, to) in config.unix_forwards.iter().enumerate() {
            text += &format!("\n[[listen]]\nkind = \"forward\"\nunix = \"forward-{index}.sock\"\nto = \"{to}\"\n");
        }
        text
    }
}

/// The addresses of the proxy and of the forwards.
fn listeners(config: &PairConfig) -> anyhow::Result<(SocketAddr, Vec<SocketAddr>)> {
    let forwards = config.forwards.iter().map(|_| free_tcp_address()).collect::<Result<_, _>>()?;
    Ok((free_tcp_address()?, forwards))
}

fn exit_config(config: &PairConfig, addresses: Addresses, peer: &str) -> String {
    let Addresses { exit: bind, dialled: public, .. } = addresses;
    let max_rate = match &config.mode {
        Mode::Constant { .. } => "max_rate = \"200 Mbit/s\"\n".to_owned(),
        Mode::Paced { down, .. } => format!("max_rate = \"{down}\"\n"),
        Mode::Off { .. } => String::new(),
    };
    let rules: Vec<String> = config.policy.iter().map(|rule| format!("\"{rule}\"")).collect();
    let mut text = format!("role = \"exit\"\nkey_file = \"exit.keys\"\npeers = [\"{peer}\"]\n");
    text += &format!("session_timeout_s = {}\n", config.session_timeout_s);
    text += &table(config, Role::Exit, "network", &format!("bind = \"{bind}\"\npublic_address = \"{public}\"\n"));
    text += &table(config, Role::Exit, "shaping", &format!("{}{max_rate}", shaping(&config.mode)));
    text += &format!("\n[exit_policy]\nrules = [{}]\n", rules.join(", "));
    text + &more_tables(config, Role::Exit)
}

fn shaping(mode: &Mode) -> String {
    match mode {
        Mode::Constant { slot_ms, .. } => format!("mode = \"constant\"\nslot_ms = {slot_ms}\n"),
        Mode::Paced { mode, .. } => format!("mode = \"{mode}\"\n"),
        Mode::Off { congestion } => format!("mode = \"off\"\ncongestion = \"{congestion}\"\n"),
    }
}

/// One table with the lines that the test added to it.
fn table(config: &PairConfig, role: Role, name: &str, lines: &str) -> String {
    let more = config.more_of(role).filter(|line| line.table == name);
    let more: String = more.map(|line| format!("{}\n", line.text)).collect();
    format!("\n[{name}]\n{lines}{more}")
}

/// The tables that only a test's lines are in.
fn more_tables(config: &PairConfig, role: Role) -> String {
    let mut names: Vec<&str> = config.more_of(role).map(|line| line.table).collect();
    names.retain(|name| !["network", "shaping"].contains(name));
    names.sort_unstable();
    names.dedup();
    names.into_iter().map(|name| table(config, role, name, "")).collect()
}

fn make_private(file: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600))
}

fn are_up(links: &[Link]) -> bool {
    !links.is_empty() && links.iter().all(|link| link.state == Some(LinkState::Up))
}

/// What the node behind an admin socket says about itself.
///
/// # Errors
/// If it does not answer.
pub fn status_of(socket: &Path) -> anyhow::Result<Status> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(admin::client::status(socket))?)
}

/// The binary under test, built first: the tests of this crate would else use one of another state of the source.
///
/// # Errors
/// If it cannot be built.
pub fn hushwire() -> anyhow::Result<&'static Path> {
    static BINARY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    // What is measured is the program for use, without the features that tests ask for. Otherwise it is the one that
    // `cargo test --workspace` has just built: with other features all that it is made from would be built again.
    let made = || build(&["--bin", "hushwire"], &["--package", "cli"], "hushwire");
    let built = BINARY.get_or_init(|| made().map_err(|error| format!("{error:#}")));
    built.as_deref().map_err(|error| anyhow::anyhow!("no hushwire binary: {error}"))
}
/// The library that `hushwire swap` preloads, built first.
///
/// # Errors
/// If it cannot be built.
pub fn swap_library() -> anyhow::Result<&'static Path> {
    static LIBRARY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let made = || build(&["--package", "socket-swap"], &[], "libhushwire_swap.so");
    let built = LIBRARY.get_or_init(|| made().map_err(|error| format!("{error:#}")));
    built.as_deref().map_err(|error| anyhow::anyhow!("no swap library: {error}"))
}

fn build(what: &[&str], for_use: &[&str], file: &str) -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe()?;
    // The folder of the profile: tests and examples lie one below it.
    let profile = own.ancestors().skip(1).find(|folder| !folder.ends_with("deps")).context("no target folder")?;
    let target = profile.parent().context("no target folder")?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet"]).args(what);
    command.arg("--manifest-path").arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../Cargo.toml"));
    command.arg("--target-dir").arg(target);
    if profile.ends_with("release") {
        command.arg("--release").args(for_use);
    }
    process::run(&mut command, BUILD_WITHIN)?;
    Ok(profile.join(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_tests_stand_in_their_tables() {
        let config = PairConfig::new(Mode::constant("2 Mbit/s"))
            .with_line("queues", "max_flows = 16")
            .with_line("shaping", "spin_us = 0");
        let address = SocketAddr::from(([127, 0, 0, 1], 4433));
        let addresses = Addresses { entry: address, exit: address, dialled: address };
        let text = exit_config(&config, addresses, "hushwire:x");
        assert!(text.contains("\n[queues]\nmax_flows = 16\n"), "{text}");
        assert!(text.contains("slot_ms = 5\nmax_rate = \"200 Mbit/s\"\nspin_us = 0\n"), "{text}");
        assert_eq!(text.matches("[shaping]").count(), 1);
    }
}
