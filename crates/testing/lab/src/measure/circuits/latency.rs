//! The first byte over a tunnel that stands, and how long a tunnel takes to build.

use std::time::Duration;

use super::system::{Own, Servers, System};
use super::tor::TorNet;
use super::{HOPS, at_most_beside_tor, profile_note};
use crate::circuits::NetConfig;
use crate::load;
use crate::measure::Plan;
use crate::measure::table::{Samples, Table, at_most};
use crate::pair::Role;

/// Requests of a round.
const REQUESTS: usize = 50;
/// Bytes of each answer.
const ANSWER_BYTES: u64 = 1_000;
/// Tunnels, and circuits of C-tor, that are built in a round.
const BUILDS: usize = 10;
/// Between two requests.
const GAP: Duration = Duration::from_millis(20);
/// Most milliseconds to the first byte: half of them, and nine of ten.
const MOST_FIRST_BYTE: [f64; 2] = [3.0, 6.0];
/// The same as shares of C-tor's in the same run. Where the aims of 3 and 6 ms were set, C-tor had 14 and 53 ms at most.
const MOST_OF_TOR: [f64; 2] = [3.0 / 14.0, 6.0 / 53.0];
/// Most milliseconds until a tunnel is built, half of them.
const MOST_BUILD: f64 = 15.0;

#[derive(Default)]
struct Times {
    name: String,
    p50: Samples,
    p90: Samples,
}

impl Times {
    fn push(&mut self, name: &str, times: &[Duration]) {
        name.clone_into(&mut self.name);
        let at = |share| load::quantile(times, share).map_or(0.0, |time| time.as_secs_f64() * 1e3);
        self.p50.push(at(0.5));
        self.p90.push(at(0.9));
    }
}

pub(in crate::measure) fn section(plan: &Plan, progress: &dyn Fn(&str)) -> anyhow::Result<String> {
    let servers = Servers::start()?;
    let tor = TorNet::start(None, progress)?;
    let (mut first, mut built): ([Times; 2], [Times; 2]) = Default::default();
    for round in 1..=plan.rounds {
        progress(&format!("first bytes and builds, round {round} of {}", plan.rounds));
        let mut own = Own::start(&NetConfig::new(HOPS, 2))?;
        first[0].push(own.name(), &first_bytes(&own, servers)?);
        let times = builds(&mut own)?;
        built[0].push(own.name(), &times);
        drop(own);
        if let Some(tor) = &tor {
            let client = tor.client(2)?;
            first[1].push(client.name(), &first_bytes(&client, servers)?);
            built[1].push("C-tor, one circuit", &client.build(BUILDS)?);
        }
    }
    let mut text = format!(
        "## First bytes and builds\n\n{}Milliseconds, median (range) of {} rounds. First byte: from the connection to the proxy to the \
         first byte of an answer of 1 kB, {REQUESTS} requests one after another over a tunnel that stands. Build: from an entry that has no link yet to \
         the session over two legs of {HOPS} hops, by its log, {BUILDS} times; of C-tor one circuit over connections that stand.\n\n",
        profile_note(),
        plan.rounds
    );
    let mut table = Table::new(&["what", "system", "p50", "p90", "target"]);
    let target = first_byte_verdicts(&first);
    let build_target = at_most(built[0].p50.median(), MOST_BUILD, 0);
    for (what, rows, target) in [("first byte", &first, target), ("build", &built, build_target)] {
        for (index, Times { name, p50, p90 }) in rows.iter().enumerate().filter(|(_, row)| !row.name.is_empty()) {
            let target = if index == 0 { target.clone() } else { String::new() };
            table.row(&[what.to_owned(), name.clone(), p50.show(2), p90.show(2), target]);
        }
    }
    text += &table.finish();
    Ok(text)
}

fn first_byte_verdicts([own, tor]: &[Times; 2]) -> String {
    let p50 = at_most_beside_tor(&own.p50, MOST_FIRST_BYTE[0], &tor.p50, MOST_OF_TOR[0]);
    let p90 = at_most_beside_tor(&own.p90, MOST_FIRST_BYTE[1], &tor.p90, MOST_OF_TOR[1]);
    format!("p50 {p50}; p90 {p90}")
}

fn first_bytes(system: &dyn System, servers: Servers) -> anyhow::Result<Vec<Duration>> {
    let mut times = Vec::with_capacity(REQUESTS);
    // The first ones find names and open what is opened once.
    for number in 0..REQUESTS + 5 {
        std::thread::sleep(GAP);
        let transfer = servers.download_from(system.proxy(), ANSWER_BYTES, |_| {})?;
        if number >= 5 {
            times.push(transfer.first_byte);
        }
    }
    Ok(times)
}

/// Starts the entry again and again.
fn builds(own: &mut Own) -> anyhow::Result<Vec<Duration>> {
    let mut times = Vec::with_capacity(BUILDS);
    for _ in 0..BUILDS {
        drop(own.net.take_node(Role::Entry));
        own.net.start_node(Role::Entry)?;
        own.net.wait_until_whole()?;
        times.push(own.net.build_time()?);
    }
    Ok(times)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_are_absolute_and_beside_tor() {
        let times = |milliseconds: u64| {
            let mut times = Times::default();
            times.push("", &[Duration::from_millis(milliseconds); 10]);
            times
        };
        let beside = first_byte_verdicts(&[times(4), times(50)]);
        assert_eq!(
            beside,
            "p50 <= 3: **missed**, 0.08 of C-tor's <= 0.21: met; p90 <= 6: met, 0.08 of C-tor's <= 0.11: met"
        );
        assert_eq!(first_byte_verdicts(&[times(2), Times::default()]), "p50 <= 3: met; p90 <= 6: met");
    }
}
