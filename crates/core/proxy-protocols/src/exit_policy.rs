//! Which destinations an exit dials.
//!
//! A policy is a list of rules, one a line, in the order in which they are tried; the first that matches
//! decides:
//!
//! ```text
//! allow 10.0.0.0/8:80,443        # a block of addresses and ports
//! deny  *:25                     # everything, one port
//! allow [fd00::/8]:*             # IPv6 blocks stand in brackets
//! deny  *.example.org:8000-8100  # every name below example.org
//! allow example.org              # one name, all ports
//! ```
//!
//! Behind the last rule stand two more: addresses of the [reserved](address::is_reserved) ranges (private,
//! loopback, link-local, multicast and so on) are denied, all others are allowed. What opens a reserved range is
//! only an `allow` of an address block that lies within one; neither a name nor `*` does, so a public name that
//! resolves to a private address leads nowhere.
//!
//! A destination that is a name is checked twice: before it is resolved ([`ExitPolicy::check_name`]), and with
//! every address that it resolves to ([`ExitPolicy::check_address`]). `deny` rules about names do not hold back
//! whoever knows the address.

pub mod address;
mod rule;

pub use rule::Rule;

use rule::{Action, Pattern};
use std::fmt;
use std::net::IpAddr;
use thiserror::Error;
use wire::flow::HostName;

/// Rules that one policy may have.
pub const RULES_MAX: usize = 4096;

/// What a policy says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Go on: dial the address, or resolve the name and check its addresses.
    Allowed,
    /// Do not.
    Denied,
}

/// What is wrong with a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PolicyFault {
    /// A rule starts with `allow` or `deny`.
    #[error("expected `allow` or `deny`")]
    Action,
    /// Nothing stands behind the action.
    #[error("expected `*`, an address block or a name")]
    Target,
    /// Not an address.
    #[error("this is not an address")]
    Address,
    /// IPv6 has colons of its own.
    #[error("an IPv6 block stands in brackets, as in [fd00::/8]:443")]
    Brackets,
    /// The number behind the slash.
    #[error("the prefix length is 0 to 32 for IPv4, 0 to 128 for IPv6")]
    Prefix,
    /// `10.1.0.0/8`.
    #[error("the address has bits behind its prefix; write the first address of the block")]
    HostBits,
    /// A name with a `*` in another place than the first label, or with bytes that names have not.
    #[error("this is not a name; a `*` may only be the whole first label, as in *.example.org")]
    Name,
    /// Not `*`, a port, or a list of ports and ranges.
    #[error("expected `*`, ports or port ranges from 1 to 65535, separated by commas")]
    Ports,
    /// `90-80`.
    #[error("the port range ends before it starts")]
    PortOrder,
    /// More ports and ranges than one rule may list.
    #[error("a rule has at most 64 port ranges")]
    TooManyPorts,
    /// Something behind the rule.
    #[error("the rule ends here; a comment starts with `#`")]
    Trailing,
    /// More than [`RULES_MAX`].
    #[error("a policy has at most 4096 rules")]
    TooManyRules,
}

/// One rule cannot be read. Columns count from 1, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("column {column}: {fault}")]
pub struct RuleError {
    /// Where.
    pub column: usize,
    /// What.
    pub fault: PolicyFault,
}

/// A policy cannot be read. Lines and columns count from 1, columns in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("exit policy, line {line}, column {column}: {fault}")]
pub struct PolicyError {
    /// Where: the line, or the number of the rule in a list.
    pub line: usize,
    /// Where in it.
    pub column: usize,
    /// What.
    pub fault: PolicyFault,
}

/// Ordered rules with the implicit ones behind them. The default has only those.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExitPolicy {
    rules: Vec<Rule>,
}

impl ExitPolicy {
    /// These rules, in this order.
    pub fn new(rules: Vec<Rule>) -> Self {
        Self { rules }
    }

    /// Reads rules from lines of text; empty lines and comments are skipped.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        Self::from_lines(text.lines())
    }

    /// Reads rules from a list with one line in each element.
    pub fn from_lines<'a>(lines: impl IntoIterator<Item = &'a str>) -> Result<Self, PolicyError> {
        let mut rules = Vec::new();
        for (index, text) in lines.into_iter().enumerate() {
            let line = index + 1;
            let rule =
                rule::parse_line(text).map_err(|RuleError { column, fault }| PolicyError { line, column, fault })?;
            if rule.is_some() && rules.len() == RULES_MAX {
                return Err(PolicyError { line, column: 1, fault: PolicyFault::TooManyRules });
            }
            rules.extend(rule);
        }
        Ok(Self { rules })
    }

    /// Whether a name may be resolved and its addresses checked. `Denied` is final; `Allowed` is not.
    pub fn check_name(&self, name: &HostName, port: u16) -> Verdict {
        for rule in self.rules.iter().filter(|rule| rule.ports.contains(port)) {
            match (&rule.pattern, rule.action) {
                (Pattern::Any, action) => return action.verdict(),
                (Pattern::Name(pattern), action) if pattern.matches(name) => return action.verdict(),
                // It may turn out to be one of these addresses.
                (Pattern::Block(_), Action::Allow) => return Verdict::Allowed,
                (Pattern::Name(_), _) | (Pattern::Block(_), Action::Deny) => {}
            }
        }
        Verdict::Allowed
    }

    /// Whether an address may be dialled. `name`: what was resolved to it, if anything was.
    pub fn check_address(&self, name: Option<&HostName>, address: IpAddr, port: u16) -> Verdict {
        let reserved = address::is_reserved(address);
        for rule in self.rules.iter().filter(|rule| rule.ports.contains(port)) {
            let (matches, opens_reserved) = match &rule.pattern {
                Pattern::Any => (true, false),
                Pattern::Name(pattern) => (name.is_some_and(|name| pattern.matches(name)), false),
                Pattern::Block(block) => (block.contains(address), block.is_reserved()),
            };
            match rule.action {
                Action::Deny if matches => return Verdict::Denied,
                Action::Allow if matches && (!reserved || opens_reserved) => return Verdict::Allowed,
                Action::Deny | Action::Allow => {}
            }
        }
        if reserved { Verdict::Denied } else { Verdict::Allowed }
    }
}

impl fmt::Display for ExitPolicy {
    /// The rules as text that [`ExitPolicy::parse`] reads, one a line, without the implicit ones.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.rules.iter().try_for_each(|rule| writeln!(f, "{rule}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn policy(text: &str) -> ExitPolicy {
        ExitPolicy::parse(text).unwrap_or_else(|error| panic!("{error}"))
    }

    fn dials(policy: &ExitPolicy, address: &str, port: u16) -> bool {
        let address = address.parse().expect("an address");
        policy.check_address(None, address, port) == Verdict::Allowed
    }

    /// Both checks, as an exit does them.
    fn dials_name(policy: &ExitPolicy, name: &str, address: &str, port: u16) -> bool {
        let name = HostName::new(name).expect("a name");
        let address = address.parse().expect("an address");
        policy.check_name(&name, port) == Verdict::Allowed
            && policy.check_address(Some(&name), address, port) == Verdict::Allowed
    }

    #[test]
    fn the_default_allows_what_is_public() {
        let policy = ExitPolicy::default();
        assert!(dials(&policy, "192.0.2.1", 80));
        assert!(dials(&policy, "2001:db8::1", 80));
        for address in ["127.0.0.1", "10.0.0.1", "::1", "::ffff:192.0.2.1", "100.64.0.1", "169.254.169.254", "fd00::1"]
        {
            assert!(!dials(&policy, address, 80), "{address}");
            assert!(!dials_name(&policy, "example.org", address, 80), "{address}");
        }
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        let policy = policy("deny *:25\nallow 10.1.0.0/16:80,443\ndeny 192.0.2.0/24\nallow 192.0.2.7");
        assert!(!dials(&policy, "198.51.100.1", 25));
        assert!(!dials(&policy, "10.1.2.3", 25));
        assert!(dials(&policy, "10.1.2.3", 443));
        assert!(!dials(&policy, "10.1.2.3", 8080));
        assert!(!dials(&policy, "10.2.2.3", 443));
        assert!(!dials(&policy, "192.0.2.7", 80));
        assert!(dials(&policy, "198.51.100.1", 80));
    }

    #[test]
    fn names_are_checked_before_and_after_they_are_resolved() {
        let policy = policy("deny *.bad.example\nallow *.example:443\nallow 198.51.100.0/24:22\ndeny *");
        let denied = |name: &str, port| {
            let name = HostName::new(name).expect("a name");
            policy.check_name(&name, port) == Verdict::Denied
        };
        assert!(denied("a.bad.example", 443));
        assert!(denied("a.bad.example.", 443));
        assert!(denied("good.example", 80));
        assert!(!denied("good.example", 443));
        assert!(!denied("good.test", 22), "its address may be in the allowed block");
        assert!(dials_name(&policy, "good.example", "192.0.2.1", 443));
        assert!(!dials_name(&policy, "good.example", "127.0.0.1", 443), "a name never opens a reserved range");
        assert!(dials_name(&policy, "good.test", "198.51.100.1", 22));
        assert!(!dials_name(&policy, "good.test", "192.0.2.1", 22));
        assert!(!dials(&policy, "192.0.2.1", 443));
    }

    #[test]
    fn only_a_block_within_a_reserved_range_opens_it() {
        for text in ["allow *:*", "allow 0.0.0.0/0", "allow [::/0]", "allow 64.0.0.0/2", "allow *.example"] {
            assert!(!dials_name(&policy(text), "a.example", "127.0.0.1", 80), "{text}");
            assert!(!dials_name(&policy(text), "a.example", "::1", 80), "{text}");
        }
        assert!(dials(&policy("allow 127.0.0.0/8"), "127.0.0.1", 80));
        assert!(dials(&policy("allow [::1]:80"), "::1", 80));
        assert!(!dials(&policy("allow 127.0.0.0/8"), "::ffff:127.0.0.1", 80));
        assert!(!dials(&policy("deny 127.0.0.1\nallow 127.0.0.0/8"), "127.0.0.1", 80));
    }

    #[test]
    fn errors_name_the_position() {
        for (text, line, column, fault) in [
            ("allow *\nallwo *", 2, 1, PolicyFault::Action),
            ("  permit *", 1, 3, PolicyFault::Action),
            ("allow", 1, 6, PolicyFault::Target),
            ("allow   # nothing", 1, 9, PolicyFault::Target),
            ("deny 10.0.0.300/8", 1, 6, PolicyFault::Address),
            ("deny fd00::/8:80", 1, 6, PolicyFault::Brackets),
            ("deny [fd00::/8:80", 1, 6, PolicyFault::Brackets),
            ("deny [zz::]:80", 1, 7, PolicyFault::Address),
            ("deny [10.0.0.0/8]:80", 1, 7, PolicyFault::Address),
            ("deny 10.0.0.0/33", 1, 15, PolicyFault::Prefix),
            ("deny 10.0.0.0/:80", 1, 15, PolicyFault::Prefix),
            ("deny [fd00::/129]", 1, 14, PolicyFault::Prefix),
            ("deny 10.1.0.0/8", 1, 6, PolicyFault::HostBits),
            ("deny a.*.example", 1, 6, PolicyFault::Name),
            ("deny *example", 1, 6, PolicyFault::Name),
            ("deny a..b", 1, 6, PolicyFault::Name),
            ("deny *:", 1, 8, PolicyFault::Ports),
            ("deny *:0", 1, 8, PolicyFault::Ports),
            ("deny *:80,,81", 1, 11, PolicyFault::Ports),
            ("deny *:80,65536", 1, 11, PolicyFault::Ports),
            ("deny *:80-", 1, 8, PolicyFault::Ports),
            ("deny *:90-80", 1, 8, PolicyFault::PortOrder),
            ("deny *:80 443", 1, 11, PolicyFault::Trailing),
        ] {
            assert_eq!(ExitPolicy::parse(text), Err(PolicyError { line, column, fault }), "{text}");
        }
        let shown = ExitPolicy::parse("allow *:x").expect_err("x is no port").to_string();
        assert!(shown.starts_with("exit policy, line 1, column 9: expected"), "{shown}");
    }

    #[test]
    fn the_number_of_rules_and_ports_is_bounded() {
        let text = "deny *\n".repeat(RULES_MAX);
        assert!(ExitPolicy::parse(&text).is_ok());
        let fault = ExitPolicy::parse(&(text + "deny *")).map_err(|error| (error.line, error.fault));
        assert_eq!(fault, Err((RULES_MAX + 1, PolicyFault::TooManyRules)));
        let ports = vec!["1"; rule::PORT_RANGES_MAX + 1].join(",");
        let fault = ExitPolicy::parse(&format!("deny *:{ports}")).map_err(|error| error.fault);
        assert_eq!(fault, Err(PolicyFault::TooManyPorts));
    }

    fn any_rule() -> impl Strategy<Value = String> {
        let target = prop_oneof![
            Just("*".to_owned()),
            "(\\*\\.)?[a-z][a-z0-9-]{0,9}(\\.[a-z]{1,5}){0,2}",
            (any::<u32>(), 0u8..=32).prop_map(|(bits, prefix)| {
                let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
                format!("{}/{prefix}", std::net::Ipv4Addr::from(bits & mask))
            }),
            (any::<u128>(), 0u8..=128).prop_map(|(bits, prefix)| {
                let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
                format!("[{}/{prefix}]", std::net::Ipv6Addr::from(bits & mask))
            }),
        ];
        let ports = prop_oneof![
            Just(String::new()),
            Just(":*".to_owned()),
            (1u16.., 1u16.., 1u16..).prop_map(|(a, b, c)| format!(":{a},{}-{}", b.min(c), b.max(c))),
        ];
        (any::<bool>(), target, ports)
            .prop_map(|(allow, target, ports)| format!("{} {target}{ports}", if allow { "allow" } else { "deny" }))
    }

    proptest! {
        #[test]
        fn what_is_written_reads_the_same(lines in proptest::collection::vec(any_rule(), 0..20)) {
            let policy = ExitPolicy::from_lines(lines.iter().map(String::as_str));
            let policy = policy.map_err(|error| TestCaseError::fail(error.to_string()))?;
            prop_assert_eq!(ExitPolicy::parse(&policy.to_string()), Ok(policy));
        }

        /// A name that is turned away at once would have been turned away with any address.
        #[test]
        fn a_denied_name_has_no_allowed_address(lines in proptest::collection::vec(any_rule(), 0..20), name in "[a-z]{1,3}(\\.[a-z]{1,3}){0,2}", address in any::<IpAddr>(), port in 1u16..) {
            let policy = ExitPolicy::from_lines(lines.iter().map(String::as_str));
            let policy = policy.map_err(|error| TestCaseError::fail(error.to_string()))?;
            let name = HostName::new(&name).map_err(|error| TestCaseError::fail(error.to_string()))?;
            if policy.check_name(&name, port) == Verdict::Denied {
                prop_assert_eq!(policy.check_address(Some(&name), address, port), Verdict::Denied);
            }
        }

        #[test]
        fn any_text_is_read_or_refused_within_itself(text in "[a-z0-9.:/*\\[\\],# \n-]{0,80}") {
            if let Err(error) = ExitPolicy::parse(&text) {
                let line = text.lines().nth(error.line - 1);
                prop_assert!(line.is_some_and(|line| error.column <= line.len() + 1));
            }
        }
    }
}
