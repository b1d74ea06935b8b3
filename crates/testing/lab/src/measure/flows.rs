//! A thousand flows at once.

use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use anyhow::Context;

use super::table::{Table, at_most};
use crate::load::{self, Service, quantile};
use crate::pair::{Mode, Pair, PairConfig, Role};

const FLOWS: usize = 1000;
const BYTES: u64 = 100_000;
const STACK_BYTES: usize = 256 << 10;
/// How much longer than the median the slowest flow may take.
const SPREAD_MAX: f64 = 3.0;
/// A flow that is silent for so long has failed.
const SILENCE: Duration = Duration::from_secs(60);

pub(super) fn section(progress: &dyn Fn(&str)) -> anyhow::Result<String> {
    let server = load::start(Service::Source { bytes: BYTES })?;
    let mut table = Table::new(&["1,000 flows of 100 KB at once", "median, s", "slowest, s", "slowest / median"]);
    for (name, mode) in
        [("mode `off`", Mode::Off { congestion: "bbr" }), ("mode `constant`, 100 Mbit/s", Mode::constant("100 Mbit/s"))]
    {
        progress(&format!("a thousand flows: {name}"));
        let pair = Pair::start(PairConfig::new(mode).with_forward(server))?;
        let measured = row(&mut table, name, pair.forward(0));
        measured.with_context(|| {
            let flows = [Role::Entry, Role::Exit].map(|role| pair.status(role).map(|status| status.flows));
            format!("{name}; flows at entry and exit: {flows:?}")
        })?;
    }
    Ok(format!("## Many flows\n\nEvery byte of every flow is compared.\n\n{}", table.finish()))
}

fn row(table: &mut Table, name: &str, to: SocketAddr) -> anyhow::Result<()> {
    let times = all_at_once(to)?;
    let (median, slowest) = quantile(&times, 0.5).zip(quantile(&times, 1.0)).context("there are flows")?;
    let spread = slowest.as_secs_f64() / median.as_secs_f64();
    table.row(&[
        name.to_owned(),
        format!("{:.2}", median.as_secs_f64()),
        format!("{:.2}", slowest.as_secs_f64()),
        format!("{spread:.2}, {}", at_most(spread, SPREAD_MAX, 0)),
    ]);
    Ok(())
}

/// How long each flow took from the common start to its last byte.
fn all_at_once(to: SocketAddr) -> anyhow::Result<Vec<Duration>> {
    let start = Arc::new(Barrier::new(FLOWS));
    let mut clients = Vec::with_capacity(FLOWS);
    for _ in 0..FLOWS {
        let start = Arc::clone(&start);
        let builder = std::thread::Builder::new().stack_size(STACK_BYTES);
        clients.push(builder.spawn(move || -> std::io::Result<(Duration, u64)> {
            start.wait();
            let begin = Instant::now();
            let mut stream = TcpStream::connect(to)?;
            stream.set_read_timeout(Some(SILENCE))?;
            let bytes = load::read_pattern(&mut stream)?;
            Ok((begin.elapsed(), bytes))
        })?);
    }
    let (mut times, mut failed) = (Vec::with_capacity(FLOWS), Vec::new());
    for client in clients {
        match client.join().map_err(|_| anyhow::anyhow!("a client panicked"))? {
            Ok((time, BYTES)) => times.push(time),
            Ok((_, bytes)) => failed.push(format!("{bytes} bytes")),
            Err(error) => failed.push(error.to_string()),
        }
    }
    anyhow::ensure!(failed.is_empty(), "{} of {FLOWS} flows failed, the first: {:?}", failed.len(), failed.first());
    Ok(times)
}
