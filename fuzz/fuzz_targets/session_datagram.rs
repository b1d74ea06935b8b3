//! Session datagrams of any content, whole and in parts. Also runs in `cargo test -p session`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use std::time::Instant;

fuzz_target!(|input: &[u8]| session::fuzz::session_datagrams(input, Instant::now()));
