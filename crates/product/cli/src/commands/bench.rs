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
use crate::terminal;
use figures::{Bulk, Figures, ProcessFigures};
use probe::{Direction, Probe};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long a connection may be silent.
const SILENCE: Duration = Duration::from_secs(20);
/// Time before a measurement in which windows open and caches warm.
const WARM_UP: Duration = Duration::from_secs(1);

pub(crate) fn run(args: &BenchArgs) -> Outcome {
    config::parse_rate(&args.rate).map_err(|problem| {
        Failure::new(Code::Data, format!("--rate {:?}: {problem}", args.rate)).remedy(problem.remedy())
    })?;
    let runtime = runtime()?;
    let figures = runtime.block_on(bench(args));
    // A measurement that was interrupted may still wait for bytes.
    runtime.shutdown_background();
    let Some(figures) = figures? else { return Ok(()) };
    terminal::say(&if args.json { figures.json()? } else { figures.table() });
    Ok(())
}

/// `None` when it was interrupted.
async fn bench(args: &BenchArgs) -> Result<Option<Figures>, Failure> {
    let mut signals = StopSignals::new()?;
    let plan = PairPlan { mode: args.mode, rate: args.rate.clone(), slot_ms: args.slot_ms, proxy_port: 0 };
    let pair = tokio::select! {
        started = Pair::start(&plan) => started?,
        () = signals.wait() => return Ok(None),
    };
    let measured = tokio::select! {
        measured = measure(args, &pair) => measured.map(Some),
        () = signals.wait() => Ok(None),
    };
    pair.stop().await;
    measured
}

async fn measure(args: &BenchArgs, pair: &Pair) -> Result<Figures, Failure> {
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
    let mut bulks = Vec::new();
    for direction in [Direction::Down, Direction::Up] {
        progress(args, direction.name());
        let pids: Vec<u32> = processes.iter().map(|process| process.pid).collect();
        let counter = probe.counter();
        bulks.push(blocking(move || bulk(through()?, direction, &counter, seconds, &pids)).await?);
    }
    let memory = processes.iter().map(|process| usage::private_bytes(process.pid)).collect();
    let [down, up] = <[Bulk; 2]>::try_from(bulks).map_err(|_| defect())?;
    Ok(Figures {
        mode: args.mode,
        rate: (args.mode == ModeArg::Constant).then(|| args.rate.clone()),
        slot_ms: (args.mode == ModeArg::Constant).then_some(args.slot_ms),
        seconds: args.seconds,
        echo,
        echo_direct,
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
    let cpu = || -> Vec<Option<f64>> { pids.iter().map(|pid| usage::cpu_seconds(*pid)).collect() };
    let (before, begun) = (cpu(), std::time::Instant::now());
    let bytes_before = transfer.bytes();
    std::thread::sleep(time);
    let bytes = transfer.bytes() - bytes_before;
    let (seconds, after) = (begun.elapsed().as_secs_f64(), cpu());
    transfer.stop();
    let cpu_s = before.into_iter().zip(after).map(|(before, after)| Some(after? - before?)).collect();
    Ok(Bulk { bytes, seconds, cpu_s })
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
