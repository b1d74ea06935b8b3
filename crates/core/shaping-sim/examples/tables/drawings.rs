//! The pictures.

use crate::{LENGTH, SEEDS};
use shaping::accountant::Epsilon;
use shaping_sim::pictures::{Curve, curves, overhead_against_latency, wire_over_time};
use shaping_sim::plot::{Chart, Look};
use shaping_sim::published::{VIDEO, netshaper_mode};
use shaping_sim::recommended::{Promise, dp_modes};
use shaping_sim::targets::targets;
use shaping_sim::trace::Trace;
use shaping_sim::{Exchanges, Mode, Setup, Workload, run, video_segments};
use std::error::Error;
use std::path::Path;
use std::time::Duration;

/// Curves that every chart of [`modes`] begins with.
const COMMON: usize = 4;

pub(crate) fn write(folder: &Path) -> Result<(), Box<dyn Error>> {
    #[expect(clippy::disallowed_methods, reason = "an example is a program: it writes files")]
    let save = |name: &str, chart: &Chart| std::fs::write(folder.join(name), chart.to_svg());
    for clients in [1, 16, 128] {
        save(&format!("overhead-latency-{clients}.svg"), &modes(clients)?)?;
    }
    save("wire-dp.svg", &crowd()?)?;
    save("wire-queue.svg", &netshaper()?)?;
    Ok(())
}

/// Every mode, NetShaper's published points, and the corner that is aimed at.
fn modes(clients: u32) -> Result<Chart, Box<dyn Error>> {
    let workload = Workload::Exchanges(Exchanges::video(clients)?);
    let promise = Promise::new(Epsilon::new(1.0)?);
    let mut all = curves(&workload, &promise, &[100, 500, 1_000], &Setup::new(LENGTH, 0), SEEDS)?;
    // Behind those of this chart alone, so that each colour means the same in all.
    let of_this_chart = all.split_off(all.len().min(COMMON));
    let theirs = VIDEO.iter().filter(|point| point.clients == clients);
    all.push(Curve {
        name: "NetShaper as published: T of 100, 500, 1000 ms".to_owned(),
        look: Look::Joined,
        points: theirs.map(|point| (String::new(), point.latency_ms, point.overhead)).collect(),
    });
    let aim = targets()?.into_iter().find(|target| target.workload == workload).map(|target| target.aim);
    if let Some((aim, overhead)) = aim.and_then(|aim| Some((aim, aim.overhead?))) {
        all.push(Curve {
            name: "aim".to_owned(),
            look: Look::Corner,
            points: vec![(String::new(), aim.mean_ms, overhead)],
        });
    }
    all.extend(of_this_chart);
    let people = if clients == 1 { "1 video client".to_owned() } else { format!("{clients} video clients") };
    Ok(overhead_against_latency(&format!("Overhead against latency, {people}, epsilon 1"), &all)?)
}

/// Mode dp when three quarters of a crowd leave and come back one after the other.
fn crowd() -> Result<Chart, Box<dyn Error>> {
    let (clients, length) = (128, Duration::from_secs(900));
    let [_, down] = dp_modes(&Workload::Exchanges(Exchanges::video(clients)?), &Promise::new(Epsilon::new(1.0)?))?;
    let all = video_segments(clients, length, 1)?;
    let is_away = |client: u32, at: f64| {
        let turn = 2.0 * f64::from(client) - 64.0;
        client >= 32 && (200.0 + turn / 2.0..500.0 + turn).contains(&at)
    };
    let watched = all.transfers().iter().filter(|segment| !is_away(segment.client.0, segment.at.as_secs_f64()));
    let trace = Trace::new(watched.copied().collect())?;
    let report = run(&Workload::Replay(trace), &Mode::Off, &down, &Setup::new(length, 1))?;
    Ok(wire_over_time("dp: 128 video clients, 96 of which leave for a while", &report.down)?)
}

fn netshaper() -> Result<Chart, Box<dyn Error>> {
    let (clients, length) = (128, Duration::from_secs(120));
    let workload = Workload::Exchanges(Exchanges::video(clients)?);
    let setup = Setup { ring_bytes: 2_097_152, ..Setup::new(length, 1) };
    let down = netshaper_mode(clients, 1_000, setup.slot, &Promise::new(Epsilon::new(1.0)?))?;
    let report = run(&workload, &Mode::Off, &down, &setup)?;
    Ok(wire_over_time("queue (NetShaper's mechanism), T = 1 s: 128 video clients", &report.down)?)
}
