//! The committed corpora, for `cargo test`. Each `tests/corpus.rs` includes this file by its path: a crate for it would be a
//! dependency of every core.

use std::fs;
use std::path::Path;

/// The inputs of a target, of which there are at least `least`.
#[allow(clippy::disallowed_methods, reason = "the corpus is files; no core opens one")]
pub(crate) fn inputs(target: &str, least: usize) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../fuzz/corpus").join(target);
    let files = fs::read_dir(&folder).expect("the corpus is committed");
    let inputs: Vec<_> =
        files.map(|file| fs::read(file.expect("a readable folder").path()).expect("a readable file")).collect();
    assert!(inputs.len() >= least, "{} has {} inputs", folder.display(), inputs.len());
    inputs
}

/// What is made of every input beside itself: cut at places, and with one byte changed there.
#[allow(dead_code, reason = "some tests take the inputs as they are")]
pub(crate) struct Variations {
    /// From one place to the next.
    pub(crate) step: usize,
    /// Places at most.
    pub(crate) places_max: usize,
    /// Each of these is added to the byte without carry.
    pub(crate) changes: &'static [u8],
}

#[allow(dead_code, reason = "some tests take the inputs as they are")]
impl Variations {
    /// Every cut and every bit of the first 512 bytes.
    pub(crate) const BITS: Self = Self { step: 1, places_max: 512, changes: &[1, 2, 4, 8, 16, 32, 64, 128] };

    /// At every `step`th place a cut and two changes, which make of a digit or a small number its neighbour and one far off.
    pub(crate) const fn every(step: usize) -> Self {
        Self { step, places_max: usize::MAX, changes: &[0x01, 0x12] }
    }

    /// Runs the body over the inputs of a target and over what is made of them.
    pub(crate) fn replay(&self, target: &str, least: usize, body: impl Fn(&[u8])) {
        for mut input in inputs(target, least) {
            body(&input);
            for place in (0..input.len()).step_by(self.step).take(self.places_max) {
                body(&input[..place]);
                for change in self.changes {
                    input[place] ^= change;
                    body(&input);
                    input[place] ^= change;
                }
            }
        }
    }
}
