//! What relays and clients say to each other inside the layers. Also runs in `cargo test -p onion`.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| onion::fuzz::onion_message(input));
