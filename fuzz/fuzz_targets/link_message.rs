//! Messages about legs. Also runs in `cargo test -p conflux`.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| conflux::fuzz::link_message(input));
