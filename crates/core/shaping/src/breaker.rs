//! The circuit breaker of a shaped link (RFC 8084; docs/spec/link.md, "Reports and breaker").
//!
//! A schedule that does not react to loss would press on through a path that cannot carry it. The breaker
//! lowers the class by one when the link's own reports show loss above a public bound over ten seconds, and
//! tries the next class up at a slow public edge. Its inputs count cells of all kinds, so data reaches
//! it only by congestion on the same line.

use crate::class::RateClass;

/// Loss in thousandths above which the class steps down. Public, network-wide.
pub const LOSS_BOUND_PER_MILLE: u16 = 200;
/// Steps down happen only at whole multiples of this many seconds of UTC.
pub const DOWN_EDGE_S: u64 = 5;
/// Steps up happen only at whole multiples of this many seconds of UTC.
pub const UP_EDGE_S: u64 = 300;
/// Loss figures younger than this many seconds after a step are of the class before it.
const SETTLE_S: u64 = 10;

/// The class that a link may use now, at most the configured one.
#[derive(Debug, Clone)]
pub struct Breaker {
    configured: RateClass,
    present: RateClass,
    /// Worst loss since the last step down was considered.
    loss_per_mille: u16,
    down_edge: u64,
    up_edge: u64,
    stepped_at_s: u64,
    steps_down: u64,
}

impl Breaker {
    /// Starts at the configured class.
    pub fn new(configured: RateClass, unix_s: u64) -> Self {
        Self {
            configured,
            present: configured,
            loss_per_mille: 0,
            down_edge: unix_s / DOWN_EDGE_S,
            up_edge: unix_s / UP_EDGE_S,
            stepped_at_s: unix_s,
            steps_down: 0,
        }
    }

    /// The class in force.
    pub fn class(&self) -> RateClass {
        self.present
    }

    /// The class asked for.
    pub fn configured(&self) -> RateClass {
        self.configured
    }

    /// Steps down so far.
    pub fn steps_down(&self) -> u64 {
        self.steps_down
    }

    /// Takes the link's measured loss over the last ten seconds, in thousandths.
    pub fn handle_loss(&mut self, per_mille: u16, unix_s: u64) {
        if unix_s >= self.stepped_at_s + SETTLE_S {
            self.loss_per_mille = per_mille;
        }
    }

    /// The new class when an edge was passed at which it changes. Call it often, from a clock only. `in_force`: the class
    /// that the loss was measured at, where a schedule uses a slower one than this allows.
    pub fn poll(&mut self, unix_s: u64, in_force: RateClass) -> Option<RateClass> {
        let (down_edge, up_edge) = (unix_s / DOWN_EDGE_S, unix_s / UP_EDGE_S);
        let (at_down, at_up) = (down_edge > self.down_edge, up_edge > self.up_edge);
        self.down_edge = self.down_edge.max(down_edge);
        self.up_edge = self.up_edge.max(up_edge);
        let next = if at_down && self.loss_per_mille > LOSS_BOUND_PER_MILLE {
            self.steps_down += 1;
            self.present.min(in_force).slower()?
        } else if at_up && self.present < self.configured && self.loss_per_mille <= LOSS_BOUND_PER_MILLE {
            self.present.faster()?
        } else {
            return None;
        };
        self.present = next;
        self.stepped_at_s = unix_s;
        self.loss_per_mille = 0;
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(number: u8) -> RateClass {
        RateClass::new(number).expect("the tests use existing classes")
    }

    /// At a constant schedule, which uses what it may.
    fn poll(breaker: &mut Breaker, unix_s: u64) -> Option<RateClass> {
        breaker.poll(unix_s, breaker.class())
    }

    #[test]
    fn a_schedule_below_the_limit_steps_down_from_where_it_is() {
        let mut breaker = Breaker::new(class(20), 0);
        breaker.handle_loss(900, 20);
        assert_eq!(breaker.poll(20, class(8)), Some(class(7)));
    }

    #[test]
    fn it_steps_down_at_edges_only_and_up_slowly() {
        let mut breaker = Breaker::new(class(20), 1_000);
        breaker.handle_loss(900, 1_009);
        assert_eq!(poll(&mut breaker, 1_009), None, "loss of the first ten seconds does not count");
        assert_eq!(poll(&mut breaker, 1_010), None);
        breaker.handle_loss(201, 1_012);
        assert_eq!(poll(&mut breaker, 1_014), None, "not at an edge");
        assert_eq!(poll(&mut breaker, 1_015), Some(class(19)));
        assert_eq!(poll(&mut breaker, 1_015), None, "once per edge");
        breaker.handle_loss(900, 1_020);
        assert_eq!(poll(&mut breaker, 1_020), None, "figures of the old class");
        breaker.handle_loss(0, 1_030);
        assert_eq!(poll(&mut breaker, 1_030), None);
        assert_eq!(poll(&mut breaker, 1_199), None);
        assert_eq!(poll(&mut breaker, 1_200), Some(class(20)), "up at a 300 s edge");
        assert_eq!(poll(&mut breaker, 1_500), None, "never above the configured class");
        assert_eq!((breaker.configured(), breaker.steps_down()), (class(20), 1));
    }

    #[test]
    fn the_bound_itself_is_tolerated_and_the_slowest_class_is_the_floor() {
        let mut breaker = Breaker::new(RateClass::SLOWEST, 0);
        breaker.handle_loss(LOSS_BOUND_PER_MILLE, 20);
        assert_eq!(poll(&mut breaker, 20), None);
        breaker.handle_loss(LOSS_BOUND_PER_MILLE + 1, 21);
        assert_eq!(poll(&mut breaker, 25), None);
        assert_eq!(breaker.class(), RateClass::SLOWEST);
    }

    #[test]
    fn a_clock_that_goes_back_changes_nothing() {
        let mut breaker = Breaker::new(class(9), 10_000);
        breaker.handle_loss(500, 10_020);
        assert_eq!(poll(&mut breaker, 9_000), None);
        assert_eq!(poll(&mut breaker, 10_000), None);
        assert_eq!(breaker.class(), class(9));
    }
}
