//! Throughput over circuits, and what it costs.

use shaping::RateClass;

use super::system::{Own, Servers, Spent, System};
use super::tor::TorNet;
use super::{HOPS, at_most_beside_tor, bytes_for, profile_note};
use crate::circuits::NetConfig;
use crate::measure::Plan;
use crate::measure::table::{Samples, Table, at_least};
use crate::measure::traffic::Way;

/// Speeds at which the lengths of transfers are guessed, in Mbit/s: without a limit ours and C-tor's, with one both.
const GUESSES: [u64; 2] = [300, 60];
const GUESS_LIMITED: u64 = 20;
/// Session bytes that relays of the limited network send.
const LIMIT: u64 = 18_000_000;
/// Bytes of a cell's session packet, and of its IP packet.
const SESSION_PACKET: u64 = 1_222;
const IP_PACKET: u64 = 1_378;
/// A circuit's first bytes find its speed; they are not counted.
const WARM_BYTES: u64 = 2_000_000;
/// Least Mbit/s of one leg without a limit.
const LEAST: f64 = 600.0;
/// Least Mbit/s of two legs for each Mbit/s of IP bytes that the relays send, either way: 32 over relays of 20 Mbit/s.
const LEAST_LIMITED: f64 = 1.6;
/// Most seconds of processor time for 10^9 bytes: of the client, and of each relay of the way.
const MOST_CPU: [f64; 2] = [4.0, 2.0];
/// The same as shares of C-tor's in the same run, which had 8 s for a client and 9 for a relay where the aims were set.
const MOST_CPU_OF_TOR: [f64; 2] = [4.0 / 8.0, 2.0 / 9.0];
/// A row of figures of one system.
#[derive(Default)]
struct Rounds {
    name: String,
    speeds: [Samples; 2],
    cpu: [Samples; 3],
}

impl Rounds {
    /// Both ways through a system; processor time is that of downloads.
    fn measure(&mut self, system: &dyn System, servers: Servers, bytes: u64) -> anyhow::Result<()> {
        system.name().clone_into(&mut self.name);
        let costs = system.costs()?;
        for (way, speeds) in Way::BOTH.into_iter().zip(&mut self.speeds) {
            servers.transfer(system, way, WARM_BYTES)?;
            let (transfer, spent) = costs.of(|| servers.transfer(system, way, bytes))?;
            speeds.push(transfer.megabits_per_second());
            if way == Way::Down {
                let Spent { client, relays, exits } = spent;
                let gigabytes = bytes as f64 / 1e9;
                // Every byte passes a guard and a middle.
                let of_each = [client, relays / f64::from(HOPS - 1), exits];
                self.cpu.iter_mut().zip(of_each).for_each(|(all, one)| all.push(one / gigabytes));
            }
        }
        Ok(())
    }
}

/// Without a limit.
pub(in crate::measure) fn unlimited(plan: &Plan, progress: &dyn Fn(&str)) -> anyhow::Result<String> {
    let all = measure(plan, None, progress)?;
    let first = all.first().map_or(0.0, |one| one.speeds[0].median());
    let targets = |index: usize, down: f64| match index {
        0 => at_least(down, LEAST, 0),
        1 => at_least(down, first, 0),
        _ => String::new(),
    };
    let mut text = format!(
        "## Throughput without a limit\n\n{}Mbit/s of application bytes in one connection, median (range) of {} rounds of \
         about {} s in turns, {HOPS} hops, mode `off`. The second row's target is the first row.\n\n",
        profile_note(),
        plan.rounds,
        plan.seconds
    );
    let mut table = Table::new(&["system", "down", "up", "target down"]);
    for (index, one) in all.iter().enumerate() {
        let [down, up] = &one.speeds;
        table.row(&[one.name.clone(), down.show(1), up.show(1), targets(index, down.median())]);
    }
    text += &table.finish();
    text += "CPU seconds for 10^9 bytes of a download. Of relays, the mean of the two on the way.\n\n";
    Ok(text + &costs(&all))
}

fn costs(all: &[Rounds]) -> String {
    let mut table = Table::new(&["system", "client", "each relay", "exit", "target"]);
    for (index, one) in all.iter().enumerate() {
        let [client, relay, exit] = &one.cpu;
        let beside = |part: usize| {
            let tor = all.get(index + 2).map_or_else(Samples::default, |tor| tor.cpu[part].clone());
            at_most_beside_tor(&one.cpu[part], MOST_CPU[part], &tor, MOST_CPU_OF_TOR[part])
        };
        let is_own = index < 2;
        let target = if is_own { format!("client {}; relay {}", beside(0), beside(1)) } else { String::new() };
        table.row(&[one.name.clone(), client.show(2), relay.show(2), exit.show(2), target]);
    }
    table.finish()
}

/// Over relays that send 20 Mbit/s, the exit excepted.
pub(in crate::measure) fn limited(plan: &Plan, progress: &dyn Fn(&str)) -> anyhow::Result<String> {
    let class = RateClass::at_least(LIMIT)?;
    let ip_rate = ip_bits(class) as f64 / 1e6;
    let all = measure(plan, Some(class), progress)?;
    let mut text = format!(
        "## Throughput over relays with a limit\n\nThe same with guards and middles that send {:.1} Mbit/s of IP bytes at most: of ours what \
         circuits carry, of C-tor the bytes of its connections. The target is {LEAST_LIMITED} of it.\n\n",
        ip_rate
    );
    let mut table = Table::new(&["system", "down", "up", "target"]);
    for (index, one) in all.iter().enumerate() {
        let [down, up] = &one.speeds;
        let target = if index == 1 {
            let of = |speeds: &Samples| at_least(speeds.median(), LEAST_LIMITED * ip_rate, 1);
            format!("down {}; up {}", of(down), of(up))
        } else {
            String::new()
        };
        table.row(&[one.name.clone(), down.show(1), up.show(1), target]);
    }
    text += &table.finish();
    Ok(text)
}

/// IP bits a second of a relay that sends as many cells as carry this class.
fn ip_bits(class: RateClass) -> u64 {
    class.bits_per_second() * IP_PACKET / SESSION_PACKET
}

/// One and two legs of ours, then of C-tor if it is there.
fn measure(plan: &Plan, rate: Option<RateClass>, progress: &dyn Fn(&str)) -> anyhow::Result<Vec<Rounds>> {
    let servers = Servers::start()?;
    let tor = TorNet::start(rate.map(ip_bits), progress)?;
    let [own_guess, tor_guess] = rate.map_or(GUESSES, |_| [GUESS_LIMITED; 2]);
    let mut all = vec![Rounds::default(), Rounds::default()];
    if tor.is_some() {
        all.extend([Rounds::default(), Rounds::default()]);
    }
    for round in 1..=plan.rounds {
        let say = |name: &str| progress(&format!("{name}, round {round} of {}", plan.rounds));
        for legs in 1..=2_u8 {
            let factor = if rate.is_some() { u64::from(legs) } else { 1 };
            let own = Own::start(&NetConfig { max_rate: rate, ..NetConfig::new(HOPS, legs) })?;
            say(own.name());
            let row = usize::from(legs) - 1;
            all[row].measure(&own, servers, bytes_for(plan, own_guess * factor))?;
            drop(own);
            if let Some(tor) = &tor {
                let client = tor.client(legs)?;
                say(client.name());
                all[row + 2].measure(&client, servers, bytes_for(plan, tor_guess * factor))?;
            }
        }
    }
    Ok(all)
}
