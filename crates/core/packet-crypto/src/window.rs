//! The replay window of one receiving key (RFC 6479).

/// Packets behind the newest one that are still accepted, each once.
pub const WINDOW: u64 = 8192;
/// One word more than the window, so that the word which the newest counter enters can be cleared.
const WORDS: usize = WINDOW as usize / 64 + 1;

/// Remembers which of the newest [`WINDOW`] counters came. Takes about a kilobyte.
pub struct ReplayWindow {
    /// The lowest counter that is above all accepted ones.
    end: u64,
    bits: [u64; WORDS],
}

impl Default for ReplayWindow {
    fn default() -> Self {
        Self::new()
    }
}

impl ReplayWindow {
    /// A window before the first packet.
    pub fn new() -> Self {
        Self { end: 0, bits: [0; WORDS] }
    }

    /// The lowest counter that is above all accepted ones; 0 before the first.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// True when `counter` is neither too old nor already accepted. Changes nothing: the packet is not yet
    /// authenticated.
    #[inline]
    pub fn is_new(&self, counter: u64) -> bool {
        if counter >= self.end {
            return true;
        }
        self.end - counter <= WINDOW && self.bits[word(counter)] & bit(counter) == 0
    }

    /// Accepts an authenticated counter; true when it is above all before.
    #[inline]
    pub fn accept(&mut self, counter: u64) -> bool {
        let newest = counter >= self.end;
        if newest {
            // Words between the newest counter's old and new place hold bits of counters that left the window.
            let first = if self.end == 0 { 0 } else { (self.end - 1) / 64 + 1 };
            let last = counter / 64;
            for entered in first.max(last.saturating_sub(WORDS as u64 - 1))..=last {
                self.bits[(entered % WORDS as u64) as usize] = 0;
            }
            self.end = counter + 1;
        }
        self.bits[word(counter)] |= bit(counter);
        newest
    }
}

#[inline]
fn word(counter: u64) -> usize {
    (counter / 64 % WORDS as u64) as usize
}

#[inline]
fn bit(counter: u64) -> u64 {
    1 << (counter % 64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// The window by its definition.
    #[derive(Default)]
    struct Oracle {
        accepted: BTreeSet<u64>,
    }

    impl Oracle {
        fn is_new(&self, counter: u64) -> bool {
            let end = self.accepted.last().map_or(0, |newest| newest + 1);
            !self.accepted.contains(&counter) && (counter >= end || end - counter <= WINDOW)
        }
    }

    proptest! {
        #[test]
        fn it_agrees_with_its_definition(steps in proptest::collection::vec((0u8..4, 0u64..20_000), 1..400)) {
            let (mut window, mut oracle, mut front) = (ReplayWindow::new(), Oracle::default(), 0u64);
            for (kind, amount) in steps {
                let counter = match kind {
                    0 => front,
                    1 => front + amount % 70,
                    2 => front + amount,
                    _ => front.saturating_sub(amount % 9000),
                };
                prop_assert_eq!(window.is_new(counter), oracle.is_new(counter), "counter {} front {}", counter, front);
                if oracle.is_new(counter) {
                    prop_assert_eq!(window.accept(counter), counter >= front);
                    oracle.accepted.insert(counter);
                    front = front.max(counter + 1);
                    prop_assert_eq!(window.end(), front);
                }
            }
        }
    }

    #[test]
    fn its_edges_are_exact() {
        let mut window = ReplayWindow::new();
        assert!(window.accept(WINDOW + 63));
        assert!(window.is_new(64), "8191 behind");
        assert!(!window.is_new(63), "8192 behind");
        assert!(!window.accept(64));
        assert!(!window.is_new(64));
        assert!(window.accept(1 << 40), "a far jump forgets everything");
        assert!(!window.is_new(1 << 40));
        assert!(window.is_new((1 << 40) - 1));
    }
}
