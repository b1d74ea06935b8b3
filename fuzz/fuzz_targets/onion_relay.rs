//! A relay, fed by a client whose circuit is good and by strangers. Also runs in `cargo test -p onion`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use std::time::Instant;

fuzz_target!(|input: &[u8]| onion::fuzz::onion_relay(input, Instant::now()));
