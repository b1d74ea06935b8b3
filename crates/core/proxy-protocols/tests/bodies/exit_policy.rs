//! Any text as an exit policy; what can be read is written and read again, and decides the same.

use proxy_protocols::exit_policy::{ExitPolicy, Verdict};
use std::net::{IpAddr, Ipv6Addr};
use wire::flow::HostName;

/// Feeds one input.
pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let policy = match ExitPolicy::parse(text) {
        Ok(policy) => policy,
        Err(error) => {
            let line = text.lines().nth(error.line - 1).expect("the error's line exists");
            assert!(error.column <= line.len() + 1, "{error} in {line:?}");
            return;
        }
    };
    let again = ExitPolicy::parse(&policy.to_string()).expect("what is written can be read");
    assert_eq!(again, policy);
    let seed = data.iter().fold(0u128, |sum, byte| sum.rotate_left(7) ^ u128::from(*byte));
    let name = HostName::new("a.example.org").expect("a name");
    for address in [IpAddr::from((seed as u32).to_be_bytes()), IpAddr::V6(Ipv6Addr::from(seed))] {
        let port = (seed >> 64) as u16;
        let verdict = policy.check_address(Some(&name), address, port);
        if policy.check_name(&name, port) == Verdict::Denied {
            assert_eq!(verdict, Verdict::Denied, "a denied name has an allowed address");
        }
    }
}
