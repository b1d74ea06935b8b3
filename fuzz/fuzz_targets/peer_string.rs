//! Peer strings and key files of any content. Seed corpus: `crates/core/identity/corpus`.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| identity::fuzz::peer_string(input));
