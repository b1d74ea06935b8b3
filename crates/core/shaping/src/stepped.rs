//! Mode `stepped`: one of a few classes, chosen anew at slow public edges by any rule at all.
//!
//! What an observer can learn is the choice and nothing else: of R classes, at n edges, in d directions, one of R^(n d)
//! sequences. The chance of guessing anything about the traffic grows at most by that factor, `n d log2 R` bits of maximal
//! leakage, whatever the rule looks at. So the rule here looks at the queue. Edges and choices are counted; the
//! accountant makes bits of them.

use self::rule::Period;
use crate::breaker::UP_EDGE_S;
use crate::class::RateClass;
use crate::edge::Edges;
use thiserror::Error;

mod rule;

/// Most classes to choose from. More would cost more bits an edge and gain little: sixteen are four bits.
pub const STEPPED_CLASSES_MAX: usize = 16;

/// Classes that make no choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SteppedError {
    /// One class is no choice, none is no rate.
    #[error("stepped needs at least 2 different classes, not {0}; for one rate use mode constant")]
    TooFew(usize),
    /// More than [`STEPPED_CLASSES_MAX`].
    #[error("stepped takes at most {STEPPED_CLASSES_MAX} classes, not {0}")]
    TooMany(usize),
    /// The first class is not one of the choices.
    #[error("the initial class of {0} is not one of the classes to choose from")]
    Initial(RateClass),
}

/// The classes to choose from and the one to begin with. Public and the same for a whole network, so that a class names
/// a crowd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SteppedParameters {
    classes: Vec<RateClass>,
    initial: RateClass,
}

impl SteppedParameters {
    /// Takes the classes in any order; one that is given twice counts once.
    pub fn new(classes: &[RateClass], initial: RateClass) -> Result<Self, SteppedError> {
        let mut classes = classes.to_vec();
        classes.sort_unstable();
        classes.dedup();
        match classes.len() {
            few @ 0..=1 => Err(SteppedError::TooFew(few)),
            many if many > STEPPED_CLASSES_MAX => Err(SteppedError::TooMany(many)),
            _ if !classes.contains(&initial) => Err(SteppedError::Initial(initial)),
            _ => Ok(Self { classes, initial }),
        }
    }

    /// R, the number of classes.
    pub fn choices(&self) -> u32 {
        self.classes.len() as u32
    }

    /// The class to begin with.
    pub fn initial(&self) -> RateClass {
        self.initial
    }

    /// The classes, slowest first.
    pub fn classes(&self) -> &[RateClass] {
        &self.classes
    }
}

/// An edge was passed. It goes into [`Stepped::release`] at once.
#[must_use = "without a release the class cannot change"]
#[derive(Debug)]
pub struct StepEdge {
    /// Seconds since the last edge or the start, 1..=300.
    period_s: u64,
}

/// One direction's class in mode `stepped`.
///
/// Tell it of backlog and use as often as you like, always from the slot clock; call [`Stepped::poll`] from it too and
/// give what it returns to [`Stepped::release`]. Between edges the class never changes.
#[derive(Debug)]
pub struct Stepped {
    parameters: SteppedParameters,
    edges: Edges,
    class: RateClass,
    period: Period,
    since_s: u64,
    released: u64,
    held: u64,
}

impl Stepped {
    /// Starts at the initial class, which is public.
    pub fn new(parameters: SteppedParameters, unix_s: u64) -> Self {
        let class = parameters.initial;
        let edges = Edges::new(UP_EDGE_S, unix_s);
        Self { parameters, edges, class, period: Period::default(), since_s: unix_s, released: 0, held: 0 }
    }

    /// The class in force. Public.
    pub fn class(&self) -> RateClass {
        self.class
    }

    /// R: each released edge costs log2 of it in bits.
    pub fn choices(&self) -> u32 {
        self.parameters.choices()
    }

    /// Edges at which the class was chosen, whether or not it changed. Each has cost log2 R bits.
    pub fn released(&self) -> u64 {
        self.released
    }

    /// Edges at which the class stayed because no grant was there. They cost nothing.
    pub fn held(&self) -> u64 {
        self.held
    }

    /// Takes the bytes that wait for slots at this moment. A secret, as is what follows from it before an edge.
    pub fn handle_backlog(&mut self, bytes: u64) {
        self.period.handle_backlog(bytes, self.class);
    }

    /// Takes the bytes of session packets that left since the last call.
    pub fn handle_sent(&mut self, bytes: u64) {
        self.period.handle_sent(bytes);
    }

    /// Reports an edge, a multiple of 300 s of UTC, that was passed since the last call. Several at once are one: the class
    /// was chosen once for all of them.
    pub fn poll(&mut self, unix_s: u64) -> Option<StepEdge> {
        self.edges.poll(unix_s)?;
        let period_s = unix_s.saturating_sub(self.since_s).clamp(1, UP_EDGE_S);
        self.since_s = unix_s;
        Some(StepEdge { period_s })
    }

    /// Chooses the class until the next edge if the accountant has granted `log2 R` bits; without a grant the class stays.
    /// Begins the next period of the rule in any case.
    pub fn release(&mut self, edge: StepEdge, granted: bool) -> RateClass {
        let period = std::mem::take(&mut self.period);
        if granted {
            self.released += 1;
            self.class = period.choose(self.class, self.parameters.classes(), edge.period_s);
        } else {
            self.held += 1;
        }
        self.class
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(bits: u64) -> RateClass {
        RateClass::at_least(bits).expect("an existing class")
    }

    fn four() -> Vec<RateClass> {
        [10_000_000, 256_000, 50_000_000, 2_000_000].map(class).to_vec()
    }

    fn stepped() -> Stepped {
        let parameters = SteppedParameters::new(&four(), class(2_000_000)).expect("they fit");
        Stepped::new(parameters, 1_000)
    }

    #[test]
    fn a_choice_needs_two_classes() {
        let one = class(256_000);
        assert_eq!(SteppedParameters::new(&[one, one], one), Err(SteppedError::TooFew(1)));
        assert_eq!(SteppedParameters::new(&[], one), Err(SteppedError::TooFew(0)));
        let many: Vec<_> = (0..17).filter_map(|number| RateClass::new(number).ok()).collect();
        assert_eq!(SteppedParameters::new(&many, one), Err(SteppedError::TooMany(17)));
        let other = class(1_000_000);
        assert_eq!(SteppedParameters::new(&four(), other), Err(SteppedError::Initial(other)));
        let sorted = SteppedParameters::new(&four(), one).map(|set| (set.choices(), set.classes().to_vec()));
        let expected = [256_000, 2_000_000, 10_000_000, 50_000_000].map(class).to_vec();
        assert_eq!(sorted, Ok((4, expected)));
    }

    #[test]
    fn the_class_changes_at_edges_only() {
        let mut stepped = stepped();
        for unix_s in 1_000..1_200 {
            stepped.handle_backlog(100_000_000);
            assert!(stepped.poll(unix_s).is_none());
            assert_eq!(stepped.class(), class(2_000_000));
        }
        let edge = stepped.poll(1_200).expect("an edge");
        assert_eq!(stepped.release(edge, true), class(10_000_000));
        assert!(stepped.poll(1_200).is_none() && stepped.poll(1_499).is_none());
        assert_eq!((stepped.released(), stepped.choices()), (1, 4));
    }

    #[test]
    fn an_edge_costs_bits_whether_or_not_the_class_changes_and_nothing_without_a_grant() {
        let mut stepped = stepped();
        let edge = stepped.poll(1_200).expect("an edge");
        assert_eq!(stepped.release(edge, true), class(2_000_000), "nothing was seen, so nothing changes");
        stepped.handle_backlog(100_000_000);
        let edge = stepped.poll(1_500).expect("an edge");
        assert_eq!(stepped.release(edge, false), class(2_000_000));
        let edge = stepped.poll(1_800).expect("an edge");
        assert_eq!(stepped.release(edge, true), class(2_000_000), "what was seen before the last edge is forgotten");
        assert_eq!((stepped.released(), stepped.held()), (2, 1));
    }

    #[test]
    fn a_clock_that_jumps_makes_one_choice() {
        let mut stepped = stepped();
        stepped.handle_backlog(100_000_000);
        let edge = stepped.poll(90_000).expect("an edge");
        assert_eq!(stepped.release(edge, true), class(10_000_000));
        assert!(stepped.poll(89_999).is_none() && stepped.poll(2_000).is_none());
        assert_eq!(stepped.released(), 1);
    }
}
