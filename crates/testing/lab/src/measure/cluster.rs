//! A cluster of three `hushwire cluster run` on loopback beside three etcd: acknowledged messages a second, answer times,
//! processor time. Where etcd is not installed its columns stay empty.
//!
//! Both write to the same disk, sync before they acknowledge, speak mutual TLS between nodes, and are asked at the leader. One
//! system rests while the other is measured.

use std::time::Duration;

use super::Plan;
use super::table::{Samples, Table, at_least, at_most, ratios};
use clients::{Form, Load, Served};
use etcd::Etcd;
use nodes::Nodes;

mod clients;
mod etcd;
mod failover;
mod memory;
mod nodes;

pub(super) use failover::section as failover;
pub(super) use memory::section as memory;

/// What is asked of a row, by its load; factors of etcd's throughput in the same run but for the last.
#[derive(Clone, Copy, Debug)]
enum Target {
    None,
    Factor(f64),
    PerSecond(f64),
}

/// Most of etcd's median with one client.
const MEDIAN_SHARE: f64 = 0.6;

/// What is measured.
const LOADS: [(Load, Target); 7] = [
    (Load { form: Form::Frames, clients: 1, value_bytes: 256 }, Target::Factor(1.5)),
    (Load { form: Form::Frames, clients: 64, value_bytes: 256 }, Target::Factor(6.0)),
    (Load { form: Form::Frames, clients: 256, value_bytes: 256 }, Target::Factor(8.0)),
    (Load { form: Form::Lines, clients: 1, value_bytes: 256 }, Target::None),
    (Load { form: Form::Lines, clients: 64, value_bytes: 256 }, Target::Factor(4.0)),
    (Load { form: Form::Lines, clients: 256, value_bytes: 256 }, Target::None),
    (Load { form: Form::Frames, clients: 64, value_bytes: 4096 }, Target::PerSecond(5_000.0)),
];

/// All rounds of one load on one system.
#[derive(Debug, Default)]
struct Rounds {
    per_second: Vec<f64>,
    median_ms: Vec<f64>,
    p99_ms: Vec<f64>,
    /// Processor time of the three nodes for an answer.
    cpu_us: Samples,
    /// Syncs of the three nodes for an answer; none for etcd.
    syncs: Samples,
}

impl Rounds {
    fn push(&mut self, served: &Served, cpu_s: f64, syncs: Option<u64>) {
        let answers = served.answers as f64;
        self.per_second.push(answers / served.lasting.as_secs_f64());
        self.median_ms.push(milliseconds(served.median));
        self.p99_ms.push(milliseconds(served.p99));
        self.cpu_us.push(cpu_s * 1e6 / served.all_answers as f64);
        if let Some(syncs) = syncs {
            self.syncs.push(syncs as f64 / served.all_answers as f64);
        }
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn samples(values: &[f64]) -> Samples {
    values.iter().copied().collect()
}

/// Ours and etcd's for each row of [`LOADS`]; those of one load in different forms share etcd's.
type All = Vec<[Rounds; 2]>;

pub(super) fn section(plan: &Plan, progress: &dyn Fn(&str)) -> anyhow::Result<String> {
    let etcd = Etcd::start(progress)?;
    let nodes = Nodes::start()?;
    let mut all: All = LOADS.iter().map(|_| Default::default()).collect();
    for round in 1..=plan.rounds {
        for ((load, _), [own, theirs]) in LOADS.iter().zip(&mut all) {
            let say = |system: &str| {
                let (rounds, form) = (plan.rounds, load.form.name());
                let Load { clients, value_bytes, .. } = load;
                progress(&format!(
                    "{system}, round {round} of {rounds}: {clients} clients, {value_bytes} bytes, {form}"
                ));
            };
            say("hushwire");
            measure_own(&nodes, *load, plan, own)?;
            // What etcd's clients speak does not differ.
            if let (Some(etcd), Form::Frames) = (&etcd, load.form) {
                say("etcd");
                let before = etcd.watched().cpu_ns();
                let served = etcd.load(load, plan.seconds)?;
                theirs.push(&served, etcd.watched().cpu_since(&before).iter().sum(), None);
            }
        }
    }
    Ok(speeds(plan, &all, etcd.is_some()) + &costs(&all))
}

fn measure_own(nodes: &Nodes, load: Load, plan: &Plan, rounds: &mut Rounds) -> anyhow::Result<()> {
    let (leader, before_syncs) = (nodes.leader()?, nodes.syncs()?);
    let before = nodes.watched().cpu_ns();
    let served = clients::run(nodes.pipe(leader), load, Duration::from_secs(plan.seconds.into()))?;
    let cpu_s = nodes.watched().cpu_since(&before).iter().sum();
    rounds.push(&served, cpu_s, Some(nodes.syncs()? - before_syncs));
    Ok(())
}

/// The row of [`LOADS`] that etcd was measured in for this one.
fn beside<'a>(all: &'a All, load: &Load) -> Option<&'a Rounds> {
    let same = |other: &Load| other.clients == load.clients && other.value_bytes == load.value_bytes;
    let place = LOADS.iter().position(|(other, _)| other.form == Form::Frames && same(other))?;
    all.get(place).map(|[_, theirs]| theirs).filter(|theirs| !theirs.per_second.is_empty())
}

fn name(load: &Load) -> String {
    let who = if load.clients == 1 { "1 client".to_owned() } else { format!("{} clients", load.clients) };
    format!("{who}, {} bytes, {}", load.value_bytes, load.form.name())
}

fn speeds(plan: &Plan, all: &All, has_etcd: bool) -> String {
    let etcd = if has_etcd { "three etcd of the version installed here" } else { "etcd is not installed here" };
    let mut text = format!(
        "## Acknowledged messages\n\nA second of {} s, median (range) of {} rounds in turns; every client has one message on its \
         way. Three `hushwire cluster run`; {etcd}.\n\n",
        plan.seconds, plan.rounds
    );
    let mut table = Table::new(&["load", "Hushwire /s", "etcd /s", "ratio by round", "target"]);
    let mut times = Table::new(&["ms", "Hushwire p50", "etcd p50", "Hushwire p99", "etcd p99", "target"]);
    for ((load, target), [own, _]) in LOADS.iter().zip(all) {
        let (speed, theirs) = (samples(&own.per_second), beside(all, load));
        let show = |values: Option<&[f64]>, decimals| values.map_or("-".to_owned(), |it| samples(it).show(decimals));
        let ratio = theirs.map(|theirs| ratios(&own.per_second, &theirs.per_second));
        let verdict = match (target, &ratio) {
            (Target::Factor(factor), Some(ratio)) => at_least(ratio.median(), *factor, 1),
            (Target::Factor(factor), None) => format!(">= {factor:.1}"),
            (Target::PerSecond(least), _) => at_least(speed.median(), *least, 0),
            (Target::None, _) => String::new(),
        };
        let shown = ratio.map_or("-".to_owned(), |ratio| ratio.show(2));
        table.row(&[name(load), speed.show(0), show(theirs.map(|it| &it.per_second[..]), 0), shown, verdict]);
        let mut bounds = Vec::new();
        if let Some(theirs) = theirs {
            if load.clients == 1 && load.form == Form::Frames {
                let bound = samples(&theirs.median_ms).median() * MEDIAN_SHARE;
                bounds.push(format!("p50 {}", at_most(samples(&own.median_ms).median(), bound, 2)));
            }
            let bound = samples(&theirs.p99_ms).median();
            bounds.push(format!("p99 {}", at_most(samples(&own.p99_ms).median(), bound, 2)));
        }
        times.row(&[
            name(load),
            samples(&own.median_ms).show(2),
            show(theirs.map(|it| &it.median_ms[..]), 2),
            samples(&own.p99_ms).show(2),
            show(theirs.map(|it| &it.p99_ms[..]), 2),
            bounds.join("; "),
        ]);
    }
    text += &table.finish();
    text + &times.finish()
}

fn costs(all: &All) -> String {
    let mut table = Table::new(&["for an answer", "Hushwire, us of CPU", "etcd, us of CPU", "Hushwire, syncs"]);
    for ((load, _), [own, _]) in LOADS.iter().zip(all) {
        let theirs = beside(all, load).map_or("-".to_owned(), |theirs| theirs.cpu_us.show(0));
        table.row(&[name(load), own.cpu_us.show(0), theirs, own.syncs.show(3)]);
    }
    format!("Processor time and syncs are those of all three nodes together.\n\n{}", table.finish())
}
