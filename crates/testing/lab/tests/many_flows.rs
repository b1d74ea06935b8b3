//! Many flows at once through one pair: all complete, none waits for long, and nobody stands in another's way.
//!
//! `cargo xtask long clients` sets `HUSHWIRE_FLOWS=1000`; without it there are 200.

#[path = "many_flows/flows.rs"]
mod flows;

use std::future::Future;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use lab::load::quantile;
use lab::pair::{Mode, Pair, PairConfig};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use tokio::time::timeout;

use self::flows::{Flow, Origin, Size};

type Outcome = anyhow::Result<()>;

const HUNDRED_KB: u64 = 100_000;
/// No step takes longer, on the busiest machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long the tests look before they say that a flow waits.
const LOOK: Duration = Duration::from_millis(500);
/// How long the entry lets a flow wait for a queue pair before it refuses it.
const FLOW_WAIT: Duration = Duration::from_secs(10);
const CLIENT: Ipv4Addr = Ipv4Addr::LOCALHOST;
const OTHER_CLIENT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const SLOW_READERS: usize = 300;
/// Bytes that each slow reader asks for and does not read: more than all buffers on the way hold.
const UNREAD: u64 = 64 << 20;

/// So long next to nothing passes when the slow readers' flows stand still; the nodes count once a second.
const STANDS_STILL: Duration = Duration::from_millis(2_500);
const CELLS_OF_NOTHING: u64 = 300;
/// A request that takes so long waits for the slow readers.
const HELD_UP: Duration = Duration::from_secs(2);

fn asked_count() -> Option<usize> {
    std::env::var("HUSHWIRE_FLOWS").ok().and_then(|count| count.parse().ok())
}

fn is_long() -> bool {
    asked_count().is_some()
}

/// Each flow is two descriptors here, one at the client and one at the origin.
fn raise_descriptor_limit() -> Outcome {
    let limit = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?)
}

/// A machine that does something else at the same time may hold one flow up for so long.
fn grace() -> Duration {
    if is_long() { Duration::ZERO } else { Duration::from_millis(500) }
}

fn run(test: impl Future<Output = Outcome>) -> Outcome {
    raise_descriptor_limit()?;
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(test)
}

#[expect(clippy::print_stderr, reason = "figures, shown with --nocapture")]
fn say(line: &str) {
    eprintln!("{line}");
}

#[test]
fn all_flows_complete_and_none_waits_thrice_the_median_without_a_schedule() -> Outcome {
    let _turn = crate::take_turn();
    all_at_once(Mode::Off { congestion: "bbr" })
}

#[test]
fn all_flows_complete_and_none_waits_thrice_the_median_at_a_constant_rate() -> Outcome {
    let _turn = crate::take_turn();
    all_at_once(Mode::constant("100 Mbit/s"))
}

fn all_at_once(mode: Mode) -> Outcome {
    let pair = Pair::start(PairConfig::new(mode.clone()))?;
    let origin = Origin::start()?;
    for size in [Size { up: 10, down: HUNDRED_KB }, Size { up: HUNDRED_KB, down: 10 }] {
        run(burst(&pair, &origin, size, &format!("{mode:?}, {size:?}")))?;
    }
    Ok(())
}

/// Opens all flows, and when all are open, lets all carry their bytes at once.
async fn burst(pair: &Pair, origin: &Origin, size: Size, name: &str) -> Outcome {
    let count = asked_count().unwrap_or(200);
    let (proxy, to) = (pair.proxy(), origin.address);
    let all_open = Arc::new(Barrier::new(count));
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..count {
        let all_open = Arc::clone(&all_open);
        tasks.spawn(async move {
            let opened = Flow::open(CLIENT, None, proxy, to).await?;
            let flow = opened.map_err(|answer| anyhow::anyhow!("refused: {answer}"))?;
            let open_after = began.elapsed();
            all_open.wait().await;
            let all_open_at = Instant::now();
            flow.carry(size).await?;
            anyhow::Ok((open_after, all_open_at.elapsed()))
        });
    }
    let (mut opens, mut carries) = (Vec::new(), Vec::new());
    let finish = async {
        while let Some(ended) = tasks.join_next().await {
            let (open, carry) = ended??;
            opens.push(open);
            carries.push(carry);
        }
        anyhow::Ok(())
    };
    // A flow that is refused leaves the others at the barrier; its error is the test's.
    timeout(PATIENCE, finish).await.context("not all flows came to their end")??;
    say(&format!("{name}: {count} flows"));
    for (what, times) in [("open", &opens), ("carried", &carries)] {
        let at = |share| quantile(times, share).context("there are flows");
        let (least, median, most) = (at(0.0)?, at(0.5)?, at(1.0)?);
        say(&format!("  {what}: first {least:.2?}, median {median:.2?}, last {most:.2?}"));
        ensure!(most <= 3 * median + grace(), "{name}: {what}: the last after {most:?}, the median after {median:?}");
    }
    Ok(())
}

#[test]
fn a_flow_too_many_waits_or_is_refused_and_the_others_go_on() -> Outcome {
    let _turn = crate::take_turn();
    for mode in [Mode::constant("20 Mbit/s"), Mode::Off { congestion: "bbr" }] {
        let pair = Pair::start(PairConfig::new(mode).with_line("queues", "max_flows = 16"))?;
        let origin = Origin::start()?;
        run(too_many(&pair, &origin))?;
    }
    Ok(())
}

async fn too_many(pair: &Pair, origin: &Origin) -> Outcome {
    let (proxy, to) = (pair.proxy(), origin.address);
    let open = move |from| timeout(FLOW_WAIT + PATIENCE, Flow::open(from, None, proxy, to));
    let mut held = Vec::new();
    for _ in 0..16 {
        held.push(open(CLIENT).await??.map_err(|answer| anyhow::anyhow!("refused: {answer}"))?);
    }
    let seventeenth = tokio::spawn(open(CLIENT));
    tokio::time::sleep(LOOK).await;
    let newcomer = tokio::spawn(open(OTHER_CLIENT));
    tokio::time::sleep(LOOK).await;
    ensure!(!seventeenth.is_finished() && !newcomer.is_finished(), "there are more flows than queue pairs");

    // The first to get a queue pair is not the first who asked but the client that has none.
    let (size, small) = (Size { up: 10, down: HUNDRED_KB }, Size { up: 10, down: 1_000 });
    let one = held.pop().context("16 are open")?;
    timeout(PATIENCE, one.carry(size)).await??;
    let newcomer = timeout(PATIENCE, newcomer).await????.map_err(|answer| anyhow::anyhow!("refused: {answer}"))?;
    ensure!(!seventeenth.is_finished(), "one queue pair was given out twice");

    // The others go on while somebody waits, then waits in vain.
    let mut busy = JoinSet::new();
    let mut idle = Vec::new();
    for (index, flow) in held.into_iter().enumerate() {
        if index % 2 == 0 { drop(busy.spawn(flow.carry(small))) } else { idle.push(flow) }
    }
    while let Some(carried) = timeout(PATIENCE, busy.join_next()).await? {
        carried??;
    }
    // With queue pairs free again it is served at last, unless its time was over before.
    match timeout(PATIENCE, seventeenth).await???? {
        Ok(flow) => timeout(PATIENCE, flow.carry(small)).await??,
        Err(answer) => ensure!(answer.starts_with("HTTP/1.1 503 "), "not a clear answer: {answer}"),
    }
    timeout(PATIENCE, newcomer.carry(size)).await??;
    refused_in_time(proxy, to, idle).await
}

/// Takes every queue pair that is left, then asks for one more and waits for the answer.
async fn refused_in_time(proxy: std::net::SocketAddr, to: std::net::SocketAddr, mut held: Vec<Flow>) -> Outcome {
    while let Ok(opened) = timeout(2 * LOOK, Flow::open(CLIENT, None, proxy, to)).await {
        held.push(opened?.map_err(|answer| anyhow::anyhow!("refused too early: {answer}"))?);
        ensure!(held.len() <= 16, "there are more flows than queue pairs");
    }
    ensure!(held.len() == 16, "only {} of 16 queue pairs were to be had", held.len());
    let asked = Instant::now();
    let answer = timeout(PATIENCE, Flow::open(CLIENT, None, proxy, to)).await??;
    let waited = asked.elapsed();
    let answer = answer.err().context("there is no queue pair for it")?;
    say(&format!("a flow too many was refused after {waited:.1?}: {}", answer.lines().next().unwrap_or_default()));
    ensure!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("limit"), "not a clear answer: {answer}");
    ensure!(waited >= FLOW_WAIT - LOOK, "it was refused after {waited:?} already");
    // Those who have one were not touched.
    for flow in held {
        timeout(PATIENCE, flow.carry(Size { up: 10, down: HUNDRED_KB })).await??;
    }
    Ok(())
}

#[test]
fn three_hundred_slow_readers_stall_nobody_else() -> Outcome {
    let _turn = crate::take_turn();
    // At a constant rate it takes minutes until all buffers on the way of 300 flows are full.
    let constant = is_long().then(|| Mode::constant("100 Mbit/s"));
    for mode in [Mode::Off { congestion: "bbr" }].into_iter().chain(constant) {
        let pair = Pair::start(PairConfig::new(mode.clone()))?;
        let origin = Origin::start()?;
        run(slow_readers(&pair, &origin, &format!("{mode:?}")))?;
    }
    Ok(())
}

async fn slow_readers(pair: &Pair, origin: &Origin, name: &str) -> Outcome {
    let (proxy, to) = (pair.proxy(), origin.address);
    let before = requests(pair, origin).await?;
    let mut readers = Vec::new();
    for _ in 0..SLOW_READERS {
        let opened = timeout(PATIENCE, Flow::open(CLIENT, Some(16 << 10), proxy, to)).await??;
        let mut flow = opened.map_err(|answer| anyhow::anyhow!("refused: {answer}"))?;
        flow.ask(Size { up: 0, down: UNREAD }).await?;
        readers.push(flow);
    }
    let began = Instant::now();
    let mut cells = data_cells(pair).await?;
    loop {
        tokio::time::sleep(STANDS_STILL).await;
        let before = std::mem::replace(&mut cells, data_cells(pair).await?);
        if cells < before + CELLS_OF_NOTHING {
            break;
        }
        ensure!(began.elapsed() < 2 * PATIENCE, "the slow readers' flows never stand still");
    }
    let stood_after = began.elapsed();
    let beside = requests(pair, origin).await?;
    say(&format!(
        "{name}: requests took {before:.1?} (median), beside {SLOW_READERS} slow readers {beside:.1?}; \
         these stood still after {stood_after:.0?}"
    ));
    // Whoever is held up by readers that never read waits for ever. This is no measurement: medians of 2 to 254 ms were seen here.
    ensure!(beside <= HELD_UP, "{name}: {before:?} alone, {beside:?} beside them");
    Ok(())
}

/// Cells with data that the exit has sent.
async fn data_cells(pair: &Pair) -> anyhow::Result<u64> {
    let socket = pair.folder().join("exit.admin");
    admin::client::status(&socket).await?.counters.data_cells_sent.context("the exit counts")
}

/// The median time of requests of 100 KB, one after the other.
async fn requests(pair: &Pair, origin: &Origin) -> anyhow::Result<Duration> {
    let mut times = Vec::new();
    for _ in 0..20 {
        let began = Instant::now();
        let opened = timeout(PATIENCE, Flow::open(CLIENT, None, pair.proxy(), origin.address)).await??;
        let flow = opened.map_err(|answer| anyhow::anyhow!("refused: {answer}"))?;
        timeout(PATIENCE, flow.carry(Size { up: 10, down: HUNDRED_KB })).await??;
        times.push(began.elapsed());
    }
    quantile(&times, 0.5).context("there are times")
}
