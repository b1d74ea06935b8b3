//! Addresses of services, of any content. Also runs in `cargo test -p onion-service`.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| onion_service::fuzz::service_address(input));
