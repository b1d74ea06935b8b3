//! Cells of any content from an authenticated peer. Also runs in `cargo test -p link`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use link::Now;
use std::time::Instant;

fuzz_target!(|input: &[u8]| {
    link::fuzz::hostile_peer(input, Now { instant: Instant::now(), unix_s: 1_800_000_000 });
});
