//! What a dialled peer offers to hop over. Also runs in `cargo test -p link`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use link::Now;
use std::time::Instant;

fuzz_target!(|input: &[u8]| {
    link::fuzz::hop_offer(input, Now { instant: Instant::now(), unix_s: 1_800_000_000 });
});
