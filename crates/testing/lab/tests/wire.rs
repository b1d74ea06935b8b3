//! Invariants I1 and I2 between real processes, as somebody on the line sees them: one size, random bytes, equal
//! counts per slot and equal send times, whatever applications do, and through kills, restarts and loss.

use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use adversary::{
    Decision, Direction, FALSE_ALARM_PER_TEST, Grid, Lateness, ShiftBounds, Sighting, SlotCounts, Trial,
    judge_randomness, one_size, slot_starts,
};
use lab::bulk::{Bulk, SETTLE, Trickle, alternate};
use lab::load::{self, Service};
use lab::pair::{Mode, Pair, PairConfig, Role};
use lab::process::sleeps;
use lab::recording::{Limits, Recording};
use lab::relay::RelayConfig;
use lab::witness::{Stalls, Witness};
use rustix::process::{Pid, Signal, kill_process};

/// Bytes of every packet.
const P: usize = 1350;
/// Length of a slot.
const SLOT: Duration = Duration::from_millis(5);
/// Packets of a slot at the class that 10 Mbit/s is rounded up to: 1185 a second.
const PER_SLOT: [u32; 2] = [5, 6];
/// Idle and loaded phases alternate, so that a slow change of the machine falls on both.
const PHASE: Duration = Duration::from_millis(1500);
/// Phases of each kind in one round.
const PHASES: usize = 10;
/// Slots that a busy test machine may serve otherwise, of a thousand.
const ODD_SLOTS_PER_MILLE: u64 = 30;

/// Slots due this near to a stall of the machine are left out, whatever happened to them.
const STALL_MARGIN: Duration = Duration::from_millis(1);
/// How far the shares of slots that are left out may be apart, idle and loaded.
const STALL_SHARES_PER_MILLE: u64 = 100;

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn constant_pair(limits: Limits) -> anyhow::Result<Pair> {
    let (source, sink) = (load::start(Service::Source { bytes: u64::MAX })?, load::start(Service::Sink)?);
    let relay = RelayConfig::to(SocketAddr::from(([127, 0, 0, 1], 0))).with_limits(limits);
    // Real-time priority keeps other programs of a busy test machine from deciding when packets leave.
    let config = PairConfig::new(Mode::constant("10 Mbit/s")).with_line("process", "realtime = true");
    Pair::start(config.with_relay(relay).with_forward(source).with_forward(sink))
}

fn recording(pair: &Pair) -> Recording {
    pair.relay().map(lab::relay::Relay::recording).unwrap_or_default()
}

#[test]
fn send_times_and_counts_are_equal_idle_and_loaded() -> Outcome {
    let _turn = crate::take_turn();
    let pair = constant_pair(Limits::default())?;
    let witness = Witness::start()?;
    let mut trials =
        [Direction::Outward, Direction::Inward].map(|way| (way, Trial::new(ShiftBounds::default()), false));
    while trials.iter().any(|(_, _, passed)| !passed) {
        let windows = alternate(PHASES, PHASE, pair.forward(0), pair.forward(1))?;
        let (recording, stalls) = (recording(&pair), witness.stalls());
        for (direction, trial, passed) in &mut trials {
            let seen = windows.each_ref().map(|windows| {
                windows.iter().map(|it| recording.between(*direction, it.from, it.to)).collect::<Vec<_>>()
            });
            let all: Vec<Duration> = seen.iter().flatten().flat_map(|sightings| slot_starts(SLOT, sightings)).collect();
            let grid = Grid::fit(SLOT, &all).ok_or("nothing was recorded")?;
            for sightings in seen.iter().flatten() {
                check_counts(grid, &stalls, *direction, sightings);
            }
            if *passed {
                continue;
            }
            let [(idle, out_idle), (loaded, out_loaded)] =
                seen.each_ref().map(|phases| calm_lateness(grid, &stalls, phases));
            assert!(out_idle.abs_diff(out_loaded) <= STALL_SHARES_PER_MILLE, "{out_idle} {out_loaded} per mille");
            match trial.add_round(&idle, &loaded) {
                Decision::Pass => *passed = true,
                Decision::MeasureAgain => {}
                Decision::Fail => panic!("{direction}: send times depend on the load: {trial}"),
            }
        }
    }
    Ok(())
}

/// How late slots were, without those that were due when the machine may have stood still. That they are left out hides
/// no leak of the sender: witnesses stand above it and share nothing with it. Some of what holds them up is the kernel
/// at work for the load, though, so the share that is left out may differ by [`STALL_SHARES_PER_MILLE`] only.
fn calm_lateness(grid: Grid, stalls: &Stalls, phases: &[Vec<Sighting>]) -> (Lateness, u64) {
    let starts: Vec<Duration> = phases.iter().flat_map(|sightings| slot_starts(SLOT, sightings)).collect();
    let calm = starts.iter().filter(|at| !stalls.are_near(grid.due(**at), STALL_MARGIN));
    let calm = Lateness::new(calm.map(|at| grid.lateness(*at)).collect());
    let left_out = (starts.len() - calm.len()) * 1000 / starts.len().max(1);
    (calm, left_out as u64)
}

/// Almost every slot has its public number of packets, without those that were due when the machine may have stood still:
/// then there are none. A machine with other work to do misses a few more.
fn check_counts(grid: Grid, stalls: &Stalls, direction: Direction, sightings: &[Sighting]) {
    let counts = SlotCounts::new(grid, direction, sightings);
    let times = || sightings.iter().filter(|sighting| sighting.direction == direction).map(|sighting| sighting.at);
    let (Some(first), Some(last)) = (times().next(), times().next_back()) else {
        panic!("{direction}: nothing was recorded")
    };
    let dues = std::iter::successors(Some(grid.due(first) + SLOT), |due| Some(*due + SLOT));
    let dues = dues.take_while(|due| grid.slot(*due) < grid.slot(last));
    let odd = dues.filter(|due| !PER_SLOT.contains(&counts.count(grid.slot(*due))) && !stalls.are_near(*due, SLOT));
    let odd = odd.count() as u64;
    assert!(odd * 1000 <= counts.slots() * ODD_SLOTS_PER_MILLE, "{direction}: {odd} of {:?}", counts.histogram());
}

/// Invariant I10: the process wakes for its slots and for packets from the network, which are the same whether
/// applications have anything to say or not. A doorbell would wake it for every write of the trickle, several times
/// as often as all slots and packets do.
#[test]
fn data_does_not_wake_the_shaped_process() -> Outcome {
    let _turn = crate::take_turn();
    let echo = load::start(Service::Echo)?;
    let pair = Pair::start(PairConfig::new(Mode::constant("2 Mbit/s")).with_forward(echo))?;
    let (entry, exit) = (shaped_pid(&pair, Role::Entry)?, shaped_pid(&pair, Role::Exit)?);
    let mut woken = [[0, 0], [0, 0]];
    for _ in 0..PHASES {
        for loaded in [false, true] {
            let trickle = if loaded { Some(Trickle::over(TcpStream::connect(pair.forward(0))?)?) } else { None };
            std::thread::sleep(SETTLE);
            let before = [sleeps(entry)?, sleeps(exit)?];
            std::thread::sleep(SLOT * 100);
            let after = [sleeps(entry)?, sleeps(exit)?];
            for node in 0..2 {
                woken[node][usize::from(loaded)] += after[node] - before[node];
            }
            drop(trickle);
        }
    }
    for [idle, loaded] in woken {
        assert!(loaded * 2 <= idle * 3, "woken {idle} times idle and {loaded} times with a trickle of bytes");
    }
    Ok(())
}

fn shaped_pid(pair: &Pair, role: Role) -> Result<u32, Box<dyn std::error::Error>> {
    let pids = pair.pids(role)?;
    let found = pids.iter().find(|(name, _)| name.starts_with("shaped"));
    Ok(found.ok_or("the shaped process is not running")?.1)
}

#[test]
fn every_packet_from_the_first_to_the_last_has_one_size_and_looks_random() -> Outcome {
    let _turn = crate::take_turn();
    let limits = Limits { packets: 1_000_000, bytes_each: P, bytes_total: 512 << 20 };
    let mut pair = constant_pair(limits)?;
    std::thread::sleep(Duration::from_millis(500));
    let bulk = Bulk::start(pair.forward(0), pair.forward(1))?;
    std::thread::sleep(Duration::from_secs(1));
    drop(bulk);
    for role in [Role::Entry, Role::Exit] {
        let pid = i32::try_from(shaped_pid(&pair, role)?)?;
        kill_process(Pid::from_raw(pid).ok_or("no pid")?, Signal::KILL)?;
        pair.wait_until_up()?;
        fetch_some(pair.forward(0))?;
    }
    if let Some(relay) = pair.relay() {
        let lossy = simnet::Path::default().with_loss(simnet::Loss::Independent(0.05));
        relay.set_path(Direction::Outward, lossy.clone());
        relay.set_path(Direction::Inward, lossy);
    }
    fetch_some(pair.forward(0))?;
    for role in [Role::Entry, Role::Exit] {
        if let Some(node) = pair.take_node(role) {
            node.stop()?;
        }
    }
    let recording = recording(&pair);
    assert_eq!(recording.left_out(), 0);
    one_size(&recording.sightings(), P)?;
    for direction in [Direction::Outward, Direction::Inward] {
        let payloads = recording.payloads(direction);
        assert!(payloads.len() > 3_000, "{direction}: only {} packets", payloads.len());
        let report = judge_randomness(&payloads)?;
        assert!(report.passes_at(FALSE_ALARM_PER_TEST), "{direction}: {report}");
    }
    Ok(())
}

/// Reads a little through the pair, trying again while it comes back.
fn fetch_some(forward: SocketAddr) -> Outcome {
    let mut buffer = [0; 50_000];
    for _ in 0..50 {
        let mut stream = TcpStream::connect(forward)?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        if stream.read_exact(&mut buffer).is_ok() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Err("nothing comes through the pair".into())
}
