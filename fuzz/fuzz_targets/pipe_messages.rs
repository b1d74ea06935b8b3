//! What programs and a cluster's node say, cut anywhere, in both forms. Also runs in `cargo test -p pipe-protocol`.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| pipe_protocol::fuzz::messages(input));
