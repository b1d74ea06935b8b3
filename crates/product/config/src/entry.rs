//! Keys that only an entry has.

use crate::budget::Budget;
use crate::diagnostic::{Problem, Report};
use crate::hops::{self, Hops};
use crate::listener::{self, Listener};
use crate::reader::Section;
use crate::units::parse_rate;
use crate::value;
use identity::PeerString;
use shaping::RateClass;
use std::path::Path;
use std::time::Duration;

/// What an entry has beside the common tables.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The exit.
    pub peer: PeerString,
    /// Rate from this entry to the exit.
    pub up: RateClass,
    /// Rate from the exit to this entry.
    pub down: RateClass,
    /// Where applications connect; at least one.
    pub listeners: Vec<Listener>,
    /// How long an application may take to say where it wants to go.
    pub handshake_timeout: Duration,
    /// When the link changes its ports, if the exit offers any; none: never.
    pub hops: Option<Hops>,
    /// What may be spent on releases of both directions.
    pub budget: Box<Budget>,
}

/// Reads `peer`, `[[listen]]`, `[limits]`, `[hops]`, `[budget]` and the entry's keys of `[shaping]`.
pub(crate) fn read(
    root: &mut Section<'_>,
    shaping: &mut Section<'_>,
    folder: &Path,
    report: &mut Report,
) -> Option<Entry> {
    let peer = root.required(report, "peer", |value| {
        let peer: PeerString = value::text(value)?.parse().map_err(Problem::Peer)?;
        if peer.address.is_none() { Err(Problem::PeerWithoutAddress) } else { Ok(peer) }
    });
    let rate = |value: &toml::de::DeValue<'_>| parse_rate(value::text(value)?);
    let up = shaping.or(report, "up", RateClass::SLOWEST, rate);
    let down = shaping.or(report, "down", RateClass::SLOWEST, rate);
    let listeners = listener::read_all(root, folder, report);
    let mut limits = root.section(report, "limits");
    let handshake_timeout = limits.or(report, "handshake_timeout_s", Duration::from_secs(10), value::seconds(120));
    limits.finish(report);
    let hops = hops::read(root, report);
    let budget = Box::new(Budget::read(root, folder, report));
    Some(Entry { peer: peer?, up, down, listeners, handshake_timeout, hops, budget })
}
