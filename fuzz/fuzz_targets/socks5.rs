#![no_main]
//! The body also runs over the committed corpus in `cargo test -p proxy-protocols`.

use libfuzzer_sys::fuzz_target;

#[path = "../../crates/core/proxy-protocols/tests/bodies/socks5.rs"]
mod body;

fuzz_target!(|data: &[u8]| body::run(data));
