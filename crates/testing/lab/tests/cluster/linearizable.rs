//! Whether the calls on one key could have happened one after another, each between its beginning and its answer: the search
//! of Wing and Gong with Lowe's memory of what was tried (Lowe, *Testing for linearizability*, 2017), as Porcupine does it.

use std::collections::HashSet;
use std::time::Duration;

/// A key: its version, and its value if it has one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(crate) version: u64,
    pub(crate) value: Option<u64>,
}

/// What somebody asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Read,
    /// Without a value the key loses its own.
    Put {
        value: Option<u64>,
        if_version: Option<u64>,
    },
}

/// What the answer was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Value(State),
    Changed { version: u64 },
    Differs(State),
}

/// A call on the key. Times count from the beginning of the run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operation {
    pub(crate) call: Call,
    pub(crate) begun: Duration,
    /// Without an answer it may have happened, at any time after its beginning, or not.
    pub(crate) answered: Option<(Duration, Reply)>,
}

/// What the search came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// There is such an order.
    Linearizable,
    /// There is none.
    Violated,
    /// It was given up after so many steps: nothing is known.
    Exceeded,
}

/// Searches for an order, in at most `steps_max` steps.
pub(crate) fn check(history: &[Operation], steps_max: usize) -> Verdict {
    // A read without an answer tells nothing.
    let relevant = |each: &&Operation| each.answered.is_some() || each.call != Call::Read;
    let operations: Vec<&Operation> = history.iter().filter(relevant).collect();
    let mut events = Events::new(&operations);
    let mut done = vec![0_u64; operations.len().div_ceil(64)];
    let mut tried = HashSet::new();
    let mut undo: Vec<(usize, State)> = Vec::new();
    let mut state = State::default();
    let mut at = events.first();
    for _ in 0..steps_max {
        let Some(event) = at else { return Verdict::Linearizable };
        let operation = events.operation(event);
        if events.is_begin(event) {
            if let Some(after) = step(state, operations[operation]) {
                flip(&mut done, operation);
                if tried.insert((done.clone(), after)) {
                    undo.push((event, state));
                    state = after;
                    events.lift(event);
                    at = events.first();
                    continue;
                }
                flip(&mut done, operation);
            }
            at = events.next(event);
        } else {
            // An answer whose call has no place yet: the last choice was wrong.
            let Some((event, before)) = undo.pop() else { return Verdict::Violated };
            state = before;
            flip(&mut done, events.operation(event));
            events.put_back(event);
            at = events.next(event);
        }
    }
    Verdict::Exceeded
}

fn flip(set: &mut [u64], bit: usize) {
    set[bit / 64] ^= 1 << (bit % 64);
}

/// The key after the call, if the answer fits.
fn step(state: State, operation: &Operation) -> Option<State> {
    let reply = operation.answered.map(|(_, reply)| reply);
    let (value, if_version) = match operation.call {
        Call::Read => return (reply == Some(Reply::Value(state))).then_some(state),
        Call::Put { value, if_version } => (value, if_version),
    };
    if if_version.is_some_and(|wanted| wanted != state.version) {
        return matches!(reply, None | Some(Reply::Differs(_)))
            .then_some(state)
            .filter(|_| reply.is_none_or(|reply| reply == Reply::Differs(state)));
    }
    let version = state.version + 1;
    reply.is_none_or(|reply| reply == Reply::Changed { version }).then_some(State { version, value })
}

/// Beginnings and answers in the order of time, from which calls are lifted out and put back. Place 0 is in front of all;
/// place 2n + 1 is the beginning of operation n, the next one its answer.
struct Events {
    next: Vec<usize>,
    before: Vec<usize>,
}

impl Events {
    fn new(operations: &[&Operation]) -> Self {
        let mut times: Vec<(Duration, bool, usize)> = Vec::new();
        for (number, operation) in operations.iter().enumerate() {
            times.push((operation.begun, false, 2 * number + 1));
            // An unanswered call that did not happen is one that comes last, where it changes nothing for anybody.
            let answered = operation.answered.map_or(Duration::MAX, |(at, _)| at);
            times.push((answered, true, 2 * number + 2));
        }
        // Of two at the same time the beginning comes first, so that both overlap: nothing is called wrong without need.
        times.sort_unstable();
        let mut events = Self { next: vec![0; 2 * operations.len() + 1], before: vec![0; 2 * operations.len() + 1] };
        let mut last = 0;
        for (_, _, place) in times {
            events.next[last] = place;
            events.before[place] = last;
            last = place;
        }
        events
    }

    fn operation(&self, place: usize) -> usize {
        (place - 1) / 2
    }

    fn is_begin(&self, place: usize) -> bool {
        place % 2 == 1
    }

    fn first(&self) -> Option<usize> {
        self.next(0)
    }

    fn next(&self, place: usize) -> Option<usize> {
        Some(self.next[place]).filter(|next| *next != 0)
    }

    /// Takes a call out: its beginning and its answer.
    fn lift(&mut self, begin: usize) {
        for place in [begin, begin + 1] {
            let (before, next) = (self.before[place], self.next[place]);
            self.next[before] = next;
            self.before[next] = before;
        }
    }

    /// The reverse, in the reverse order of lifting.
    fn put_back(&mut self, begin: usize) {
        for place in [begin + 1, begin] {
            let (before, next) = (self.before[place], self.next[place]);
            self.next[before] = place;
            self.before[next] = place;
        }
    }
}

mod tests {
    use super::*;
    use rand::Rng;
    use simnet::Seed;

    const STEPS: usize = 100_000;

    fn operation(call: Call, begun: u64, answered: Option<(u64, Reply)>) -> Operation {
        let answered = answered.map(|(at, reply)| (Duration::from_millis(at), reply));
        Operation { call, begun: Duration::from_millis(begun), answered }
    }

    fn put(value: u64, begun: u64, answered: Option<(u64, u64)>) -> Operation {
        let answered = answered.map(|(at, version)| (at, Reply::Changed { version }));
        operation(Call::Put { value: Some(value), if_version: None }, begun, answered)
    }

    fn read(version: u64, value: Option<u64>, begun: u64, at: u64) -> Operation {
        operation(Call::Read, begun, Some((at, Reply::Value(State { version, value }))))
    }

    fn compare_and_set(value: u64, if_version: u64, begun: u64, answered: Option<(u64, Reply)>) -> Operation {
        operation(Call::Put { value: Some(value), if_version: Some(if_version) }, begun, answered)
    }

    #[test]
    fn what_overlaps_may_have_either_order() {
        let first = put(7, 0, Some((10, 1)));
        for seen in [read(0, None, 5, 6), read(1, Some(7), 5, 6), read(1, Some(7), 10, 12)] {
            assert_eq!(check(&[first, seen], STEPS), Verdict::Linearizable, "{seen:?}");
        }
        assert_eq!(check(&[], STEPS), Verdict::Linearizable);
    }

    #[test]
    fn a_stale_read_is_found() {
        let history = [put(7, 0, Some((10, 1))), put(8, 20, Some((30, 2))), read(1, Some(7), 40, 50)];
        assert_eq!(check(&history, STEPS), Verdict::Violated);
        // Two reads one after the other never go back, though the write overlaps both.
        let history = [put(7, 0, Some((90, 1))), read(1, Some(7), 10, 20), read(0, None, 30, 40)];
        assert_eq!(check(&history, STEPS), Verdict::Violated);
    }

    #[test]
    fn a_lost_write_and_one_that_counts_twice_are_found() {
        let lost = [put(7, 0, Some((10, 1))), put(8, 20, Some((30, 1)))];
        assert_eq!(check(&lost, STEPS), Verdict::Violated);
        let twice = [put(7, 0, Some((10, 1))), read(2, Some(7), 20, 30)];
        assert_eq!(check(&twice, STEPS), Verdict::Violated);
    }

    #[test]
    fn two_winners_of_one_comparison_are_found() {
        let won = |value, version, at| compare_and_set(value, 0, 0, Some((at, Reply::Changed { version })));
        assert_eq!(check(&[won(1, 1, 10), won(2, 1, 10)], STEPS), Verdict::Violated);
        let told = Reply::Differs(State { version: 1, value: Some(1) });
        let second = compare_and_set(2, 0, 0, Some((10, told)));
        assert_eq!(check(&[won(1, 1, 10), second], STEPS), Verdict::Linearizable);
        let wrong = Reply::Differs(State { version: 0, value: None });
        assert_eq!(check(&[compare_and_set(2, 0, 0, Some((10, wrong)))], STEPS), Verdict::Violated);
    }

    #[test]
    fn a_call_without_an_answer_may_have_happened_late_or_never() {
        let unanswered = put(7, 0, None);
        let before = read(0, None, 100, 110);
        let after = read(1, Some(7), 200, 210);
        assert_eq!(check(&[unanswered, before], STEPS), Verdict::Linearizable);
        assert_eq!(check(&[unanswered, before, after], STEPS), Verdict::Linearizable);
        let back = read(0, None, 300, 310);
        assert_eq!(check(&[unanswered, before, after, back], STEPS), Verdict::Violated);
    }

    #[test]
    fn a_search_that_is_too_long_says_so() {
        let mut history: Vec<Operation> = (0..20).map(|value| put(value, 0, None)).collect();
        history.push(read(3, Some(99), 10, 20));
        assert_eq!(check(&history, 1_000), Verdict::Exceeded);
    }

    /// Histories of few calls, checked by trying every order.
    #[test]
    fn it_agrees_with_trying_every_order() {
        let seed = Seed::new(11).or_environment();
        let _guard = seed.announce();
        let mut generator = seed.generator(0);
        let mut below = |limit: u64| generator.next_u64() % limit;
        let mut counts = [0; 2];
        for _ in 0..3_000 {
            let mut history = Vec::new();
            for number in 0..5 {
                let (begun, long) = (below(12), below(8));
                let state =
                    State { version: below(3), value: Some(below(2)).filter(|value| *value == 0).or(Some(number)) };
                let state = if state.version == 0 { State::default() } else { state };
                let if_version = Some(below(3)).filter(|version| *version < 2);
                let (call, reply) = match below(3) {
                    0 => (Call::Read, Reply::Value(state)),
                    1 if if_version.is_some() => (Call::Put { value: Some(number), if_version }, Reply::Differs(state)),
                    _ => (Call::Put { value: Some(number), if_version }, Reply::Changed { version: 1 + below(3) }),
                };
                let answered = Some((begun + long, reply)).filter(|_| below(3) > 0);
                history.push(operation(call, begun, answered));
            }
            let expected = exists_order(&history, State::default());
            let verdict = if expected { Verdict::Linearizable } else { Verdict::Violated };
            assert_eq!(check(&history, STEPS), verdict, "{history:?}");
            counts[usize::from(expected)] += 1;
        }
        assert!(counts.iter().all(|count| *count > 100), "both happen: {counts:?}");
    }

    fn exists_order(rest: &[Operation], state: State) -> bool {
        if rest.iter().all(|operation| operation.answered.is_none()) {
            return true;
        }
        let first_end = rest.iter().filter_map(|operation| operation.answered).map(|(at, _)| at).min();
        rest.iter().enumerate().any(|(number, operation)| {
            if first_end.is_some_and(|end| operation.begun > end) {
                return false;
            }
            let mut others = rest.to_vec();
            others.remove(number);
            step(state, operation).is_some_and(|after| exists_order(&others, after))
        })
    }
}
