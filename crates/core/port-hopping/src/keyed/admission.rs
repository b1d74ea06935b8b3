//! Which pairs may pass, for which flow, and for how long.

use super::knock::{FlowId, PairCounts, Purpose};
use crate::pair::Pair;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::{Duration, Instant};

/// Most pairs that may pass at a time, about 0.9 MB. When full, the pair that was silent for the longest makes room.
pub const ADMITTED_MAX: usize = 4_096;
/// Most pairs of one flow: the one it left, the one it is on, the ones it tries. When full, its most silent one goes.
pub const FLOW_PAIRS_MAX: usize = 6;
/// How long a pair may be silent. Every packet on it, and every packet sent on it, begins the time anew.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(120);

/// What became of a pair that knocked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admitted {
    /// True if the flow was not known before: it needs a socket towards the target.
    pub new_flow: bool,
    /// The pair that had to go, and the flow that it belonged to.
    pub evicted: Option<(Pair, FlowId)>,
}

/// The pairs that knocked, by pair and by flow.
///
/// Drain it so: [`Admission::admit`] or [`Admission::note_received`] for what came, then [`Admission::poll_ended_flow`] at
/// [`Admission::poll_timeout`] and after each `admit`.
#[derive(Debug)]
pub struct Admission {
    pairs_max: usize,
    idle_timeout: Duration,
    pairs: BTreeMap<Pair, Passing>,
    flows: BTreeMap<FlowId, FlowState>,
    ended: Vec<FlowId>,
    /// No pair can have been silent for too long before this instant.
    check_at: Option<Instant>,
}

#[derive(Debug)]
struct Passing {
    flow: FlowId,
    last: Instant,
    counts: PairCounts,
    /// The number of the last knock that asked for them; 0 before the first.
    asked: u64,
}

#[derive(Debug)]
struct FlowState {
    /// Where the target's answers go.
    answers: Pair,
    pairs: usize,
}

impl Admission {
    /// An empty table. `idle_timeout` is [`IDLE_TIMEOUT`] unless the operator says otherwise.
    pub fn new(idle_timeout: Duration) -> Self {
        Self::with_pairs_max(idle_timeout, ADMITTED_MAX)
    }

    fn with_pairs_max(idle_timeout: Duration, pairs_max: usize) -> Self {
        let (pairs, flows) = (BTreeMap::new(), BTreeMap::new());
        Self { pairs_max, idle_timeout, pairs, flows, ended: Vec::new(), check_at: None }
    }

    /// How many pairs may pass.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// True when no pair may pass.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Whose packets come on this pair; `None` if it has not knocked or was silent for too long.
    pub fn flow_of(&self, now: Instant, pair: &Pair) -> Option<FlowId> {
        let passing = self.pairs.get(pair)?;
        (now.saturating_duration_since(passing.last) < self.idle_timeout).then_some(passing.flow)
    }

    /// The pair on which the target's answers of a flow go out.
    pub fn answers_of(&self, flow: FlowId) -> Option<Pair> {
        self.flows.get(&flow).map(|state| state.answers)
    }

    /// Lets a pair pass that has knocked.
    pub fn admit(&mut self, now: Instant, pair: Pair, flow: FlowId, purpose: Purpose) -> Admitted {
        self.expire(now);
        let mut evicted = None;
        let known = self.pairs.get(&pair).map(|passing| passing.flow);
        if known.is_some_and(|known| known != flow) {
            // The same ports again for another flow: the first one's client is gone.
            self.remove(&pair);
        }
        if known != Some(flow) {
            let crowded = self.flows.get(&flow).is_some_and(|state| state.pairs >= FLOW_PAIRS_MAX);
            if crowded || self.pairs.len() >= self.pairs_max {
                evicted = self.most_silent(crowded.then_some(flow));
            }
            if let Some((pair, _)) = evicted {
                self.remove(&pair);
            }
        }
        let new_flow = !self.flows.contains_key(&flow);
        let state = self.flows.entry(flow).or_insert(FlowState { answers: pair, pairs: 0 });
        if purpose == Purpose::Take {
            state.answers = pair;
        }
        match self.pairs.entry(pair) {
            Entry::Vacant(place) => {
                place.insert(Passing { flow, last: now, counts: PairCounts::default(), asked: 0 });
                state.pairs += 1;
            }
            Entry::Occupied(mut place) => place.get_mut().last = now,
        }
        self.ended.retain(|ended| *ended != flow);
        self.check_at.get_or_insert(now + self.idle_timeout);
        Admitted { new_flow, evicted }
    }

    /// Notes that packets came on a pair; returns whose they are, as [`Admission::flow_of`] does.
    pub fn note_received(&mut self, now: Instant, pair: &Pair, packets: u64) -> Option<FlowId> {
        let passing = self.touch(now, pair)?;
        passing.counts.received = passing.counts.received.saturating_add(packets);
        Some(passing.flow)
    }

    /// Notes that packets of the target were sent on a pair.
    pub fn note_sent(&mut self, now: Instant, pair: &Pair, packets: u64) {
        if let Some(passing) = self.touch(now, pair) {
            passing.counts.sent = passing.counts.sent.saturating_add(packets);
        }
    }

    /// What has passed on a pair; nothing on one that may not pass.
    pub fn counts(&self, pair: &Pair) -> PairCounts {
        self.pairs.get(pair).map_or_else(PairCounts::default, |passing| passing.counts)
    }

    /// A knock on a pair asks for its counts; true if it is the flow's own pair and the knock no replay.
    pub fn accept_count(&mut self, now: Instant, pair: &Pair, flow: FlowId, number: u64) -> bool {
        let passing = self.touch(now, pair).filter(|passing| passing.flow == flow && passing.asked < number);
        passing.map(|passing| passing.asked = number).is_some()
    }

    fn touch(&mut self, now: Instant, pair: &Pair) -> Option<&mut Passing> {
        let passing = self.pairs.get_mut(pair)?;
        if now.saturating_duration_since(passing.last) >= self.idle_timeout {
            return None;
        }
        passing.last = passing.last.max(now);
        Some(passing)
    }

    /// Forgets all pairs of a local port that is closed.
    pub fn close_port(&mut self, port: u16) {
        let closed: Vec<Pair> = self.pairs.keys().filter(|pair| pair.local.port() == port).copied().collect();
        for pair in closed {
            self.remove(&pair);
        }
    }

    /// Forgets a flow whose socket towards the target is gone.
    pub fn end_flow(&mut self, flow: FlowId) {
        let of_flow = self.pairs.iter().filter(|(_, passing)| passing.flow == flow);
        let pairs: Vec<Pair> = of_flow.map(|(pair, _)| *pair).collect();
        for pair in pairs {
            self.remove(&pair);
        }
        self.ended.retain(|ended| *ended != flow);
    }

    /// When to call [`Admission::poll_ended_flow`] at the latest.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.check_at
    }

    /// A flow that has no pair any more: its socket towards the target is to be closed.
    pub fn poll_ended_flow(&mut self, now: Instant) -> Option<FlowId> {
        self.expire(now);
        self.ended.pop()
    }

    fn expire(&mut self, now: Instant) {
        if self.check_at.is_none_or(|check_at| now < check_at) {
            return;
        }
        let silent = |passing: &Passing| now.saturating_duration_since(passing.last) >= self.idle_timeout;
        let expired: Vec<Pair> =
            self.pairs.iter().filter(|(_, passing)| silent(passing)).map(|(pair, _)| *pair).collect();
        for pair in expired {
            self.remove(&pair);
        }
        self.check_at = self.pairs.values().map(|passing| passing.last + self.idle_timeout).min();
    }

    fn most_silent(&self, of: Option<FlowId>) -> Option<(Pair, FlowId)> {
        // The pair that carries a flow's answers goes last of the flow's own.
        let answers = |pair: &Pair, flow: FlowId| of.is_some() && self.answers_of(flow) == Some(*pair);
        let eligible = self.pairs.iter().filter(|(_, passing)| of.is_none_or(|flow| flow == passing.flow));
        let eligible = eligible.filter(|(pair, passing)| !answers(pair, passing.flow));
        eligible.min_by_key(|(_, passing)| passing.last).map(|(pair, passing)| (*pair, passing.flow))
    }

    fn remove(&mut self, pair: &Pair) {
        let Some(passing) = self.pairs.remove(pair) else { return };
        let Some(state) = self.flows.get_mut(&passing.flow) else { return };
        state.pairs -= 1;
        if state.pairs == 0 {
            self.flows.remove(&passing.flow);
            self.ended.push(passing.flow);
        } else if state.answers == *pair {
            let others = self.pairs.iter().filter(|(_, other)| other.flow == passing.flow);
            if let Some((newest, _)) = others.max_by_key(|(_, other)| other.last) {
                state.answers = *newest;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TIMEOUT: Duration = Duration::from_secs(10);

    fn pair(local: u16, remote: u16) -> Pair {
        Pair { local: ([192, 0, 2, 1], local).into(), remote: ([198, 51, 100, 1], remote).into() }
    }

    fn flow(number: u8) -> FlowId {
        FlowId([number; 8])
    }

    #[expect(clippy::disallowed_methods, reason = "an origin for virtual time")]
    fn table(pairs_max: usize) -> (Admission, Instant) {
        (Admission::with_pairs_max(TIMEOUT, pairs_max), Instant::now())
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn defect_a_timeout_that_no_packet_refreshes() {
        let (mut table, start) = table(9);
        assert!(table.admit(start, pair(1, 1), flow(1), Purpose::Try).new_flow);
        for second in 1..100 {
            let now = start + seconds(second);
            assert_eq!(table.note_received(now, &pair(1, 1), 1), Some(flow(1)), "an active pair stays");
            assert_eq!(table.poll_ended_flow(now), None);
        }
        assert_eq!(
            table.note_received(start + seconds(109), &pair(1, 1), 1),
            None,
            "a silent one does not, looked for or not"
        );
        assert_eq!(table.poll_ended_flow(start + seconds(109)), Some(flow(1)));
        assert_eq!((table.poll_ended_flow(start + seconds(109)), table.len()), (None, 0));
    }

    #[test]
    fn defect_indices_that_shift_after_an_expiry() {
        let (mut table, start) = table(9);
        for (number, came) in [(1, 0), (2, 5), (3, 6)] {
            table.admit(
                start + seconds(came),
                pair(number, 7),
                flow(u8::try_from(number).expect("small")),
                Purpose::Try,
            );
        }
        assert_eq!(table.poll_timeout(), Some(start + seconds(10)));
        assert_eq!(table.poll_ended_flow(start + seconds(10)), Some(flow(1)));
        for number in [2, 3] {
            let expected = Some(flow(u8::try_from(number).expect("small")));
            assert_eq!(
                table.note_received(start + seconds(10), &pair(number, 7), 1),
                expected,
                "the others are who they were"
            );
        }
    }

    #[test]
    fn answers_move_when_they_are_asked_to_or_must() {
        let (mut table, start) = table(9);
        table.admit(start, pair(1, 1), flow(1), Purpose::Try);
        assert!(!table.admit(start, pair(2, 2), flow(1), Purpose::Try).new_flow);
        assert_eq!(table.answers_of(flow(1)), Some(pair(1, 1)), "a try moves nothing");
        table.admit(start, pair(2, 2), flow(1), Purpose::Take);
        assert_eq!(table.answers_of(flow(1)), Some(pair(2, 2)));
        table.close_port(2);
        assert_eq!(table.answers_of(flow(1)), Some(pair(1, 1)));
        table.close_port(1);
        assert_eq!((table.answers_of(flow(1)), table.poll_ended_flow(start)), (None, Some(flow(1))));
    }

    #[test]
    fn when_full_the_most_silent_pair_goes() {
        let (mut table, start) = table(3);
        for number in 1..=3u8 {
            table.admit(start + seconds(number.into()), pair(number.into(), 1), flow(number), Purpose::Try);
        }
        table.note_sent(start + seconds(4), &pair(1, 1), 1);
        let admitted = table.admit(start + seconds(5), pair(9, 1), flow(9), Purpose::Try);
        assert_eq!(admitted, Admitted { new_flow: true, evicted: Some((pair(2, 1), flow(2))) });
        assert_eq!((table.len(), table.poll_ended_flow(start + seconds(5))), (3, Some(flow(2))));
    }

    #[test]
    fn a_flow_has_few_pairs_and_keeps_the_one_it_uses() {
        let (mut table, start) = table(99);
        for number in 1..=20u16 {
            table.admit(start + Duration::from_millis(number.into()), pair(number, 1), flow(1), Purpose::Try);
        }
        assert_eq!(table.len(), FLOW_PAIRS_MAX);
        assert_eq!(table.answers_of(flow(1)), Some(pair(1, 1)));
        assert_eq!(table.flow_of(start + seconds(1), &pair(1, 1)), Some(flow(1)));
    }

    #[test]
    fn ports_that_another_flow_had_belong_to_the_new_one() {
        let (mut table, start) = table(9);
        table.admit(start, pair(1, 1), flow(1), Purpose::Try);
        assert!(table.admit(start, pair(1, 1), flow(2), Purpose::Try).new_flow);
        assert_eq!(table.flow_of(start, &pair(1, 1)), Some(flow(2)));
        assert_eq!(table.poll_ended_flow(start), Some(flow(1)));
    }

    #[test]
    fn a_pair_counts_what_passes_and_tells_it_once_for_each_number() {
        let (mut table, start) = table(9);
        assert!(!table.accept_count(start, &pair(1, 1), flow(1), 1), "it has not knocked");
        table.admit(start, pair(1, 1), flow(1), Purpose::Try);
        table.note_received(start, &pair(1, 1), 7);
        table.note_sent(start, &pair(1, 1), 2);
        table.admit(start, pair(1, 1), flow(1), Purpose::Take);
        assert_eq!(
            table.counts(&pair(1, 1)),
            PairCounts { received: 7, sent: 2 },
            "a second knock begins nothing anew"
        );
        for (number, expected) in [(1, true), (1, false), (5, true), (4, false), (6, true)] {
            assert_eq!(table.accept_count(start, &pair(1, 1), flow(1), number), expected, "{number}");
        }
        assert!(!table.accept_count(start, &pair(1, 1), flow(2), 9), "another flow's pair");
        assert!(!table.accept_count(start + TIMEOUT, &pair(1, 1), flow(1), 9), "its time is over");
        assert_eq!(table.counts(&pair(2, 2)), PairCounts::default());
    }

    proptest! {
        #[test]
        fn the_two_tables_agree(steps in proptest::collection::vec((0u8..6, 1u16..5, 1u16..4, 0u8..3, 0u64..6), 0..80)) {
            let (mut table, mut now) = table(5);
            for (what, local, remote, number, passed) in steps {
                now += seconds(passed);
                match what {
                    0 | 1 => {
                        let purpose = if what == 0 { Purpose::Try } else { Purpose::Take };
                        table.admit(now, pair(local, remote), flow(number), purpose);
                        prop_assert_eq!(table.flow_of(now, &pair(local, remote)), Some(flow(number)));
                    }
                    2 => { table.note_received(now, &pair(local, remote), 1); }
                    3 => table.close_port(local),
                    4 => table.end_flow(flow(number)),
                    _ => while let Some(ended) = table.poll_ended_flow(now) {
                        prop_assert_eq!(table.answers_of(ended), None);
                    },
                }
                prop_assert!(table.len() <= 5);
                prop_assert_eq!(table.flows.values().map(|state| state.pairs).sum::<usize>(), table.len());
                for (flow, state) in &table.flows {
                    prop_assert_eq!(table.pairs.get(&state.answers).map(|passing| passing.flow), Some(*flow));
                }
                prop_assert_eq!(table.poll_timeout().is_some(), !table.is_empty() || table.check_at.is_some());
            }
        }
    }
}
