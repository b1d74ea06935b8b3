//! The body also runs over the committed corpus in `cargo test -p proxy-protocols`.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../crates/core/proxy-protocols/tests/bodies/socks5.rs"]
mod body;

fuzz_target!(|data: &[u8]| body::run(data));
