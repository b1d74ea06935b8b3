//! Guards files of any content. Also runs in `cargo test -p tunnel-plan`.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| tunnel_plan::fuzz::guards_file(input));
