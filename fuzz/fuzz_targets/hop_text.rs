//! Any text as ports, hosts and interval of a hopper. Also runs in `cargo test -p port-hopping`.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| port_hopping::fuzz::hop_text(input));
