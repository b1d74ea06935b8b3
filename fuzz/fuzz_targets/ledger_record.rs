//! The body also runs over the committed corpus in `cargo test -p shaping`.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../crates/core/shaping/tests/bodies/ledger_record.rs"]
mod body;

fuzz_target!(|data: &[u8]| body::run(data));
