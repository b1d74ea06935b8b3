//! What happens to the cluster during a run, as a seed says.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rand::Rng;
use rustix::process::Signal;
use simnet::Seed;

use super::rig::{Cluster, Outcome};
use super::run::{PATIENCE, Run};

/// Answers that programs must get before it is said that the cluster is whole again.
const PROGRESS: u64 = 20;
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// kill -9 of a node.
    Kill,
    /// kill -9 of every node.
    KillAll,
    /// SIGSTOP for longer than an election.
    Stop,
    /// A minority and the rest hear nothing of each other.
    Split,
    /// Two nodes hear nothing of each other; all others hear both.
    Apart,
    /// A node is not heard by any other, and hears all.
    Mute,
    /// A node hears nobody, and all others hear it.
    Deaf,
    /// The small disk is full.
    FullDisk,
}

impl Trouble {
    const ALL: [Self; 8] =
        [Self::Kill, Self::Stop, Self::FullDisk, Self::Split, Self::Apart, Self::Mute, Self::Deaf, Self::KillAll];
}

/// One of them, at the leader or at another node, for a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) trouble: Trouble,
    /// Whether the leader is hit; else the node that comes so many behind it.
    behind_leader: usize,
    hold: Duration,
}

/// Each kind once in a round, in an order and with victims that the seed draws. Every other time the leader is hit.
pub(crate) fn schedule(seed: Seed, nodes: usize, round: u64, holds_ms: std::ops::Range<u64>) -> Vec<Step> {
    let mut generator = seed.generator(1_000 + round);
    let mut below = |limit: usize| (generator.next_u64() % limit.max(1) as u64) as usize;
    let mut troubles = Trouble::ALL.to_vec();
    for last in (1..troubles.len()).rev() {
        troubles.swap(last, below(last + 1));
    }
    let mut step = |trouble| {
        let behind_leader = if below(2) == 0 { 0 } else { 1 + below(nodes - 1) };
        let span = holds_ms.end.saturating_sub(holds_ms.start) as usize;
        Step { trouble, behind_leader, hold: Duration::from_millis(holds_ms.start + below(span) as u64) }
    };
    troubles.into_iter().map(&mut step).collect()
}

/// Lets it happen, makes the cluster whole, and waits until programs get answers.
pub(crate) fn play(cluster: &mut Cluster, run: &Run, step: Step) -> Outcome {
    let count = cluster.count();
    let leader = cluster.leader()?;
    let victim = (leader + step.behind_leader) % count;
    let next = (victim + 1) % count;
    let others = |node: usize| (0..count).filter(move |other| *other != node);
    match step.trouble {
        Trouble::Kill => {
            cluster.kill(victim)?;
            std::thread::sleep(step.hold);
            cluster.start(victim)?;
        }
        Trouble::KillAll => {
            (0..count).try_for_each(|node| cluster.kill(node))?;
            std::thread::sleep(step.hold);
            (0..count).try_for_each(|node| cluster.start(node))?;
        }
        Trouble::Stop => {
            cluster.signal(victim, Signal::STOP)?;
            std::thread::sleep(step.hold);
            cluster.signal(victim, Signal::CONT)?;
        }
        Trouble::FullDisk => {
            cluster.fill_disk()?;
            std::thread::sleep(step.hold);
            cluster.free_disk()?;
        }
        Trouble::Split => {
            // The largest minority, the victim in it.
            let minority: Vec<usize> = (0..count.div_ceil(2) - 1).map(|step| (victim + step) % count).collect();
            let crosses = |(from, to): &(usize, usize)| minority.contains(from) != minority.contains(to);
            let all = (0..count).flat_map(|from| (0..count).map(move |to| (from, to)));
            hold_cut(cluster, &all.filter(crosses).collect::<Vec<_>>(), step.hold)?;
        }
        Trouble::Apart => hold_cut(cluster, &[(victim, next), (next, victim)], step.hold)?,
        Trouble::Mute => hold_cut(cluster, &others(victim).map(|to| (victim, to)).collect::<Vec<_>>(), step.hold)?,
        Trouble::Deaf => hold_cut(cluster, &others(victim).map(|from| (from, victim)).collect::<Vec<_>>(), step.hold)?,
    }
    wait_for_progress(cluster, run).with_context(|| format!("after {step:?} at node {victim}, leader {leader}"))
}

fn hold_cut(cluster: &Cluster, directions: &[(usize, usize)], hold: Duration) -> Outcome {
    cluster.cut(directions)?;
    std::thread::sleep(hold);
    cluster.cut(&[])
}

pub(crate) fn wait_for_progress(cluster: &mut Cluster, run: &Run) -> Outcome {
    let (before, began) = (run.acknowledged(), Instant::now());
    while run.acknowledged() < before + PROGRESS {
        cluster.check()?;
        ensure!(began.elapsed() < PATIENCE, "programs get no answers for {PATIENCE:?}");
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(())
}

mod tests {
    use super::*;

    #[test]
    fn a_seed_replays_its_schedule_and_every_trouble_comes_once_in_a_round() {
        let draw = |seed, round| schedule(Seed::new(seed), 5, round, 500..900);
        assert_eq!(draw(1, 0), draw(1, 0));
        assert_ne!(draw(1, 0), draw(2, 0));
        assert_ne!(draw(1, 0), draw(1, 1));
        for step in draw(3, 2) {
            assert!(step.behind_leader < 5 && (500..900).contains(&step.hold.as_millis()), "{step:?}");
        }
        assert!(Trouble::ALL.iter().all(|trouble| draw(4, 0).iter().any(|step| step.trouble == *trouble)));
    }
}
