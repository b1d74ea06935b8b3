//! A program that says anything to a cluster's node. Also runs in `cargo test -p pipe-protocol`.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| pipe_protocol::fuzz::connection(input));
