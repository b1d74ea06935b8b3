//! Key files of any content. Also runs in `cargo test -p identity`.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| identity::fuzz::key_file(input));
