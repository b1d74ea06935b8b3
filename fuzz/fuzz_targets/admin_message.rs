//! The body also runs over the committed corpus in `cargo test -p admin`.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../crates/product/admin/tests/bodies/admin_message.rs"]
mod body;

fuzz_target!(|data: &[u8]| body::run(data));
