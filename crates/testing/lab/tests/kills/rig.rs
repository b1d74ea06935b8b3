//! A pair under load, and what is asked of it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use adversary::Direction;
use anyhow::{Context, ensure};
use lab::pair::{Pair, PairConfig, Role};
use lab::relay::Relay;
use lab::turns::{Turn, Turns};
use rustix::process::{Pid, Signal, kill_process};

use super::census::{self, Holdings};
use super::traffic::{End, Ended, Flow, HANGS_AFTER, Origin, Requests, Size};

pub(crate) type Outcome = anyhow::Result<()>;

/// No wait without a limit of its own is longer.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// More than a bulk flow carries while a test looks at it.
const BULK: u64 = 1 << 34;
/// Bytes that every bulk flow has carried before something is killed: more than the queues and windows on its way.
const UNDER_WAY: u64 = 400_000;
/// How long the packets of the surviving node are watched after a kill.
const WATCHED: Duration = Duration::from_millis(1_500);

/// One of these tests at a time: each counts processes and descriptors, and times pauses.
pub(crate) fn take_turn() -> Turn {
    static TURNS: Turns = Turns::new(1);
    TURNS.take()
}

/// How many kills, and how much later than stated things may happen.
pub(crate) struct Scale {
    pub(crate) kills: usize,
    pub(crate) slack: Duration,
    /// The share of its packets that a surviving node must send, and its longest pause. A machine that is busy with
    /// other work makes it miss slots, but never stop.
    packets_least: f64,
    gap_most: Duration,
}

impl Scale {
    pub(crate) fn from_environment(usual: usize) -> Self {
        match std::env::var("HUSHWIRE_KILLS").ok().and_then(|kills| kills.parse().ok()) {
            Some(kills) => {
                Self { kills, slack: Duration::ZERO, packets_least: 0.9, gap_most: Duration::from_millis(250) }
            }
            None => Self {
                kills: usual,
                slack: Duration::from_secs(8),
                packets_least: 0.05,
                gap_most: Duration::from_secs(1),
            },
        }
    }

    /// From a kill, or the network's return, until a flow has been served.
    pub(crate) fn back_within(&self) -> Duration {
        Duration::from_secs(2) + self.slack
    }
}

#[expect(clippy::print_stderr, reason = "figures, shown with --nocapture")]
pub(crate) fn say(line: &str) {
    eprintln!("{line}");
}

pub(crate) fn wait_until(what: &str, holds: impl FnMut() -> bool) -> Outcome {
    wait_within(what, PATIENCE, holds)
}

fn wait_within(what: &str, longest: Duration, mut holds: impl FnMut() -> bool) -> Outcome {
    let deadline = Instant::now() + longest;
    while !holds() {
        ensure!(Instant::now() < deadline, "not within {longest:?}: {what}");
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(())
}

/// What each process holds, by name.
type Census = BTreeMap<String, Option<Holdings>>;

/// The pair, its origin and its small requests.
pub(crate) struct Rig {
    pair: Pair,
    origin: Origin,
    requests: Requests,
    /// Every process that was ever seen.
    seen: Vec<u32>,
}

impl Rig {
    pub(crate) fn start(config: PairConfig) -> anyhow::Result<Self> {
        let pair = Pair::start(config)?;
        let origin = Origin::start()?;
        let requests = Requests::start(3, pair.proxy(), origin.address());
        let mut rig = Self { pair, origin, requests, seen: Vec::new() };
        rig.first_request_after(Instant::now(), PATIENCE)?;
        rig.pids()?;
        Ok(rig)
    }

    pub(crate) fn flow(&self, size: Size) -> Flow {
        Flow::start(self.pair.proxy(), self.origin.address(), size)
    }

    pub(crate) fn cut(&self, is_cut: bool) {
        if let Some(relay) = self.pair.relay() {
            relay.set_cut(is_cut);
        }
    }

    /// Downloads, uploads and a silent flow, all under way, that do not end by themselves.
    pub(crate) fn bulk_flows(&self) -> anyhow::Result<Vec<Flow>> {
        let down = || self.flow(Size { up: 10, down: BULK });
        let up = || self.flow(Size { up: BULK, down: 10 });
        let flows = vec![down(), down(), up()];
        wait_until("bulk flows move bytes", || flows.iter().all(|flow| flow.moved() > UNDER_WAY))?;
        let idle = Flow::start_idle(self.pair.proxy(), self.origin.address());
        wait_until("the silent flow is open", || self.origin.open().contains(&idle.number))?;
        Ok(flows.into_iter().chain([idle]).collect())
    }

    /// Kills a process while flows are under way, and looks at everything that is to happen then. Returns how long it
    /// took until the first flow that began after the kill was complete.
    pub(crate) fn kill_under_load(&mut self, role: Role, name: &str, scale: &Scale) -> anyhow::Result<Duration> {
        let flows = self.bulk_flows()?;
        let before = self.pids()?;
        let rate = self.packets_per_second(role)?;
        let victim = *before.get(name).with_context(|| format!("no process is called {name}"))?;
        self.requests.take_ended();
        if let Some(relay) = self.pair.relay() {
            relay.take_recording();
        }
        let at_relay = Relay::now();
        kill(victim)?;
        let killed = Instant::now();
        let back = self.first_request_after(killed, PATIENCE)?;
        self.expect_ends(flows, killed, scale.back_within() + Duration::from_secs(1))?;
        let restarted = |pids: &BTreeMap<String, u32>| pids.get(name).is_some_and(|pid| *pid != victim);
        wait_until("the state names the new process", || self.pids().is_ok_and(|pids| restarted(&pids)))?;
        let others = |pids: BTreeMap<String, u32>| pids.into_iter().filter(|(other, _)| other != name);
        ensure!(others(self.pids()?).eq(others(before)), "another process than {name} was replaced");
        ensure!(!census::is_alive(victim), "the killed process lives");
        self.expect_packets(rate, name, at_relay, scale)?;
        say(&format!("{name}: back after {back:.2?}"));
        ensure!(back <= scale.back_within(), "{name} was back only after {back:?}");
        Ok(back)
    }

    /// Waits for the first request that began after `since` and was served in full.
    pub(crate) fn first_request_after(&self, since: Instant, within: Duration) -> anyhow::Result<Duration> {
        let mut first = None;
        wait_within("a request is served", within, || {
            let ended = self.requests.ended();
            let served = |ended: &&Ended| ended.began > since && ended.end == End::Complete;
            first = ended.iter().find(served).map(|ended| ended.at - since);
            first.is_some()
        })?;
        self.expect_no_wrong_byte(&self.requests.ended())?;
        first.context("it was found")
    }

    /// Every one of these flows ends on both sides, with an error, in time.
    pub(crate) fn expect_ends(&self, flows: Vec<Flow>, since: Instant, within: Duration) -> Outcome {
        let numbers: Vec<u64> = flows.iter().map(|flow| flow.number).collect();
        let slowest = within.min(HANGS_AFTER);
        wait_until("the flows end at the clients", || flows.iter().all(Flow::has_ended))?;
        wait_until("the flows end at the origin", || {
            let open = self.origin.open();
            numbers.iter().all(|number| !open.contains(number))
        })?;
        let at_clients = flows.into_iter().map(Flow::join).collect::<Result<Vec<_>, _>>()?;
        let at_origin = self.origin.take_ended();
        self.expect_no_wrong_byte(&at_origin)?;
        let at_origin = at_origin.into_iter().filter(|ended| numbers.contains(&ended.number));
        for (side, ended) in at_clients.into_iter().map(|it| ("client", it)).chain(at_origin.map(|it| ("origin", it))) {
            let after = ended.at - since;
            say(&format!("  {side} {}: {:?} after {after:.0?}", ended.number, ended.end));
            ensure!(after <= slowest, "{side}: a flow ended only after {after:?}: {ended:?}");
            ensure!(matches!(ended.end, End::Broken(_)), "{side}: not a clear error: {ended:?}");
        }
        Ok(())
    }

    fn expect_no_wrong_byte(&self, ended: &[Ended]) -> Outcome {
        let bad = ended.iter().find(|ended| matches!(ended.end, End::Wrong(_) | End::Silent));
        ensure!(bad.is_none(), "{bad:?}");
        Ok(())
    }

    /// Everything that reached the origin ended there in full.
    pub(crate) fn expect_origin_complete(&self) -> Outcome {
        self.requests.set_paused(true);
        wait_until("the origin is through", || self.origin.open().is_empty())?;
        let ended = self.origin.take_ended();
        let bad = ended.iter().find(|ended| ended.end != End::Complete);
        ensure!(bad.is_none(), "at the origin: {bad:?}");
        self.requests.set_paused(false);
        Ok(())
    }

    /// The public rate, as the node says it while its link is up: a process that has just come back knows none.
    fn packets_per_second(&self, role: Role) -> anyhow::Result<Option<u64>> {
        let mut rate = None;
        wait_until("the node says its rate", || {
            rate = self.pair.status(role).ok().and_then(|status| status.schedule.send);
            rate.is_some() || self.pair.relay().is_none()
        })?;
        Ok(rate.map(|rate| rate.packets_per_second))
    }

    /// The nodes that did not lose their shaped process went on sending, and all packets have one size.
    fn expect_packets(&self, rate: Option<u64>, name: &str, since: Duration, scale: &Scale) -> Outcome {
        let Some(relay) = self.pair.relay() else { return Ok(()) };
        while Relay::now() < since + WATCHED {
            std::thread::sleep(LOOK_EVERY);
        }
        let rate = rate.context("there is a schedule")?;
        let recording = relay.recording();
        let lengths = recording.sightings().iter().map(|it| it.length).collect::<std::collections::BTreeSet<_>>();
        ensure!(lengths.len() == 1, "packets of several sizes: {lengths:?}");
        let directions = [(Direction::Outward, "shaped-client"), (Direction::Inward, "shaped-server")];
        for (direction, _) in directions.into_iter().filter(|(_, sender)| *sender != name) {
            let packets = recording.between(direction, since, since + WATCHED);
            let share = packets.len() as f64 / (rate as f64 * WATCHED.as_secs_f64());
            let gap = packets.windows(2).map(|two| two[1].at.saturating_sub(two[0].at)).max().unwrap_or(WATCHED);
            say(&format!("  {direction:?}: {:.1} % of the packets, longest gap {gap:.0?}", 100.0 * share));
            ensure!(share >= scale.packets_least && share < 1.1, "{direction:?}: {share:.3} of the packets");
            ensure!(gap <= scale.gap_most, "{direction:?}: no packet for {gap:?}");
        }
        Ok(())
    }

    fn pids(&mut self) -> anyhow::Result<BTreeMap<String, u32>> {
        let mut all = BTreeMap::new();
        for role in [Role::Entry, Role::Exit] {
            for (name, pid) in self.pair.pids(role)? {
                let name = if name == "supervisor" { format!("{} supervisor", role.name()) } else { name };
                all.insert(name, pid);
                if !self.seen.contains(&pid) {
                    self.seen.push(pid);
                }
            }
        }
        Ok(all)
    }

    /// What every process holds when no flow is open.
    pub(crate) fn take_census(&mut self) -> anyhow::Result<Census> {
        self.requests.set_paused(true);
        wait_until("no flow is open", || self.origin.open().is_empty())?;
        // Two looks in a row that say the same: connections have been closed behind their last byte.
        let mut last = self.census()?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            std::thread::sleep(Duration::from_millis(300));
            let census = self.census()?;
            if census == last {
                self.requests.set_paused(false);
                return Ok(census);
            }
            last = census;
            ensure!(Instant::now() < deadline, "the processes do not come to rest: {last:?}");
        }
    }

    /// The same as before, and no process too many.
    pub(crate) fn expect_census(&mut self, before: &Census, when: &str) -> Outcome {
        self.requests.set_paused(true);
        let mut now = Census::new();
        let waited = wait_within("no more is held than before", Duration::from_secs(15), || {
            now = self.census().unwrap_or_default();
            now == *before
        });
        waited.with_context(|| format!("{when}: {before:?} became {now:?}"))?;
        for role in [Role::Entry, Role::Exit] {
            let supervisor = self.pair.node(role).map(|node| node.pid()).context("the node runs")?;
            let children = census::children(supervisor);
            ensure!(children.len() == 2, "{when}: children of the {}: {children:?}", role.name());
        }
        self.requests.set_paused(false);
        Ok(())
    }

    fn census(&mut self) -> anyhow::Result<Census> {
        Ok(self.pids()?.into_iter().map(|(name, pid)| (name, census::holdings(pid))).collect())
    }

    /// Kills a supervisor alone; its processes must end by themselves.
    pub(crate) fn kill_supervisor(&mut self, role: Role) -> anyhow::Result<Instant> {
        let node = self.pair.take_node(role).context("the node runs")?;
        let children = census::children(node.pid());
        ensure!(children.len() == 2, "a node has two processes: {children:?}");
        kill(node.pid())?;
        let killed = Instant::now();
        wait_within("processes end with their supervisor", PATIENCE, || {
            children.keys().all(|pid| !census::is_alive(*pid))
        })?;
        say(&format!("{}: its processes had ended {:.0?} after their supervisor", role.name(), killed.elapsed()));
        Ok(killed)
    }

    pub(crate) fn start_again(&mut self, role: Role) -> Outcome {
        self.pair.start_node(role)?;
        self.pair.wait_until_up()?;
        self.pids().map(drop)
    }

    /// Ends the pair in order; no process of it is left, and nobody ever got a wrong byte.
    pub(crate) fn end(self) -> Outcome {
        let Self { mut pair, origin, requests, seen } = self;
        drop(requests);
        for role in [Role::Entry, Role::Exit] {
            let status = pair.take_node(role).context("the node runs")?.stop()?;
            ensure!(status.success(), "the {} ended with {status}", role.name());
        }
        drop(pair);
        let left: Vec<u32> = seen.into_iter().filter(|pid| census::is_alive(*pid)).collect();
        ensure!(left.is_empty(), "processes are left: {left:?}");
        let ended = origin.take_ended();
        let wrong = ended.iter().find(|ended| matches!(ended.end, End::Wrong(_)));
        ensure!(wrong.is_none(), "{wrong:?}");
        Ok(())
    }
}

fn kill(pid: u32) -> Outcome {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).context("no process id")?;
    Ok(kill_process(pid, Signal::KILL)?)
}
