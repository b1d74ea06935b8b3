//! Streams of the directory's service, of any content. Also runs in `cargo test -p relay-directory`.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| relay_directory::fuzz::directory_stream(input));
