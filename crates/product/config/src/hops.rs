//! How links change their ports: what an exit offers, and when an entry hops.

use crate::diagnostic::{Problem, Report};
use crate::exit::Exit;
use crate::hop::parse_byte_span;
use crate::reader::Section;
use crate::value;
use port_hopping::causes::{Timers, UnsafeTimers};
use port_hopping::interval::Interval;
use port_hopping::ports::PortSet;
use port_hopping::targets::TargetAddress;
use std::net::IpAddr;
use toml::de::DeValue;

/// Fewest ports that an exit can offer without a warning: with fewer, a pair of ports comes again while networks
/// remember it.
pub(crate) const PORTS_FEW: u32 = 1024;
/// Shortest interval without a warning.
pub(crate) const INTERVAL_FAST_S: u64 = 10;

/// When an entry changes the pair of ports of its link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hops {
    /// Interval and bytes.
    pub timers: Timers,
    /// Whether the interval may be below the floor: only for tests.
    pub below_floor: bool,
}

/// Reads `[hops]` of an entry; none: it stays on one pair, whatever the exit offers.
pub(crate) fn read(root: &mut Section<'_>, report: &mut Report) -> Option<Hops> {
    let mut section = root.section(report, "hops");
    let defaults = Timers::default();
    let enabled = section.or(report, "enabled", true, value::boolean);
    let interval = section.or(report, "interval", defaults.interval(), |value| {
        value::text(value)?.parse::<Interval>().map_err(Problem::Interval)
    });
    let budget = section.or(report, "bytes", defaults.budget(), |value| parse_byte_span(value::text(value)?));
    let below_floor = section.or(report, "unsafe_below_floor", false, value::boolean);
    let timers = if below_floor {
        Some(Timers::below_floor(interval, budget, UnsafeTimers))
    } else {
        let timers = Timers::new(interval, budget);
        if let Err(error) = &timers {
            section.refuse(report, "interval", Problem::HopsTooFast(*error));
        }
        timers.ok()
    };
    section.finish(report);
    timers.filter(|_| enabled).map(|timers| Hops { timers, below_floor })
}

/// An address of an exit, or a prefix.
pub(crate) fn address(value: &DeValue<'_>) -> Result<TargetAddress, Problem> {
    match value::text(value)?.parse().map_err(Problem::HopAddress)? {
        TargetAddress::One(ip) if ip.is_unspecified() || ip.is_multicast() => Err(Problem::Unspecified),
        address => Ok(address),
    }
}

/// What is wrong with addresses of an exit whose socket is bound there.
pub(crate) fn check_addresses(exit: &Exit, bind: IpAddr) -> Option<Problem> {
    let addresses = &exit.hop_addresses;
    let is_v6 = |address: &TargetAddress| !matches!(address, TargetAddress::One(IpAddr::V4(_)));
    if addresses.is_empty() {
        return None;
    }
    let Some(ports) = exit.hop_ports.clone() else { return Some(Problem::HopAddressesWithoutPorts) };
    if !bind.is_unspecified() {
        return Some(Problem::HopAddressesOfOne);
    }
    if bind.is_ipv4() && addresses.iter().any(is_v6) {
        return Some(Problem::HopAddressesOfOtherFamily);
    }
    link::HopOffer::new(ports, addresses.clone()).err().map(Problem::Offer)
}

/// Ports of an exit: nothing for none.
pub(crate) fn ports(value: &DeValue<'_>) -> Result<Option<PortSet>, Problem> {
    let text = value::text(value)?;
    if text.trim().is_empty() {
        return Ok(None);
    }
    let ports: PortSet = text.parse().map_err(Problem::Ports)?;
    match link::HopOffer::new(ports.clone(), Vec::new()) {
        Ok(_) => Ok(Some(ports)),
        Err(error) => Err(Problem::Offer(error)),
    }
}
