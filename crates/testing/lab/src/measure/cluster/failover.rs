//! The leader is killed again and again while programs publish at the two others.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::Value;
use tokio::task::JoinSet;

use super::clients::{Client, Form};
use super::milliseconds;
use super::nodes::{COUNT, Nodes};
use crate::measure::Plan;
use crate::measure::table::{Table, at_most};

/// Kills in a round of the plan; three rounds are thirty.
const KILLS_PER_ROUND: u32 = 10;
/// Clients at each of the two nodes that go on.
const CLIENTS: usize = 4;
/// What a client rests between two messages, so that the log stays short.
const REST: Duration = Duration::from_millis(1);
/// How long clients publish before a kill, and how long after it.
const BEFORE: Duration = Duration::from_millis(300);
const AFTER: Duration = Duration::from_millis(1_200);
/// No message is waited for longer than this.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bound of the 99th percentile.
const BOUND_MS: f64 = 500.0;
/// The topic, and the last message in it.
const TOPIC: &str = "failover";
const END: &str = "end";

/// One acknowledged message.
#[derive(Debug)]
struct Acknowledged {
    at: Instant,
    text: String,
}

pub(in crate::measure) fn section(plan: &Plan, progress: &dyn Fn(&str)) -> anyhow::Result<String> {
    let mut nodes = Nodes::start()?;
    let kills = plan.rounds * KILLS_PER_ROUND;
    let (mut first, mut last, mut messages) = (Vec::new(), Vec::new(), Vec::new());
    let mut beside_slow_disk = Vec::new();
    for kill in 1..=kills {
        progress(&format!("failover, kill {kill} of {kills}"));
        let Failover { back, slow_syncs } = one_kill(&mut nodes, kill, &mut messages)?;
        first.extend(back.iter().min());
        last.extend(back.iter().max());
        if slow_syncs > 0 {
            beside_slow_disk.extend(back.iter().min());
        }
    }
    let pipe = nodes.pipe(nodes.leader()?);
    let told = told(&pipe)?;
    let is_once = |text: &String| told.get(text) == Some(&1);
    let lost = messages.iter().filter(|text| !is_once(text)).count();
    anyhow::ensure!(lost == 0, "{lost} of {} acknowledged messages are not told exactly once", messages.len());
    let mut text = format!(
        "## Failover\n\nThe leader was killed with SIGKILL {kills} times and started again each time, while {CLIENTS} clients at \
         each of the other two nodes published one message after another. Milliseconds from the signal to the acknowledgement \
         that ended a client's longest silence. {} messages were acknowledged, and each was told exactly once afterwards.\n\n",
        messages.len()
    );
    let mut table = Table::new(&["until", "p50", "p99", "most", "target"]);
    for (name, times, has_bound) in [("the first client is answered", first, true), ("every client is", last, false)] {
        let at = |share| crate::load::quantile(&times, share).map(milliseconds).context("there were kills");
        let (median, p99, most) = (at(0.5)?, at(0.99)?, at(1.0)?);
        let verdict = if has_bound { format!("p99 {}", at_most(p99, BOUND_MS, 0)) } else { String::new() };
        table.row(&[name.to_owned(), format!("{median:.0}"), format!("{p99:.0}"), format!("{most:.0}"), verdict]);
    }
    text += &table.finish();
    let slow: Vec<String> = beside_slow_disk.iter().map(|time| format!("{:.0}", milliseconds(*time))).collect();
    let slow = if slow.is_empty() { "none".to_owned() } else { format!("{} ms", slow.join(", ")) };
    text += &format!("\nKills around which a sync of a log took 100 ms or more: {slow}.\n");
    Ok(text)
}

/// What came of a kill.
struct Failover {
    /// After how long each client was answered again.
    back: Vec<Duration>,
    /// Syncs that the nodes called slow meanwhile.
    slow_syncs: usize,
}

/// Kills the leader and starts it again.
fn one_kill(nodes: &mut Nodes, kill: u32, messages: &mut Vec<String>) -> anyhow::Result<Failover> {
    let leader = nodes.settled_leader()?;
    let slow_before = nodes.slow_syncs()?;
    let pipes: Vec<PathBuf> = (0..COUNT).filter(|node| *node != leader).map(|node| nodes.pipe(node)).collect();
    let is_over = Arc::new(AtomicBool::new(false));
    let flag = is_over.clone();
    let clients = std::thread::spawn(move || publish(&pipes, kill, &flag));
    std::thread::sleep(BEFORE);
    let killed = nodes.kill(leader);
    std::thread::sleep(AFTER);
    is_over.store(true, Ordering::Relaxed);
    let clients = clients.join().map_err(|_| anyhow::anyhow!("the clients' thread panicked"))?;
    let clients = clients.with_context(|| nodes.logs())?;
    let slow_syncs = nodes.slow_syncs()? - slow_before;
    nodes.start_one(leader)?;
    nodes.wait_until_level()?;
    let back = clients.iter().map(|client| end_of_silence(client, killed)).collect();
    messages.extend(clients.into_iter().flatten().map(|one| one.text));
    Ok(Failover { back, slow_syncs })
}

/// How long after the kill the longest silence of a client ended.
fn end_of_silence(client: &[Acknowledged], killed: Instant) -> Duration {
    let silences = client.windows(2).map(|pair| (pair[1].at - pair[0].at, pair[1].at));
    let longest = silences.filter(|(_, end)| *end >= killed).max_by_key(|(length, _)| *length);
    longest.map_or(Duration::ZERO, |(_, end)| end - killed)
}

/// Clients at these pipes publish until it is over, and each has an answer to a message of after that.
fn publish(pipes: &[PathBuf], kill: u32, is_over: &Arc<AtomicBool>) -> anyhow::Result<Vec<Vec<Acknowledged>>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut tasks = JoinSet::new();
        for (place, pipe) in pipes.iter().enumerate() {
            for client in 0..CLIENTS {
                let connected = Client::connect(pipe, Form::Frames, TOPIC).await?;
                tasks.spawn(publish_one(connected, format!("{kill}-{place}-{client}"), is_over.clone()));
            }
        }
        tasks.join_all().await.into_iter().collect()
    })
}

async fn publish_one(mut client: Client, name: String, is_over: Arc<AtomicBool>) -> anyhow::Result<Vec<Acknowledged>> {
    let mut acknowledged = Vec::new();
    for number in 0_u64.. {
        let is_last = is_over.load(Ordering::Relaxed);
        let text = format!("{name}-{number}");
        let answered = tokio::time::timeout(PATIENCE, client.publish_patiently(text.as_bytes()));
        answered.await.with_context(|| format!("{text} was not answered in {PATIENCE:?}"))??;
        acknowledged.push(Acknowledged { at: Instant::now(), text });
        if is_last {
            break;
        }
        tokio::time::sleep(REST).await;
    }
    Ok(acknowledged)
}

/// How often each message is told from the beginning on.
fn told(pipe: &Path) -> anyhow::Result<BTreeMap<String, u32>> {
    let mut stream = UnixStream::connect(pipe)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let say = format!(
        "{{\"op\":\"hello\"}}\n{{\"op\":\"sub\",\"names\":[\"{TOPIC}\"],\"from\":\"oldest\"}}\n\
         {{\"op\":\"credit\",\"n\":{}}}\n{{\"op\":\"pub\",\"seq\":1,\"topic\":\"{TOPIC}\",\"data\":\"{END}\"}}\n",
        u32::MAX
    );
    stream.write_all(say.as_bytes())?;
    let mut told = BTreeMap::new();
    for line in BufReader::new(stream).lines() {
        let message: Value = serde_json::from_str(&line?)?;
        let data = message["data"].as_str();
        match (message["op"].as_str(), data) {
            (Some("msg"), Some(END)) => return Ok(told),
            (Some("msg"), Some(data)) => *told.entry(data.to_owned()).or_default() += 1,
            (Some("error"), _) => anyhow::bail!("the node refuses: {message}"),
            _ => {}
        }
    }
    anyhow::bail!("the node closed the pipe")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_the_longest_silence_counts_from_the_kill() {
        let begin = Instant::now();
        let at = |ms| begin + Duration::from_millis(ms);
        let client: Vec<Acknowledged> =
            [0, 400, 401, 700, 701].map(|ms| Acknowledged { at: at(ms), text: String::new() }).into();
        assert_eq!(end_of_silence(&client, at(450)), Duration::from_millis(250));
        assert_eq!(end_of_silence(&client, at(390)), Duration::from_millis(10));
    }
}
