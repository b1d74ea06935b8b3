//! What the provider does to packets, as text for nftables. Each rule is a chain of its own with a counter, so that a
//! packet meets all of them in order; each kind of flow is a set whose elements end by themselves.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::time::Duration;

use super::throttle::{BURST_BYTES, Begins, FLOW_FORGOTTEN_AFTER, FlowThrottle};

/// The table that holds everything.
pub(super) const TABLE: &str = "provider";
/// A chance is a whole number of these.
const MILLION: u32 = 1_000_000;

/// What a provider does. UDP flows are told apart by direction: the way there and the way back are two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Flows of one five-tuple become slow, in TCP nothing does.
    Throttle(FlowThrottle),
    /// UDP packets to these ports vanish.
    BlockPorts(Vec<RangeInclusive<u16>>),
    /// After so many bytes between two addresses to one UDP port, whatever the source port, more of them vanish for a
    /// while. Then the count begins anew.
    BlockAfter {
        /// Bytes of IP packets that pass.
        bytes: u64,
        /// How long nothing passes.
        dead_for: Duration,
    },
    /// Whatever one host sends to another vanishes; the way back is open.
    Cut {
        /// Name of the host that is not heard.
        from: String,
        /// Name of the host that does not hear it.
        to: String,
    },
    /// Packets vanish at random, whatever they carry. The kernel draws, so no seed replays it: a line has that.
    Loss(Chance),
    /// These hosts share the provider's address towards all others, and nobody reaches them uninvited.
    Nat {
        /// How outer ports are chosen.
        kind: Nat,
        /// Names of the hosts behind it.
        inside: Vec<String>,
    },
}

/// How a NAT chooses the outer port of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nat {
    /// Another one for every destination, at random ("symmetric", RFC 4787: address and port-dependent mapping).
    Symmetric,
    /// That of the sender, for all destinations, as long as it is free.
    PortPreserving,
}

/// A probability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chance(u32);

impl Chance {
    /// So many of a million; `None` above a million.
    pub const fn of_a_million(number: u32) -> Option<Self> {
        if number <= MILLION { Some(Self(number)) } else { None }
    }
}

/// The addresses of a host, with which it appears in rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Inside<'network> {
    /// Its interface at the provider.
    pub(super) interface: &'network str,
    pub(super) ipv4: Ipv4Addr,
    pub(super) ipv6: Ipv6Addr,
}

/// The name of a rule's counter.
pub(super) fn counter(number: usize) -> String {
    format!("rule{number}")
}

/// A script that replaces all rules. `host` finds a host by its name.
pub(super) fn script<'network, E>(
    rules: &[Rule],
    host: impl Fn(&str) -> Result<Inside<'network>, E>,
) -> Result<String, E> {
    // The first line makes the second one valid when there is no table yet.
    let mut text = format!("table inet {TABLE}\ndelete table inet {TABLE}\ntable inet {TABLE} {{\n");
    for (number, rule) in rules.iter().enumerate() {
        write(&mut text, format_args!(" counter {} {{ }}\n", counter(number)));
        match rule {
            Rule::Throttle(throttle) => throttle_rule(&mut text, number, *throttle),
            Rule::BlockPorts(ports) => block_ports(&mut text, number, ports),
            Rule::BlockAfter { bytes, dead_for } => block_after(&mut text, number, *bytes, *dead_for),
            Rule::Loss(chance) => {
                let lose = format!("numgen random mod {MILLION} < {} {}", chance.0, drop_of(number));
                chain(&mut text, number, &[lose]);
            }
            Rule::Cut { from, to } => {
                let (from, to) = (host(from)?.interface, host(to)?.interface);
                chain(&mut text, number, &[format!("iifname {from} oifname {to} {}", drop_of(number))]);
            }
            Rule::Nat { kind, inside } => {
                let inside = inside.iter().map(|name| host(name)).collect::<Result<Vec<_>, E>>()?;
                nat(&mut text, number, *kind, &inside);
            }
        }
    }
    text.push_str("}\n");
    Ok(text)
}

/// Both families, as `nft` calls them, with the keyword that selects them.
const FAMILIES: [(&str, &str); 2] = [("ip", "ipv4"), ("ip6", "ipv6")];

fn throttle_rule(text: &mut String, number: usize, throttle: FlowThrottle) {
    let limit = format!("limit rate over {} bytes/second burst {BURST_BYTES} bytes", throttle.bits_per_second / 8);
    let forgotten = milliseconds(FLOW_FORGOTTEN_AFTER);
    let mut entry = Vec::new();
    for (family, protocol) in FAMILIES {
        let key = format!("{family} saddr . udp sport . {family} daddr . udp dport");
        let name = |set: &str| format!("{set}{number}{family}");
        match throttle.begins {
            Begins::AfterBytes(bytes) => {
                let heavy = name("heavy");
                set(text, &heavy, &key, &forgotten);
                let slow = format!("update @{heavy} {{ {key} quota over {bytes} bytes {limit} }} {}", drop_of(number));
                entry.push(format!("meta nfproto {protocol} meta l4proto udp {slow}"));
            }
            Begins::AfterTime(time) => {
                // Whether a flow is known and how fast it is are separate sets: looking up an element with a limit runs
                // the limit.
                let (young, seen, slow) = (name("young"), name("seen"), name("slow"));
                set(text, &young, &key, &milliseconds(time));
                set(text, &seen, &key, &forgotten);
                set(text, &slow, &key, &forgotten);
                let old = name("old");
                let lines = [
                    format!("update @{seen} {{ {key} }}"),
                    format!("update @{slow} {{ {key} {limit} }} {}", drop_of(number)),
                ];
                plain_chain(text, &old, &lines);
                let any = name("any");
                let lines = [
                    format!("{key} @{young} return"),
                    format!("{key} @{seen} goto {old}"),
                    format!("add @{seen} {{ {key} }} add @{young} {{ {key} }}"),
                ];
                plain_chain(text, &any, &lines);
                entry.push(format!("meta nfproto {protocol} meta l4proto udp jump {any}"));
            }
        }
    }
    chain(text, number, &entry);
}

fn block_ports(text: &mut String, number: usize, ports: &[RangeInclusive<u16>]) {
    let ranges: Vec<String> = ports.iter().map(|range| format!("{}-{}", range.start(), range.end())).collect();
    let lines = match ranges.as_slice() {
        [] => Vec::new(),
        ranges => vec![format!("udp dport {{ {} }} {}", ranges.join(", "), drop_of(number))],
    };
    chain(text, number, &lines);
}

fn block_after(text: &mut String, number: usize, bytes: u64, dead_for: Duration) {
    let mut lines = Vec::new();
    for (family, protocol) in FAMILIES {
        let key = format!("{family} saddr . {family} daddr . udp dport");
        let (volume, blocked) = (format!("volume{number}{family}"), format!("blocked{number}{family}"));
        set(text, &volume, &key, &milliseconds(FLOW_FORGOTTEN_AFTER));
        set(text, &blocked, &key, &milliseconds(dead_for));
        let select = format!("meta nfproto {protocol} meta l4proto udp");
        lines.push(format!("{select} {key} @{blocked} {}", drop_of(number)));
        lines.push(format!(
            "{select} update @{volume} {{ {key} quota over {bytes} bytes }} add @{blocked} {{ {key} }} \
             delete @{volume} {{ {key} }} {}",
            drop_of(number)
        ));
    }
    chain(text, number, &lines);
}

fn nat(text: &mut String, number: usize, kind: Nat, inside: &[Inside<'_>]) {
    let random = match kind {
        Nat::Symmetric => " fully-random",
        Nat::PortPreserving => "",
    };
    write(text, format_args!(" chain nat{number} {{\n  type nat hook postrouting priority srcnat\n"));
    for host in inside {
        write(text, format_args!("  ip saddr {} masquerade{random}\n", host.ipv4));
        write(text, format_args!("  ip6 saddr {} masquerade{random}\n", host.ipv6));
    }
    text.push_str(" }\n");
    let uninvited = |host: &Inside<'_>| format!("oifname {} ct state new {}", host.interface, drop_of(number));
    let lines: Vec<String> = inside.iter().map(uninvited).collect();
    chain(text, number, &lines);
}

/// A set of flows whose elements end by themselves.
fn set(text: &mut String, name: &str, key: &str, timeout: &str) {
    write(text, format_args!(" set {name} {{ typeof {key}; flags dynamic; timeout {timeout}; }}\n"));
}

/// The chain of a rule. Those of later rules see what this one lets pass.
fn chain(text: &mut String, number: usize, lines: &[String]) {
    write(text, format_args!(" chain rule{number} {{\n  type filter hook forward priority {number}; policy accept\n"));
    lines.iter().for_each(|line| write(text, format_args!("  {line}\n")));
    text.push_str(" }\n");
}

fn plain_chain(text: &mut String, name: &str, lines: &[String]) {
    write(text, format_args!(" chain {name} {{\n"));
    lines.iter().for_each(|line| write(text, format_args!("  {line}\n")));
    text.push_str(" }\n");
}

fn drop_of(number: usize) -> String {
    format!("counter name {} drop", counter(number))
}

fn milliseconds(time: Duration) -> String {
    format!("{}ms", time.as_millis())
}

fn write(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments).expect("writing to a string cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(rules: &[Rule]) -> String {
        let host = |name: &str| match name {
            "client" => Ok(Inside {
                interface: "to-client",
                ipv4: Ipv4Addr::new(10, 77, 1, 2),
                ipv6: Ipv6Addr::new(0xfd77, 1, 0, 0, 0, 0, 0, 2),
            }),
            other => Err(other.to_owned()),
        };
        script(rules, host).expect("the rules name no other host")
    }

    #[test]
    fn a_script_replaces_the_whole_table() {
        assert_eq!(text(&[]), "table inet provider\ndelete table inet provider\ntable inet provider {\n}\n");
    }

    #[test]
    fn every_rule_has_a_chain_and_a_counter_in_order() {
        let loss = Rule::Loss(Chance::of_a_million(15_000).expect("it is less than a million"));
        let ports = Rule::BlockPorts(vec![5000..=5010, 53..=53]);
        let text = text(&[loss, ports, Rule::BlockPorts(Vec::new())]);
        for expected in [
            "counter rule0 { }",
            "type filter hook forward priority 0;",
            "numgen random mod 1000000 < 15000 counter name rule0 drop\n",
            "type filter hook forward priority 1;",
            "udp dport { 5000-5010, 53-53 } counter name rule1 drop\n",
            "chain rule2 {\n  type filter hook forward priority 2; policy accept\n }\n",
        ] {
            assert!(text.contains(expected), "{expected}\n{text}");
        }
    }

    #[test]
    fn hosts_behind_a_nat_are_found_by_name() {
        let nat = |name: &str| Rule::Nat { kind: Nat::Symmetric, inside: vec![name.to_owned()] };
        let text = text(&[nat("client")]);
        assert!(text.contains("ip saddr 10.77.1.2 masquerade fully-random\n"), "{text}");
        assert!(text.contains("ip6 saddr fd77:1::2 masquerade fully-random\n"), "{text}");
        assert!(text.contains("oifname to-client ct state new counter name rule0 drop\n"), "{text}");
        let unknown = script(&[nat("nobody")], |name| Err::<Inside<'_>, _>(name.to_owned()));
        assert_eq!(unknown, Err("nobody".to_owned()));
    }

    #[test]
    fn a_cut_names_one_direction() {
        let cut = |to: &str| Rule::Cut { from: "client".to_owned(), to: to.to_owned() };
        let text = text(&[cut("client")]);
        assert!(text.contains("iifname to-client oifname to-client counter name rule0 drop\n"), "{text}");
        let unknown = script(&[cut("nobody")], |name| match name {
            "client" => Ok(Inside { interface: "to-client", ipv4: Ipv4Addr::LOCALHOST, ipv6: Ipv6Addr::LOCALHOST }),
            other => Err(other.to_owned()),
        });
        assert_eq!(unknown, Err("nobody".to_owned()));
    }

    #[test]
    fn a_chance_is_at_most_one() {
        assert!(Chance::of_a_million(1_000_000).is_some());
        assert_eq!(Chance::of_a_million(1_000_001), None);
    }
}
