//! Where a condition stops to hold.

/// Halvings after which any two floats of one sign are neighbours: there are fewer than 2^63 of them.
const STEPS_MAX: u32 = 63;

/// Two neighbouring floats, between which a condition stops to hold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Edge {
    /// The last number for which the condition holds.
    pub(super) inside: f64,
    /// The first for which it does not.
    pub(super) outside: f64,
}

/// The edge of a condition that holds from `low` up to some number, and not from there to `high`. `low` is taken to
/// hold without being asked; where `high` holds, both sides of the edge are `high`.
///
/// It halves the *number of floats* between the two ends, which are 0 or above and finite: so it ends after
/// [`STEPS_MAX`] steps with full precision, however far apart the ends are and however small the answer is.
pub(super) fn edge(low: f64, high: f64, holds: impl Fn(f64) -> bool) -> Edge {
    if holds(high) {
        return Edge { inside: high, outside: high };
    }
    // Floats of one sign are ordered as their bits are.
    let (mut inside, mut outside) = (low.to_bits(), high.to_bits());
    for _ in 0..STEPS_MAX {
        let middle = inside + (outside - inside) / 2;
        if holds(f64::from_bits(middle)) {
            inside = middle;
        } else {
            outside = middle;
        }
    }
    Edge { inside: f64::from_bits(inside), outside: f64::from_bits(outside) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_finds_every_float(bits in 0_u64..f64::MAX.to_bits()) {
            let last = f64::from_bits(bits);
            let found = edge(0.0, f64::MAX, |x| x <= last);
            prop_assert_eq!(found, Edge { inside: last, outside: last.next_up() });
        }
    }

    #[test]
    fn a_condition_that_holds_everywhere_ends_at_the_upper_end() {
        assert_eq!(edge(1.0, 2.0, |_| true), Edge { inside: 2.0, outside: 2.0 });
    }
}
