//! What a client costs that carries nothing.

use std::time::Duration;

use super::system::{Own, System};
use super::{HOPS, profile_note};
use crate::circuits::NetConfig;
use crate::measure::Plan;
use crate::measure::table::{Samples, Table, at_most};

/// After the start, before it counts.
const SETTLES: Duration = Duration::from_secs(5);
/// Most of one core, in hundredths.
const MOST: f64 = 1.0;
/// So many times the length of a transfer are watched.
const LENGTHS: u32 = 6;

pub(in crate::measure) fn section(plan: &Plan, progress: &dyn Fn(&str)) -> anyhow::Result<String> {
    let length = Duration::from_secs(u64::from(plan.seconds * LENGTHS));
    let mut all = [Samples::default(), Samples::default(), Samples::default()];
    for round in 1..=plan.rounds {
        progress(&format!("idle, round {round} of {}", plan.rounds));
        let own = Own::start(&NetConfig::new(HOPS, 2))?;
        std::thread::sleep(SETTLES);
        let costs = own.costs()?;
        let relays = costs.relays.0.len().max(1) as f64;
        let ((), spent) = costs.of(|| {
            std::thread::sleep(length);
            Ok(())
        })?;
        let share = |seconds: f64| seconds / length.as_secs_f64() * 100.0;
        let of_each = [spent.client, spent.relays / relays, spent.exits].map(share);
        all.iter_mut().zip(of_each).for_each(|(all, one)| all.push(one));
    }
    let mut table = Table::new(&["% of one core", "median (range)", "target"]);
    let [client, relay, exit] = &all;
    table.row(&["client".to_owned(), client.show(2), at_most(client.median(), MOST, 0)]);
    table.row(&["each relay".to_owned(), relay.show(2), String::new()]);
    table.row(&["exit".to_owned(), exit.show(2), String::new()]);
    let text = format!(
        "## Idle\n\n{}A tunnel of two legs of {HOPS} hops that carries nothing, {} s.\n\n",
        profile_note(),
        length.as_secs()
    );
    Ok(text + &table.finish())
}
