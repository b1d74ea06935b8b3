//! Keys that only an exit has.

use crate::diagnostic::{Problem, Report};
use crate::reader::Section;
use crate::units::parse_rate;
use crate::value;
use identity::{PeerAddress, PeerHost, PeerString};
use proxy_protocols::exit_policy::ExitPolicy;
use shaping::RateClass;
use toml::de::DeValue;

/// Most entries of one exit; each needs its own schedule.
pub const PEERS_MAX: usize = 1024;

/// What an exit has beside the common tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// Entries that are answered; everybody else meets silence.
    pub peers: Vec<PeerString>,
    /// The fastest class that an entry may ask for, in each direction.
    pub max_rate: RateClass,
    /// What is told to entries: the address under which the node is reached from outside.
    pub public_address: Option<PeerAddress>,
    /// Which destinations are dialled.
    pub policy: ExitPolicy,
}

/// Reads `peers`, `[exit_policy]` and the exit's keys of `[shaping]` and `[network]`.
pub(crate) fn read(
    root: &mut Section<'_>,
    shaping: &mut Section<'_>,
    network: &mut Section<'_>,
    report: &mut Report,
) -> Option<Exit> {
    let mut peers: Vec<PeerString> = Vec::new();
    let read = |value: &DeValue<'_>| value::text(value)?.parse::<PeerString>().map_err(Problem::Peer);
    for peer in root.list(report, "peers", read) {
        if peers.iter().any(|other| other.node_id == peer.node_id) {
            root.refuse(report, "peers", Problem::PeerTwice);
        } else {
            peers.push(peer);
        }
    }
    if peers.len() > PEERS_MAX {
        root.refuse(report, "peers", Problem::TooManyPeers(PEERS_MAX));
    }
    let fast = RateClass::at_least(50_000_000).unwrap_or(RateClass::FASTEST);
    let max_rate = shaping.or(report, "max_rate", fast, |value| parse_rate(value::text(value)?));
    let public_address = network.optional(report, "public_address", public_address);
    let policy = policy(root, report);
    Some(Exit { peers, max_rate, public_address, policy })
}

/// Where entries dial: a name or an address that means something elsewhere.
fn public_address(value: &DeValue<'_>) -> Result<PeerAddress, Problem> {
    let address: PeerAddress = value::text(value)?.parse().map_err(Problem::Address)?;
    match address.host {
        PeerHost::Ip(ip) if ip.is_unspecified() => Err(Problem::Unspecified),
        PeerHost::Ip(_) | PeerHost::Name(_) => Ok(address),
    }
}

/// Each rule is read alone, for its own place in the file, then all together, for their number.
fn policy(root: &mut Section<'_>, report: &mut Report) -> ExitPolicy {
    let mut section = root.section(report, "exit_policy");
    let rules = section.list(report, "rules", |value| {
        let rule = value::text(value)?;
        match ExitPolicy::from_lines([rule]) {
            Ok(_) => Ok(rule.to_owned()),
            Err(error) => Err(Problem::Rule { fault: error.fault, column: error.column }),
        }
    });
    let policy = ExitPolicy::from_lines(rules.iter().map(String::as_str)).unwrap_or_else(|error| {
        section.refuse(report, "rules", Problem::Rule { fault: error.fault, column: error.column });
        ExitPolicy::default()
    });
    section.finish(report);
    policy
}
