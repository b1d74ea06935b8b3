//! iperf3 with one, eight and sixty-four streams, both ways.

use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use lab::attempts::within_three;
use lab::pair::{Mode, Pair, PairConfig};
use lab::process;
use lab::programs;
use lab::scratch::Scratch;
use lab::servers;
use serde_json::Value;

const WITHIN: Duration = Duration::from_secs(120);
/// Far more than all buffers on the way hold.
const LEAST_BYTES: f64 = 1e6;
/// How often a busy server is asked again.
const BUSY_TRIES_MAX: u32 = 20;
/// Time between two tries.
const BUSY_PAUSE: Duration = Duration::from_millis(250);

#[test]
fn one_eight_and_sixty_four_streams_both_ways() -> anyhow::Result<()> {
    let folder = Scratch::new()?;
    let server = servers::iperf3(&folder)?;
    for mode in [Mode::Off { congestion: "bbr" }, Mode::constant("20 Mbit/s")] {
        let pair = Pair::start(PairConfig::new(mode.clone()).with_forward(server.address))?;
        for streams in [1, 8, 64] {
            for reverse in [false, true] {
                // On a busy machine one of many streams may have no turn in three seconds.
                within_three(|| measure(&pair, streams, reverse))
                    .with_context(|| format!("{mode:?}, {streams} streams, reverse {reverse}"))?;
            }
        }
    }
    Ok(())
}

/// Every stream must have moved bytes, and all together more than a flow's queue holds.
fn measure(pair: &Pair, streams: u32, reverse: bool) -> anyhow::Result<()> {
    let report = report(pair, streams, reverse)?;
    let each = report["end"]["streams"].as_array().context("iperf3 reports its streams")?;
    anyhow::ensure!(each.len() == streams as usize, "{} streams of {streams}", each.len());
    for stream in each {
        let bytes = stream["receiver"]["bytes"].as_f64().unwrap_or(0.0);
        anyhow::ensure!(bytes > 0.0, "a stream moved nothing: {stream}");
    }
    let bytes = report["end"]["sum_received"]["bytes"].as_f64().context("iperf3 reports the sum")?;
    anyhow::ensure!(bytes > LEAST_BYTES, "{bytes} bytes in all");
    Ok(())
}

/// What iperf3 says of one run. Its server serves one run at a time, and the word that ends a run comes by another
/// flow than the connection that begins the next, so either may arrive first: a client that is told "busy" tries again. The server
/// closes with what the client said unread, so its word may be lost in the reset that the system makes of that.
fn report(pair: &Pair, streams: u32, reverse: bool) -> anyhow::Result<Value> {
    for _ in 0..BUSY_TRIES_MAX {
        let report = run_client(pair, streams, reverse)?;
        match report["error"].as_str() {
            None => return Ok(report),
            Some(error) if is_busy(error) => std::thread::sleep(BUSY_PAUSE),
            Some(error) => anyhow::bail!("iperf3 with {streams} streams, reverse {reverse}: {error}"),
        }
    }
    anyhow::bail!("iperf3's server is busy after {BUSY_TRIES_MAX} tries")
}

/// Whether a run was refused at its beginning because the server has not done with the one before.
fn is_busy(error: &str) -> bool {
    error.contains("busy") || error == "unable to receive control message: Connection reset by peer"
}

fn run_client(pair: &Pair, streams: u32, reverse: bool) -> anyhow::Result<Value> {
    let to = pair.forward(0);
    let mut command = Command::new(programs::find("iperf3")?);
    command.args(["--client", "127.0.0.1", "--port", &to.port().to_string(), "--time", "3", "--json"]);
    command.args(["--parallel", &streams.to_string()]);
    if reverse {
        command.arg("--reverse");
    }
    // It ends with 0 or 1 after an error, by its version; the report says which error.
    let output = process::run_to_end(&mut command, WITHIN)?;
    serde_json::from_slice(&output.stdout)
        .with_context(|| format!("iperf3 printed no report: {}", process::printed(&output)))
}
