//! `hushwire bench`: a pair on this machine, measured from outside.

mod figures;
mod probe;

use crate::args::{BenchArgs, ModeArg};
use crate::commands::status::runtime;
use crate::failure::{Code, Failure, Outcome};
use crate::local::connect::{self, FetchError};
use crate::local::pair::{Pair, PairPlan};
use crate::local::stop::StopSignals;
use crate::local::usage;
use crate::settings;
use crate::terminal;
use admin::status::Status;
use figures::{Bulk, Cells, Figures, ProcessFigures};
use probe::{Direction, Probe};
use shaping::RateClass;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// How long a connection may be silent.
const SILENCE: Duration = Duration::from_secs(20);
/// Time before a measurement in which windows open and caches warm.
const WARM_UP: Duration = Duration::from_secs(1);
/// Time between two samples of a node's counters.
const SAMPLED_EVERY: Duration = Duration::from_secs(1);

pub(crate) fn run(args: &BenchArgs) -> Outcome {
    let class = settings::rate(&args.rate)?;
    let runtime = runtime()?;
    let figures = runtime.block_on(bench(args, class));
    // A measurement that was interrupted may still wait for bytes.
    runtime.shutdown_background();
    let Some(figures) = figures? else { return Ok(()) };
    terminal::say(&if args.json { figures.json()? } else { figures.table() });
    Ok(())
}

/// `None` when it was interrupted.
async fn bench(args: &BenchArgs, class: RateClass) -> Result<Option<Figures>, Failure> {
    let mut signals = StopSignals::new()?;
    let plan = PairPlan { mode: args.mode, rate: args.rate.clone(), slot_ms: args.slot_ms, proxy_port: 0 };
    let pair = tokio::select! {
        started = Pair::start(&plan) => started?,
        () = signals.wait() => return Ok(None),
    };
    let measured = tokio::select! {
        measured = measure(args, class, &pair) => measured.map(Some),
        () = signals.wait() => Ok(None),
    };
    pair.stop().await;
    measured
}

async fn measure(args: &BenchArgs, class: RateClass, pair: &Pair) -> Result<Figures, Failure> {
    let probe = Probe::start()
        .map_err(|error| Failure::new(Code::System, format!("no port of 127.0.0.1 can be opened: {error}")))?;
    let (proxy, server) = (pair.proxy(), probe.address());
    let through = move || connect::through(proxy, server, SILENCE);
    let directly = move || direct(server);
    let (count, seconds) = (args.echoes, Duration::from_secs(args.seconds));
    progress(args, "echo");
    let echo = blocking(move || probe::echo(through()?, count)).await?;
    let echo_direct = blocking(move || probe::echo(directly()?, count)).await?;
    let processes = processes(pair).await?;
    let pids: Vec<u32> = processes.iter().map(|process| process.pid).collect();
    progress(args, "idle");
    let idle_cpu_s = idle(seconds, &pids).await;
    let mut bulks = Vec::new();
    for direction in [Direction::Down, Direction::Up] {
        progress(args, direction.name());
        let (counter, pids) = (probe.counter(), pids.clone());
        let work = blocking(move || bulk(through()?, direction, &counter, seconds, &pids));
        let (bulk, cells) = tokio::join!(work, cells(pair, direction, seconds));
        bulks.push(Bulk { cells, ..bulk? });
    }
    let memory = processes.iter().map(|process| usage::private_bytes(process.pid)).collect();
    let [down, up] = <[Bulk; 2]>::try_from(bulks).map_err(|_| defect())?;
    Ok(Figures {
        mode: args.mode,
        class: (args.mode == ModeArg::Constant).then_some(class),
        slot_ms: (args.mode == ModeArg::Constant).then_some(args.slot_ms),
        seconds: args.seconds,
        echo,
        echo_direct,
        idle_cpu_s,
        down,
        up,
        processes: processes.into_iter().map(|process| process.name).collect(),
        memory,
    })
}

/// The processes of both nodes, the supervisors left out: they move no byte.
async fn processes(pair: &Pair) -> Result<Vec<ProcessFigures>, Failure> {
    let mut found = Vec::new();
    for status in [pair.entry_status().await?, pair.exit_status().await?] {
        let working = status.processes.into_iter().filter(|process| process.name != "supervisor");
        found.extend(working.filter_map(|process| Some(ProcessFigures { name: process.name, pid: process.pid? })));
    }
    Ok(found)
}

/// Moves bytes for the warm-up, then counts them for `time`, with the processor time of every process.
fn bulk(
    stream: TcpStream,
    direction: Direction,
    counter: &probe::Counter,
    time: Duration,
    pids: &[u32],
) -> Result<Bulk, FetchError> {
    let transfer = probe::Transfer::start(stream, direction, counter)?;
    std::thread::sleep(WARM_UP);
    let (before, begun) = (cpu(pids), Instant::now());
    let bytes_before = transfer.bytes();
    std::thread::sleep(time);
    let bytes = transfer.bytes() - bytes_before;
    let (seconds, cpu_s) = (begun.elapsed().as_secs_f64(), cpu_since(&before, pids));
    transfer.stop();
    Ok(Bulk { bytes, seconds, cpu_s, cells: None })
}

/// What a pair costs that has nothing to do: the processor seconds of every process in `time`.
async fn idle(time: Duration, pids: &[u32]) -> Vec<Option<f64>> {
    let before = cpu(pids);
    tokio::time::sleep(time).await;
    cpu_since(&before, pids)
}

fn cpu(pids: &[u32]) -> Vec<Option<f64>> {
    pids.iter().map(|pid| usage::cpu_seconds(*pid)).collect()
}

fn cpu_since(before: &[Option<f64>], pids: &[u32]) -> Vec<Option<f64>> {
    before.iter().zip(cpu(pids)).map(|(before, after)| Some(after? - (*before)?)).collect()
}

/// What the sending node's schedule carried between two samples of its counters within a bulk measurement of `time`.
/// `None` if the time is too short for two, or if there is no schedule.
async fn cells(pair: &Pair, direction: Direction, time: Duration) -> Option<Cells> {
    let status = async || -> Option<Status> {
        match direction {
            Direction::Down => pair.exit_status().await.ok(),
            Direction::Up => pair.entry_status().await.ok(),
        }
    };
    // A sample may be as old as the time between two.
    tokio::time::sleep(WARM_UP + SAMPLED_EVERY).await;
    let before = status().await;
    tokio::time::sleep(time.saturating_sub(SAMPLED_EVERY)).await;
    Cells::between(&before?, &status().await?)
}

fn direct(server: SocketAddr) -> Result<TcpStream, FetchError> {
    let stream = TcpStream::connect(server)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(SILENCE))?;
    Ok(stream)
}

fn progress(args: &BenchArgs, what: &str) {
    if !args.json {
        terminal::complain(&format!("measuring {what} ...\n"));
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, FetchError> + Send + 'static,
) -> Result<T, Failure> {
    let worked = tokio::task::spawn_blocking(work).await.map_err(|_| defect())?;
    worked.map_err(|error| Failure::from_error(Code::Software, &error).remedy("run it again with HUSHWIRE_LOG=debug"))
}

fn defect() -> Failure {
    Failure::new(Code::Software, "a part of the benchmark ended unexpectedly")
}
