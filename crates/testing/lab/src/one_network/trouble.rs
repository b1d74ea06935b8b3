//! What happens to the network while it carries loads: the directory's leader dies every ten seconds and a relay five seconds later, both
//! come back, one relay moves, one comes, one is put out.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Context;

use super::loads::Loads;
use super::switch::Switch;
use super::{Machine, OneNetwork};

/// From the death of one leader to that of the next one.
pub const EVERY: Duration = Duration::from_secs(10);
/// How long who died stays away.
pub const AWAY: Duration = Duration::from_secs(4);
/// How often a waiting loop looks.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long the directory may be without a leader.
const LEADER_WITHIN: Duration = Duration::from_secs(60);
/// Added to the last byte of a relay's address when it moves.
const MOVED_BY: u8 = 1;

/// What happened.
#[derive(Debug, Clone, Default)]
pub struct Happened {
    /// Leaders killed.
    pub leaders: u32,
    /// Relays killed.
    pub relays: u32,
    /// The longest that nobody led.
    pub without_leader: Duration,
    /// Downloads ended.
    pub downloads: u64,
    dead: Option<usize>,
}

/// Which relays it falls on, by their places in [`OneNetwork::relays`].
#[derive(Debug, Clone)]
pub struct Cast {
    /// Killed and started again, in turns.
    pub mortal: Vec<usize>,
    /// Put out.
    pub expelled: usize,
    /// Moves to another address.
    pub moved: usize,
    /// The number of the one that comes.
    pub added: u8,
}

/// Kills leaders for so many rounds at least, and until so many downloads have ended.
///
/// # Errors
/// When a load fails, a command does, or nobody leads for too long.
pub fn make(
    net: &mut OneNetwork,
    loads: &mut Loads,
    cast: &Cast,
    rounds: u32,
    downloads: u64,
) -> anyhow::Result<Happened> {
    let mut happened = Happened::default();
    while happened.leaders < rounds || loads.downloads() < downloads {
        let begun = Instant::now();
        let leader = wait_for_leader(net)?;
        happened.without_leader = happened.without_leader.max(begun.elapsed());
        net.members[leader].kill()?;
        change(net, cast, happened.leaders)?;
        happened.leaders += 1;
        wait(loads, begun + AWAY)?;
        net.start_member(leader, &[])?;
        wait(loads, begun + EVERY / 2)?;
        next_dies(net, cast, &mut happened)?;
        wait(loads, begun + EVERY)?;
    }
    if let Some(dead) = happened.dead.take() {
        net.start_relay(dead)?;
    }
    happened.downloads = loads.downloads();
    Ok(happened)
}

/// Who comes, goes and moves, while the leader is dead.
fn change(net: &mut OneNetwork, cast: &Cast, round: u32) -> anyhow::Result<()> {
    match round {
        0 => net.add_relay(cast.added),
        1 => {
            let id = net.relays[cast.expelled].id.clone().context("relays have ids")?;
            net.expel(&id)
        }
        2 => net.move_relay(cast.moved).map(drop),
        _ => Ok(()),
    }
}

/// A relay dies, and the one before comes back.
fn next_dies(net: &mut OneNetwork, cast: &Cast, happened: &mut Happened) -> anyhow::Result<()> {
    if let Some(dead) = happened.dead.take() {
        net.start_relay(dead)?;
    }
    let next = cast.mortal[happened.relays as usize % cast.mortal.len()];
    net.relays[next].kill()?;
    (happened.relays, happened.dead) = (happened.relays + 1, Some(next));
    Ok(())
}

fn wait(loads: &mut Loads, until: Instant) -> anyhow::Result<()> {
    while Instant::now() < until {
        loads.check()?;
        std::thread::sleep(LOOK_EVERY.min(until.saturating_duration_since(Instant::now())));
    }
    Ok(())
}

fn wait_for_leader(net: &OneNetwork) -> anyhow::Result<usize> {
    let begun = Instant::now();
    loop {
        match net.leader() {
            // One that is dead may still be believed to lead.
            Ok(leader) if net.members[leader].is_running() => return Ok(leader),
            other if begun.elapsed() > LEADER_WITHIN => anyhow::bail!("nobody leads: {other:?}"),
            _ => std::thread::sleep(LOOK_EVERY),
        }
    }
}

impl OneNetwork {
    /// Ends all nodes at once, as a power cut does: none waits for another one.
    pub fn end(self) {
        let machines = [&self.members, &self.relays, &self.exits, &self.entries, &self.services].into_iter().flatten();
        machines.for_each(Machine::cut);
    }

    /// A relay moves to another address and port: its file says so, and it is started again.
    ///
    /// # Errors
    /// When it did not run, or its file cannot be changed.
    pub fn move_relay(&mut self, number: usize) -> anyhow::Result<SocketAddr> {
        let relay = &mut self.relays[number];
        let (old, mut new) = (relay.address, relay.address);
        if let SocketAddr::V4(new) = &mut new {
            let [a, b, c, d] = new.ip().octets();
            new.set_ip([a, b, c, d + MOVED_BY].into());
            new.set_port(new.port() + 1);
        }
        relay.kill()?;
        relay.address = new;
        if let Some(place) = self.places.get(&relay.name) {
            Switch::add_address(place, new.ip())?;
        }
        self.change(&self.relays[number].name, &[(&old.to_string(), &new.to_string())])?;
        self.start_relay(number)?;
        Ok(new)
    }

    /// An entry sends from an address of its own, so that its lines are told from others', hops as often as it may, and has priority for
    /// its schedule: its file says so, and it is told to read that again.
    ///
    /// # Errors
    /// When a command fails.
    pub fn settle_entry(&mut self, number: u8) -> anyhow::Result<()> {
        let name = self.entries[usize::from(number)].name.clone();
        let bind = format!("[entry.network]\nbind = \"{}:0\"", super::lines::entry_address(number));
        let more = "[entry.hops]\ninterval = \"5s..9s\"\n\n[entry.process]\nrealtime = true\n\n[entry.shaping]";
        self.change(&name, &[("[entry.network]", &bind), ("[entry.shaping]", more)])?;
        self.run(&["reload", &format!("{name}/node.toml")]).map(drop)
    }

    /// All exits have priority for their schedules.
    ///
    /// # Errors
    /// When a command fails.
    pub fn settle_exits(&self) -> anyhow::Result<()> {
        for exit in &self.exits {
            let more = "[exit.process]\nrealtime = true\n\n[exit.shaping]";
            self.change(&exit.name, &[("[exit.shaping]", more)])?;
            self.run(&["reload", &format!("{}/node.toml", exit.name)])?;
        }
        Ok(())
    }

    /// Changes words of a machine's file.
    ///
    /// # Errors
    /// When it does not have them, or cannot be written.
    pub fn change(&self, name: &str, words: &[(&str, &str)]) -> anyhow::Result<()> {
        let path = self.home(name).join("node.toml");
        let mut text = std::fs::read_to_string(&path)?;
        for (old, new) in words {
            anyhow::ensure!(text.contains(old), "{name} has no {old}: {text}");
            text = text.replace(old, new);
        }
        Ok(std::fs::write(&path, text)?)
    }

    /// Whether the document that an entry goes by has this address.
    ///
    /// # Errors
    /// When it has none.
    pub fn sees(&self, entry: usize, address: SocketAddr) -> anyhow::Result<bool> {
        let document = format!("{}/network.document", self.entries[entry].name);
        Ok(self.run(&["network", "show", &document])?.contains(&address.to_string()))
    }
}
