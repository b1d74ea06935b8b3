//! Whether guards build what they are asked for. That one answers says little: its circuits may come to nothing all the same.

use super::Shared;
use identity::NodeId;
use link::Now;
use std::collections::BTreeMap;
use std::time::Instant;

/// Circuits in a row that do not get past a guard, while others' do, before it counts as failed.
const STUCK_MAX: u32 = 3;

/// What became of circuits through each guard that is in use. There are as many as the set has guards.
#[derive(Default)]
pub(super) struct Builds {
    /// When the last one was whole.
    whole: BTreeMap<NodeId, Instant>,
    /// How many in a row did not get past it, and since when.
    stuck: BTreeMap<NodeId, (u32, Instant)>,
}

impl Shared {
    /// A circuit through a guard has all its hops.
    pub(super) fn note_whole(&mut self, now: Instant, guard: &NodeId) {
        self.guards.handle_built(guard);
        let listed: Vec<NodeId> = self.guards.status().map(|status| status.node_id).collect();
        self.builds.whole.retain(|guard, _| listed.contains(guard));
        self.builds.stuck.retain(|guard, _| listed.contains(guard));
        self.builds.stuck.remove(guard);
        if listed.contains(guard) {
            self.builds.whole.insert(*guard, now);
        }
    }

    /// The hop behind a guard did not come. Mostly that is the hop's fault; if it happens again and again, and not to others, it is the
    /// guard's. While nobody builds anything no guard is blamed: it is not known which one would be better.
    pub(super) fn note_stuck(&mut self, now: Now, guard: &NodeId) {
        let Builds { whole, stuck } = &mut self.builds;
        let (times, since) = stuck.entry(*guard).or_insert((0, now.instant));
        *times += 1;
        let others_build = whole.iter().any(|(other, at)| other != guard && *at >= *since);
        if *times >= STUCK_MAX && others_build {
            stuck.remove(guard);
            self.guards.handle_failed(now.unix_s, guard, &mut self.rng);
        }
    }
}
