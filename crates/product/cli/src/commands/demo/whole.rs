//! `hushwire demo`: a whole network on this machine, made by the commands that make a real one, every node a process of its own.

mod live;
mod nodes;
mod sight;

use crate::args::{DemoArgs, ModeArg};
use crate::commands::demo::fetch;
use crate::commands::demo::place::Place;
use crate::commands::status::runtime;
use crate::failure::{Code, Failure, Outcome};
use crate::local::origin::{OBJECT_LEN, OBJECT_PATH, Origin, PAGE};
use crate::local::pair::free_tcp_port;
use crate::local::stop::StopSignals;
use crate::terminal;
use live::Live;
use local_network::{Addresses, Kind, Recipe, Runner, directory_socket};
use nodes::{Nodes, RESTART_AFTER, STOP_TIMEOUT};
use sight::{Eyes, Sight};
use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Nodes of each kind.
const MEMBERS: u8 = 3;
const RELAYS: u8 = 6;
const EXITS: u8 = 1;
/// What each relay forwards at most.
const RELAY_RATE: &str = "50 Mbit/s";
/// Legs of the entry's tunnel, as `hushwire join` has them.
const LEGS: usize = 2;
/// The directory's interval: the shortest one, so that whatever changes is seen at once.
const INTERVAL: &str = "1s";
/// Onion keys for ten minutes; an edition is good for two, so that a machine may stand still for a while.
const KEY_INTERVALS: u16 = 600;
const VALID_INTERVALS: u16 = 120;
/// How long the entry may take until its tunnel is up.
const TUNNEL_WITHIN: Duration = Duration::from_secs(60);
/// How often nodes that were killed are looked for.
const LOOK: Duration = Duration::from_millis(100);
/// The name of this program in the demo's folder.
const PROGRAM: &str = "hushwire";

pub(super) fn run(args: &DemoArgs, rate: &str) -> Outcome {
    let runtime = runtime()?;
    let outcome = runtime.block_on(demo(args, rate));
    // A question to a node may still wait for its answer.
    runtime.shutdown_background();
    outcome
}

async fn demo(args: &DemoArgs, rate: &str) -> Outcome {
    let mut signals = StopSignals::new()?;
    let proxy = SocketAddr::from((Ipv4Addr::LOCALHOST, free_tcp_port(args.port)?));
    let place = Place::make(args.keep.as_deref())?;
    link_program(place.path())?;
    let origin = Origin::bind().await;
    let origin =
        origin.map_err(|error| Failure::new(Code::System, format!("no port of 127.0.0.1 can be opened: {error}")))?;
    let server = origin.address();
    let serving = tokio::spawn(origin.serve());
    terminal::say(&format!(
        "Making a network on this machine: {MEMBERS} members of a directory, {RELAYS} relays, an exit, an entry and a service ...\n"
    ));
    let is_ending = Arc::new(AtomicBool::new(false));
    let nodes = Nodes::new(place.path(), Arc::clone(&is_ending));
    let recipe = recipe((args.mode == ModeArg::Constant).then_some(rate), server);
    let service_proxy = SocketAddr::from((Ipv4Addr::LOCALHOST, free_tcp_port(0)?));
    let mut making = tokio::task::spawn_blocking(move || make(nodes, &recipe, [proxy, service_proxy], server));
    let made = tokio::select! {
        made = &mut making => made,
        () = signals.wait() => {
            is_ending.store(true, Ordering::Relaxed);
            making.await
        }
    };
    let (mut nodes, made) = made.map_err(|_| fetch::defect())?;
    let outcome = match made {
        _ if is_ending.load(Ordering::Relaxed) => Ok(()),
        Err(failure) => Err(failure),
        Ok(service) => {
            let demo = Demo { folder: place.path(), eyes: Eyes::open(place.path(), &nodes), proxy, server, service };
            tokio::select! {
                shown = demo.show(&mut nodes, args) => shown,
                () = signals.wait() => Ok(()),
            }
        }
    };
    terminal::say("\nEnding all nodes ...\n");
    let files = by_hand(&nodes);
    nodes.stop().await;
    serving.abort();
    outcome?;
    terminal::say(&match args.keep {
        Some(_) => format!("Everything is left in {}. {files}", place.path().display()),
        None => "Nothing is left behind: no process, no file, no port.\n".to_owned(),
    });
    Ok(())
}

/// Follows the recipe. The nodes come back in any case, so that they are ended gently.
/// With them the address of the service.
fn make(
    mut nodes: Nodes,
    recipe: &Recipe,
    [entry_proxy, service_proxy]: [SocketAddr; 2],
    server: SocketAddr,
) -> (Nodes, Result<String, Failure>) {
    let outcome = recipe.bring_up(&mut nodes).and_then(|()| {
        let entry = recipe.entry(&nodes, 0, entry_proxy)?;
        nodes.start(entry, &[])?;
        let (service, address) = recipe.service(&nodes, 0, service_proxy, server)?;
        nodes.start(service, &[])?;
        Ok(address)
    });
    (nodes, outcome)
}

fn recipe(rate: Option<&str>, server: SocketAddr) -> Recipe {
    Recipe {
        members: MEMBERS,
        relays: RELAYS,
        exits: EXITS,
        interval: INTERVAL.to_owned(),
        key_intervals: KEY_INTERVALS,
        valid_intervals: VALID_INTERVALS,
        rate: rate.map(str::to_owned),
        relay_rate: RELAY_RATE.to_owned(),
        servers: vec![server],
        addresses: Addresses::free(std::process::id()),
    }
}

/// Puts this program beside the nodes, so that commands are short, and are of the version that runs.
fn link_program(folder: &Path) -> Outcome {
    let linked = std::env::current_exe().and_then(|program| std::os::unix::fs::symlink(program, folder.join(PROGRAM)));
    linked.map_err(|error| Failure::io(format_args!("cannot write to {}", folder.display()), &error))
}

/// How to go on without the demo.
fn by_hand(nodes: &Nodes) -> String {
    let mut text = String::from("To run the nodes by hand, in this folder, each in a terminal of its own:\n\n");
    for machine in nodes.iter() {
        // Writing to a string does not fail.
        let _ = writeln!(text, "  ./{PROGRAM} node {}", machine.about.file());
    }
    text
}

/// What is shown while it runs.
struct Demo<'a> {
    folder: &'a Path,
    eyes: Eyes,
    proxy: SocketAddr,
    server: SocketAddr,
    /// The address of the service.
    service: String,
}

impl Demo<'_> {
    /// Waits for the tunnel, fetches the page, then shows what all nodes do until the time is over, and starts nodes again that are
    /// gone.
    async fn show(&self, nodes: &mut Nodes, args: &DemoArgs) -> Outcome {
        let sight = self.until_whole(nodes).await?;
        let taken = fetch::page(self.proxy, self.server).await?;
        terminal::say(&self.introduction(nodes, &sight, args.mode));
        terminal::say(&format!(
            "\nFetched the page through the tunnel: {} bytes in {} ms, identical.\n\n",
            PAGE.len(),
            taken.as_millis()
        ));
        let (begun, length) = (Instant::now(), args.seconds.map(Duration::from_secs));
        let mut live = Live::new();
        loop {
            nodes.look()?;
            if live.is_due() {
                let sight = self.eyes.look().await;
                live.show(nodes, &sight);
            }
            if length.is_some_and(|length| begun.elapsed() >= length) {
                live.finish();
                return Ok(());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn until_whole(&self, nodes: &mut Nodes) -> Result<Sight, Failure> {
        nodes.tell("waiting until the entry has its tunnel");
        let begun = Instant::now();
        loop {
            nodes.look()?;
            let sight = self.eyes.look().await;
            if live::is_whole(&sight, LEGS) {
                nodes.tell("everything is there");
                return Ok(sight);
            }
            if begun.elapsed() >= TUNNEL_WITHIN {
                let sentence = format!("no tunnel is built within {} s", TUNNEL_WITHIN.as_secs());
                return Err(Failure::new(Code::Software, sentence).detail(nodes.last_words()));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn introduction(&self, nodes: &Nodes, sight: &Sight, mode: ModeArg) -> String {
        let Self { folder, proxy, server, service, .. } = self;
        let mut text = format!(
            "\n  your program -> entry -> guard -> middle -> exit -> a small web server\n\
             \x20 two circuits at once; three members of a directory agree on who the relays are\n\n\
             proxy   socks5h://{proxy} (HTTP CONNECT works too)\n\
             page    http://{server}/\n\
             object  http://{server}{OBJECT_PATH} ({} MB)\n\n\
             Try it in another terminal:\n\n\
             \x20 cd {}\n\
             \x20 curl --proxy socks5h://{proxy} http://{server}/\n\
             \x20 curl --proxy socks5h://{proxy} http://{service}/\n\
             \x20                       the same server as a service: nobody learns where it is\n\
             \x20 ./{PROGRAM} status -c e0/node.toml\n\
             \x20 ./{PROGRAM} circuit list -c e0/node.toml#entry\n",
            OBJECT_LEN / 1_000_000,
            folder.display(),
        );
        self.write_deaths(&mut text, nodes, sight);
        let _ = write!(
            text,
            "\nWho is gone comes back after {} s. Ctrl-C ends everything within {} s.\n{}\n",
            RESTART_AFTER.as_secs(),
            STOP_TIMEOUT.as_secs(),
            match mode {
                ModeArg::Constant => "Mode constant: the entry's line carries the same packets whatever you do.",
                ModeArg::Off => "Mode off: packets have one size, but they come and go with your traffic.",
            }
        );
        text
    }

    /// Whom to ask about the directory, and whom to kill.
    fn write_deaths(&self, text: &mut String, nodes: &Nodes, sight: &Sight) {
        let leader = live::leader(sight);
        let members = || nodes.iter().filter(|machine| machine.about.kind == Kind::Member);
        let mut line = |command: String, why: &str| {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{}", format!("  {command:<39} {why}").trim_end());
        };
        if let Some(other) = members().find(|machine| Some(machine.about.name.as_str()) != leader) {
            let socket = directory_socket(&other.about.name);
            line(format!("./{PROGRAM} directory status --socket {socket}"), "");
        }
        let tunnel = live::tunnel(sight);
        let place = |id: &Option<String>| id.as_ref().and_then(|id| tunnel.as_ref()?.place(id));
        let relays = || nodes.iter().filter(|machine| machine.about.kind == Kind::Relay);
        let used = relays().find(|machine| place(&machine.about.id).is_some());
        if let Some((machine, pid)) = used.and_then(|machine| Some((machine, machine.pid()?))) {
            line(
                format!("kill -9 {pid}"),
                &format!("a relay of the tunnel, {}: the other leg goes on", machine.about.name),
            );
        }
        let leads = members().find(|machine| Some(machine.about.name.as_str()) == leader);
        if let Some((machine, pid)) = leads.and_then(|machine| Some((machine, machine.pid()?))) {
            line(format!("kill -9 {pid}"), &format!("who leads the directory, {}", machine.about.name));
        }
        if let Some(other) =
            relays().filter(|machine| machine.about.name != used.map_or("", |used| used.about.name.as_str())).last()
        {
            line(format!("./{PROGRAM} drain {}", other.about.file()), "a relay that ends gently");
        }
    }
}
