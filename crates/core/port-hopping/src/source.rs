//! Ports of this end: below those of the other end.
//!
//! The Great Firewall's filter of QUIC looks only at flows whose source port is above the destination port (Zohaib et al.,
//! "Exposing and Circumventing SNI-based QUIC Censorship", USENIX Security 2025).

use crate::memory::UsedPairs;
use crate::pair::{Pair, anywhere};
use crate::ports::{PortRange, PortSet};
use rand_chacha::rand_core::Rng;
use std::net::SocketAddr;
use std::time::Instant;

/// Lowest port that a program without privileges may bind, and that no service is expected on.
const LOWEST: u16 = 1_024;
/// First port that systems choose themselves: the usual look of a client (Linux; `ip_local_port_range`).
const EPHEMERAL: u16 = 32_768;
/// A range with fewer ports repeats itself within the time that networks remember.
const PORTS_MIN: u32 = 512;
/// How often a port is drawn until one comes that is not remembered. Then the last one is taken.
const DRAWS_MAX: usize = 16;

/// The ports to bind for packets to `destinations`: from 32768 to below the lowest of them if that is enough, else from
/// 1024; if that is not enough either, below the `port` in question. `None` if that, too, leaves fewer than 512 ports:
/// then the system chooses, and the source port lies where it lies.
pub fn source_ports(destinations: &PortSet, port: u16) -> Option<PortRange> {
    let below = |from: u16, port: u16| PortRange::new(from, port - 1).filter(|range| range.len() >= PORTS_MIN);
    let lowest = destinations.lowest();
    below(EPHEMERAL, lowest).or_else(|| below(LOWEST, lowest)).or_else(|| below(LOWEST, port))
}

/// Draws a port of `range` for packets to `remote`, one whose pair is not remembered if there is one.
pub fn draw_source_port(
    now: Instant,
    range: PortRange,
    remote: SocketAddr,
    used: &UsedPairs,
    rng: &mut impl Rng,
) -> u16 {
    let ports = PortSet::from(range);
    let fresh = |port: &u16| !used.contains(now, &Pair { local: anywhere(remote, *port), remote });
    let mut draws = (0..DRAWS_MAX).map(|_| ports.pick(rng.next_u64()));
    draws.find(fresh).unwrap_or_else(|| ports.pick(rng.next_u64()))
}

/// Draws a port below `destinations` for packets to `remote`, one of them; `None` where the system chooses.
pub(crate) fn draw_port_below(
    now: Instant,
    destinations: &PortSet,
    remote: SocketAddr,
    used: &UsedPairs,
    rng: &mut impl Rng,
) -> Option<u16> {
    let range = source_ports(destinations, remote.port())?;
    Some(draw_source_port(now, range, remote, used, rng))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;

    fn ports(text: &str) -> PortSet {
        text.parse().expect("ports of the test")
    }

    #[test]
    fn source_ports_lie_below_the_range() {
        let range = |text, port| source_ports(&ports(text), port).map(|range| (range.first(), range.last()));
        assert_eq!(range("61000-65535", 62_000), Some((32_768, 60_999)));
        assert_eq!(range("20000-50000", 40_000), Some((1_024, 19_999)));
        assert_eq!(range("443,20000-50000", 40_000), Some((1_024, 39_999)));
        assert_eq!(range("443,20000-50000", 443), None);
        assert_eq!(range("*", 1), None);
        assert_eq!(range("1500-60000", 2_000), Some((1_024, 1_999)));
        assert_eq!(range("1500-60000", 1_520), None);
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "an origin for virtual time")]
    fn a_remembered_pair_is_not_drawn() {
        let (now, mut used, mut rng) = (Instant::now(), UsedPairs::default(), ChaCha20Rng::seed_from_u64(1));
        let range = PortRange::new(1_024, 1_535).expect("in order");
        let remote = SocketAddr::from(([192, 0, 2, 1], 5_000));
        let mut drawn = std::collections::BTreeSet::new();
        for _ in 0..200 {
            let port = draw_source_port(now, range, remote, &used, &mut rng);
            assert!(drawn.insert(port), "{port} again");
            used.note(now, Pair { local: ([0, 0, 0, 0], port).into(), remote });
        }
    }

    proptest! {
        #[test]
        fn a_source_port_lies_below_its_destination(first in 1u16.., more: u16, number: u64) {
            let destinations = ports(&format!("{first}-{}", first.saturating_add(more)));
            let port = destinations.pick(number);
            if let Some(range) = source_ports(&destinations, port) {
                prop_assert!(range.last() < port && range.first() >= LOWEST && range.len() >= PORTS_MIN);
            }
        }
    }
}
