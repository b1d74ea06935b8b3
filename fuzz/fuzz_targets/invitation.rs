//! Invitations of any content. Also runs in `cargo test -p network-document`.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| network_document::fuzz::invitation(input));
