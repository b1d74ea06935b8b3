//! Datagrams of any content at a keyed hop server, and bent knocks. Also runs in `cargo test -p port-hopping`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use std::time::Instant;

fuzz_target!(|input: &[u8]| port_hopping::fuzz::hop_datagram(input, Instant::now()));
