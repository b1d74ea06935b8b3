//! Each knock counts once.

use super::knock::KnockNonce;
use super::schedule::Window;
use std::collections::{BTreeMap, BTreeSet};

/// Most knocks of one window: 546 a second. When they are used up, further knocks of that window are refused, so what
/// can be refused is the coming of a pair, never the finding of a replay. Only a holder of the key can get there.
pub const KNOCKS_A_WINDOW_MAX: usize = 16_384;

/// How many windows away from the present one are still remembered, so that a clock set back by less opens nothing.
const REMEMBERED: u64 = 3;

/// Remembers the nonces of accepted knocks for as long as their window is accepted, and a little longer.
///
/// A server that restarts has forgotten them: for up to 90 s a recorded knock can then let in the pair that it is sent
/// on. That pair gets no byte that the sender could not have watched, and what it injects the target's protocol must
/// refuse, as on any path.
#[derive(Debug, Default)]
pub struct Replays {
    seen: BTreeMap<Window, BTreeSet<KnockNonce>>,
}

impl Replays {
    /// Says whether this knock, sealed in `window`, is a new one, and forgets what is long over.
    pub fn accept(&mut self, now: Window, window: Window, nonce: KnockNonce) -> bool {
        self.seen.retain(|seen, _| seen.0.abs_diff(now.0) <= REMEMBERED);
        if !now.accepted().contains(&window) {
            return false;
        }
        let seen = self.seen.entry(window).or_default();
        seen.len() < KNOCKS_A_WINDOW_MAX && seen.insert(nonce)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nonce(number: u32) -> KnockNonce {
        let mut nonce = [0; 12];
        nonce[..4].copy_from_slice(&number.to_be_bytes());
        nonce
    }

    #[test]
    fn a_knock_counts_once_as_long_as_its_window_does() {
        let mut replays = Replays::default();
        assert!(replays.accept(Window(5), Window(5), nonce(1)));
        for now in [5, 6, 4, 5] {
            assert!(!replays.accept(Window(now), Window(5), nonce(1)), "{now}");
        }
        assert!(replays.accept(Window(5), Window(6), nonce(1)), "another key");
        assert!(!replays.accept(Window(5), Window(7), nonce(2)) && !replays.accept(Window(5), Window(3), nonce(2)));
        assert!(!replays.accept(Window(7), Window(5), nonce(1)));
        assert!(!replays.accept(Window(5), Window(6), nonce(1)), "the clock was set back");
        assert!(replays.accept(Window(9), Window(9), nonce(1)));
        assert_eq!(replays.seen.keys().copied().collect::<Vec<_>>(), [Window(6), Window(9)]);
    }

    #[test]
    fn a_window_has_a_bound_and_the_next_one_its_own() {
        let mut replays = Replays::default();
        let count = u32::try_from(KNOCKS_A_WINDOW_MAX).expect("small");
        assert!((0..count).all(|number| replays.accept(Window(5), Window(5), nonce(number))));
        assert!(!replays.accept(Window(5), Window(5), nonce(count)));
        assert!(!replays.accept(Window(5), Window(5), nonce(0)));
        assert!(replays.accept(Window(5), Window(6), nonce(count)));
    }
}
