//! A peer of a swapped socket that writes anything into its segment. Also runs in `cargo test -p socket-swap`.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| hushwire_swap::fuzz::hostile_peer(input));
