//! Public edges: whole multiples of a length in UTC seconds, each passed once.

/// A clock that lies this many edges or more before the last one passed has been set right, and edges are counted from
/// where it is now. A smaller step back is waited out.
const SET_BACK_EDGES: u64 = 2;

/// Tells when an edge was passed. Time only ever moves it forward by one report, however far the clock jumped.
#[derive(Debug, Clone)]
pub(crate) struct Edges {
    length_s: u64,
    number: u64,
    set_back: u64,
}

/// An edge was passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Passed {
    /// Further edges that went by without a poll between them: the machine slept, or its clock jumped.
    pub(crate) missed: u64,
}

impl Edges {
    /// Edges at multiples of `length_s` seconds, at least 1; the next one is the first after `unix_s`.
    pub(crate) fn new(length_s: u64, unix_s: u64) -> Self {
        Self { length_s, number: unix_s / length_s, set_back: 0 }
    }

    /// Reports an edge that was passed since the last call.
    pub(crate) fn poll(&mut self, unix_s: u64) -> Option<Passed> {
        let number = unix_s / self.length_s;
        if number > self.number {
            let missed = number - self.number - 1;
            self.number = number;
            return Some(Passed { missed });
        }
        // Without this a clock that was ahead for a moment would stop all edges until its error has passed.
        if self.number - number >= SET_BACK_EDGES {
            self.number = number;
            self.set_back += 1;
        }
        None
    }

    /// How often the clock was set back far enough for edges to be counted anew.
    pub(crate) fn set_back(&self) -> u64 {
        self.set_back
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_edge_is_passed_once() {
        let mut edges = Edges::new(5, 1_003);
        assert_eq!(edges.poll(1_004), None);
        assert_eq!(edges.poll(1_005), Some(Passed { missed: 0 }));
        assert_eq!(edges.poll(1_005), None);
        assert_eq!(edges.poll(1_009), None);
        assert_eq!(edges.poll(1_010), Some(Passed { missed: 0 }));
    }

    #[test]
    fn a_jump_forward_is_one_edge() {
        let mut edges = Edges::new(5, 1_000);
        assert_eq!(edges.poll(4_600), Some(Passed { missed: 719 }));
        assert_eq!(edges.poll(4_604), None);
    }

    #[test]
    fn a_small_step_back_repeats_no_edge() {
        let mut edges = Edges::new(5, 1_000);
        assert_eq!(edges.poll(1_005), Some(Passed { missed: 0 }));
        assert_eq!(edges.poll(1_003), None);
        assert_eq!(edges.poll(1_006), None, "this edge was passed before the step");
        assert_eq!(edges.poll(1_010), Some(Passed { missed: 0 }));
        assert_eq!(edges.set_back(), 0);
    }

    #[test]
    fn a_clock_that_was_far_ahead_does_not_stop_the_edges() {
        let mut edges = Edges::new(5, 1_000);
        assert_eq!(edges.poll(1_000_000), Some(Passed { missed: 199_799 }));
        assert_eq!(edges.poll(1_001), None);
        assert_eq!(edges.set_back(), 1);
        assert_eq!(edges.poll(1_004), None);
        assert_eq!(edges.poll(1_005), Some(Passed { missed: 0 }));
    }
}
