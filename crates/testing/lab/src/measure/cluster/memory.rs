//! Memory of a node, idle and with a million messages, and how fast it is there again with them.

use std::time::{Duration, Instant};

use super::clients::{Client, Form, fill};
use super::nodes::{COUNT, Nodes};
use crate::measure::Plan;
use crate::measure::processes::resident_without_segments;
use crate::measure::table::{Samples, Table, at_most};

const MESSAGES: u64 = 1_000_000;
/// Clients that publish them.
const CLIENTS: usize = 250;
/// The usual messages, and such small ones that most of them were in the log of one term.
const VALUE_BYTES: [usize; 2] = [256, 8];
/// How long a node rests before its memory is read.
const REST: Duration = Duration::from_secs(2);
/// No start is waited for longer than this.
const START_WITHIN: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(5);
/// Bounds, in MB and seconds.
const IDLE_MB: f64 = 20.0;
const RESTART_S: f64 = 3.0;

pub(in crate::measure) fn section(plan: &Plan, progress: &dyn Fn(&str)) -> anyhow::Result<String> {
    let mut memory = Table::new(&["messages", "idle, MB", "filled, MB", "log on disk, MB", "target"]);
    let mut restarts =
        Table::new(&["messages", "a follower is level, s", "all are killed: a message is acknowledged, s", "target"]);
    for value_bytes in VALUE_BYTES {
        let name = format!("{MESSAGES} of {value_bytes} bytes");
        progress(&format!("memory and restarts: {name}"));
        let mut nodes = Nodes::start()?;
        std::thread::sleep(REST);
        let idle = resident(&nodes);
        fill(nodes.pipe(nodes.leader()?), CLIENTS, MESSAGES, value_bytes)?;
        nodes.wait_until_level()?;
        std::thread::sleep(REST);
        let bound = at_most(idle.largest(), IDLE_MB, 0);
        let disk = nodes.log_bytes(0)? as f64 / 1e6;
        memory.row(&[
            name.clone(),
            idle.show(1),
            resident(&nodes).show(1),
            format!("{disk:.0}"),
            format!("idle {bound}"),
        ]);
        let (mut one, mut all) = (Samples::default(), Samples::default());
        for round in 1..=plan.rounds {
            progress(&format!("restart {round} of {}: {name}", plan.rounds));
            one.push(restart_follower(&mut nodes)?.as_secs_f64());
            all.push(restart_all(&mut nodes)?.as_secs_f64());
        }
        let bound = at_most(one.largest().max(all.largest()), RESTART_S, 0);
        restarts.row(&[name, one.show(2), all.show(2), bound]);
    }
    let text = "## Memory and restarts\n\nResident memory of each of the three nodes, median (range). A restart is SIGKILL and a \
                start; the time counts from the start of the process.\n\n";
    Ok(text.to_owned() + &memory.finish() + &restarts.finish())
}

fn resident(nodes: &Nodes) -> Samples {
    nodes.watched().0.iter().map(|(_, pid)| resident_without_segments(*pid) as f64 / 1e6).collect()
}

/// Until a follower has everything again.
fn restart_follower(nodes: &mut Nodes) -> anyhow::Result<Duration> {
    let leader = nodes.leader()?;
    let follower = (leader + 1) % COUNT;
    nodes.kill(follower);
    let next = nodes.status(leader).map_or(0, |status| status.next);
    let begin = Instant::now();
    nodes.start_one(follower)?;
    while nodes.status(follower).is_none_or(|status| status.next < next) {
        anyhow::ensure!(begin.elapsed() < START_WITHIN, "a node is not level:\n{}", nodes.logs());
        std::thread::sleep(LOOK);
    }
    let took = begin.elapsed();
    nodes.wait_until_level()?;
    Ok(took)
}

/// Until a cluster of which nothing ran acknowledges a message.
fn restart_all(nodes: &mut Nodes) -> anyhow::Result<Duration> {
    for node in 0..COUNT {
        nodes.kill(node);
    }
    let begin = Instant::now();
    (0..COUNT).try_for_each(|node| nodes.start_one(node))?;
    let pipe = nodes.pipe(0);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut client = loop {
            anyhow::ensure!(begin.elapsed() < START_WITHIN, "the pipe does not open");
            match Client::connect(&pipe, Form::Frames, "restart").await {
                Ok(client) => break client,
                Err(_) => tokio::time::sleep(LOOK).await,
            }
        };
        tokio::time::timeout(START_WITHIN, client.publish_patiently(b"here")).await?
    })?;
    let took = begin.elapsed();
    nodes.wait_until_level()?;
    Ok(took)
}
