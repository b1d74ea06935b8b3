//! A circuit, fed by its first hop and by whoever is on the way. Also runs in `cargo test -p onion`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use std::time::Instant;

fuzz_target!(|input: &[u8]| onion::fuzz::onion_circuit(input, Instant::now()));
