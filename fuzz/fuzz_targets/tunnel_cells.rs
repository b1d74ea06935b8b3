//! Cells of a hostile other end, at both ends of a tunnel. Also runs in `cargo test -p conflux`.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| conflux::fuzz::tunnel_cells(input, std::time::Instant::now()));
