//! Modes whose rate follows the load, between real processes: the rate changes at edges only, every release is paid for
//! in the ledger, and flows come through whole.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use admin::status::{Edges, Mode as StatusMode, Privacy, Status};
use adversary::{Direction, Sighting};
use anyhow::{Context, ensure};
use lab::attempts::within_three;
use lab::load::{self, Service};
use lab::pair::{self, Mode, Pair, PairConfig, Role};
use lab::process;
use lab::recording::Limits;
use lab::relay::{Relay, RelayConfig};

type Outcome = anyhow::Result<()>;

/// How long one program may take.
const WITHIN: Duration = Duration::from_secs(120);
/// Between two edges.
const EPOCH: Duration = Duration::from_secs(5);
/// Bytes of the download.
const BYTES: u64 = 2_000_000;

fn relay() -> RelayConfig {
    RelayConfig::to(SocketAddr::from(([127, 0, 0, 1], 0))).with_limits(Limits::default())
}

fn paced(mode: &'static str) -> PairConfig {
    PairConfig::new(Mode::paced(mode, "20 Mbit/s")).with_relay(relay())
}

/// Waits until the status of a node is as wanted.
fn until(pair: &Pair, role: Role, what: &str, wanted: impl Fn(&Status) -> bool) -> anyhow::Result<Status> {
    let deadline = Instant::now() + WITHIN;
    loop {
        let status = pair.status(role)?;
        if wanted(&status) {
            return Ok(status);
        }
        ensure!(Instant::now() < deadline, "not within {WITHIN:?}: {what}: {:?}", status.privacy);
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn privacy(status: &Status) -> Privacy {
    status.privacy.clone().unwrap_or_default()
}

fn edges(status: &Status) -> Edges {
    privacy(status).edges.unwrap_or_default()
}

/// Packets of each half second between two edges: the rate stands still there.
fn expect_steady(sightings: &[Sighting], from: Duration, to: Duration) -> anyhow::Result<f64> {
    let step = Duration::from_millis(500);
    let mut counts = Vec::new();
    let mut at = from;
    while at + step <= to {
        counts.push(sightings.iter().filter(|it| (at..at + step).contains(&it.at)).count());
        at += step;
    }
    let mean = counts.iter().sum::<usize>() as f64 / counts.len().max(1) as f64;
    // A busy machine misses a slot now and then; a class is 19 % from the next.
    let odd = counts.iter().filter(|count| (**count as f64 - mean).abs() > 3.0 + mean * 0.06).count();
    ensure!(odd <= 1, "the rate changes between edges: {counts:?}");
    Ok(mean)
}

#[test]
fn a_rate_under_differential_privacy_changes_at_edges_and_is_paid_for() -> Outcome {
    let source = load::start(Service::Source { bytes: BYTES })?;
    let pair = Pair::start(paced("dp").with_forward(source))?;
    for role in [Role::Entry, Role::Exit] {
        let status = until(&pair, role, "two releases", |status| edges(status).released >= 2)?;
        assert_eq!(status.mode, Some(StatusMode::Dp));
        assert!(edges(&status).unpaid <= 1, "{:?}", edges(&status));
        assert_eq!(edges(&status).without_noise, 0);
    }
    let mut received = 0;
    let mut flow = std::net::TcpStream::connect(pair.forward(0))?;
    received += lab::load::read_pattern(&mut flow)?;
    assert_eq!(received, BYTES);
    // The exit has just sent that; what waited for its client's quota or its slots is noted there.
    let waited = |status: &Status| status.last_minute.clone().unwrap_or_default();
    let minute = until(&pair, Role::Exit, "bytes have waited", |status| waited(status).wait_mean_us.is_some())?;
    let minute = waited(&minute);
    assert!(minute.wait_mean_us > Some(0) && minute.wait_p95_us >= minute.wait_mean_us, "{minute:?}");
    assert!(minute.useful_share.is_some_and(|share| share > 0.0 && share < 1.0), "{minute:?}");
    let status = until(&pair, Role::Entry, "four releases", |status| edges(status).released >= 4)?;
    let spent = privacy(&status);
    assert_eq!((spent.epsilon_each, spent.delta), (Some(1.0), Some(1e-6)));
    for one in [spent.up, spent.down] {
        let one = one.context("the ledger has an account of each direction")?;
        // A minute ahead is paid for: 13 releases at epsilon 1 are 4.1 together.
        assert!(one.lifetime_epsilon >= Some(4.0) && one.window_epsilon == one.lifetime_epsilon, "{one:?}");
    }
    let together = spent.together.context("both together")?.lifetime_epsilon;
    assert!(together > spent.up.context("up")?.lifetime_epsilon, "directions add up");
    assert_eq!(spent.held, None);

    let recording = pair.relay().context("there is a relay")?.recording();
    let lengths: std::collections::BTreeSet<usize> = recording.sightings().iter().map(|it| it.length).collect();
    assert_eq!(lengths.len(), 1, "packets of several sizes: {lengths:?}");
    // The tests beside this one may hold up a sender for a while; what changes between edges does so in other epochs as well.
    within_three(|| {
        let steady = steady_between_edges(&pair);
        if steady.is_err() {
            std::thread::sleep(2 * EPOCH);
        }
        steady
    })
}

/// The last two whole epochs of both directions.
fn steady_between_edges(pair: &Pair) -> Outcome {
    let recording = pair.relay().context("there is a relay")?.recording();
    // Edges lie at whole multiples of 5 s of UTC.
    let (now, unix) = (Relay::now(), std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?);
    let edge = now.saturating_sub(Duration::from_nanos((unix.as_nanos() % EPOCH.as_nanos()) as u64));
    for direction in [Direction::Outward, Direction::Inward] {
        for epochs_ago in 1..3 {
            let from = edge.saturating_sub(EPOCH * epochs_ago);
            let (from, to) = (from + Duration::from_millis(250), from + Duration::from_millis(4_750));
            let mean = expect_steady(&recording.between(direction, from, to), from, to)?;
            ensure!(mean > 10.0, "{direction}: {mean} packets in half a second");
        }
    }
    Ok(())
}

#[test]
fn other_modes_serve_flows_too() -> Outcome {
    for mode in ["stepped", "queue"] {
        let source = load::start(Service::Source { bytes: BYTES })?;
        let pair = Pair::start(paced(mode).with_forward(source))?;
        let mut flow = std::net::TcpStream::connect(pair.forward(0))?;
        assert_eq!(lab::load::read_pattern(&mut flow)?, BYTES, "{mode}");
        let status = until(&pair, Role::Entry, "something is paid", |status| {
            let up = privacy(status).up.unwrap_or_default();
            up.lifetime_bits > Some(0.0) || up.lifetime_epsilon > Some(0.0)
        })?;
        assert_eq!(status.mode.map(|mode| mode.name()), Some(mode));
    }
    Ok(())
}

#[test]
fn a_missing_or_foreign_ledger_starts_no_node_and_a_kill_forgets_nothing() -> Outcome {
    let mut pair = Pair::start(paced("dp"))?;
    let paid = |status: &Status| privacy(status).up.unwrap_or_default().lifetime_epsilon;
    let reservations = |status: &Status| privacy(status).ledger.map(|mark| (mark.id, mark.reservations));
    let before = until(&pair, Role::Entry, "something is paid", |status| paid(status) > Some(0.0))?;
    let node = pair.take_node(Role::Entry).context("the entry runs")?;
    node.signal(rustix::process::Signal::KILL);
    drop(node);
    // From here on one direction has a limit, which is less than what is paid.
    let config = pair.folder().join("entry.toml");
    let limit = "\n[budget.down]\nlifetime_epsilon = 1.5\n";
    std::fs::write(&config, std::fs::read_to_string(&config)? + limit)?;
    pair.start_node(Role::Entry)?;
    pair.wait_until_up()?;
    let after = until(&pair, Role::Entry, "the ledger is open again", |status| paid(status).is_some())?;
    assert!(paid(&after) >= paid(&before), "{:?} after {:?}", paid(&after), paid(&before));
    let (id, count) = reservations(&before).context("the ledger has an id")?;
    assert!(reservations(&after).is_some_and(|mark| mark.0 == id && mark.1 >= count), "{:?}", reservations(&after));
    let held = until(&pair, Role::Entry, "the limit is reached", |status| privacy(status).held.is_some())?;
    let sentence = privacy(&held).held.unwrap_or_default();
    assert_eq!(
        sentence,
        "down: the limit of the ledger's life on epsilon of the down direction is reached; its rate is constant for good"
    );
    pair.take_node(Role::Entry).context("the entry runs")?.stop()?;

    let ledger: PathBuf = pair.folder().join("entry.ledger");
    std::fs::remove_file(&ledger)?;
    let mut entry = Command::new(pair::hushwire()?);
    entry.args(["entry", "-c"]).arg(pair.folder().join("entry.toml"));
    let output = process::run_to_end(&mut entry, WITHIN)?;
    let said = process::printed(&output);
    assert_eq!(output.status.code(), Some(66), "{said}");
    assert!(said.contains("there is no ledger at") && said.contains("hushwire ledger new"), "{said}");
    assert!(!ledger.exists(), "a start makes no ledger");
    Ok(())
}
