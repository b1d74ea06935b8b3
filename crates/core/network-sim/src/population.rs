//! The relays of a made-up network: how fast they are, who runs them, where they are, how often they fail.

use crate::settings::Settings;
use crate::{DAY_S, WARM_UP_S};
use identity::{DoorKey, LinkKey, NodeId, NodeSecret, OnionKey};
use network_document::{Announcement, Descriptor, Founding, Label, NetworkId, Problem, Roles, SignedAnnouncement};
use onion::Interval;
use relay_directory::Admission;
use shaping::RateClass;
use shaping_sim::Draws;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

/// Half of all relays are slower than this. Speeds are log-normal.
const MEDIAN_BITS: f64 = 8e6;
/// Deviation of the logarithm of speeds: one relay in a hundred has twenty times the median.
const SPREAD: f64 = 1.3;
/// Slowest and fastest.
const BITS: (f64, f64) = (512e3, 1e9);
/// Part of relays whose operators let them be exits.
const EXITS: f64 = 0.25;
/// Part of exits that are guards and middles as well; the others are exits only.
const EXITS_OF_ALL_ROLES: f64 = 0.4;
/// Part of relays that seldom fail. Of those that are no exits only they are guards, if they are fast enough.
const STABLE: f64 = 0.7;
/// Slowest guard.
const GUARD_BITS_MIN: u64 = 2_000_000;
/// Slowest relay that serves documents.
const MIRROR_BITS_MIN: u64 = 4_000_000;
/// Part of those that are fast enough, stable and no exits which serve documents.
const MIRRORS: f64 = 0.5;
/// Mean seconds up and down of a stable relay, and of another one.
const STABLE_S: (f64, f64) = (20.0 * DAY_S as f64, 1_800.0);
const UNSTABLE_S: (f64, f64) = (43_200.0, 7_200.0);
/// Part of relays that are admitted while the run goes on.
const LATE: f64 = 0.005;

/// One relay.
#[derive(Debug)]
pub(crate) struct Relay {
    secret: NodeSecret,
    pub(crate) node_id: NodeId,
    pub(crate) roles: Roles,
    pub(crate) class: RateClass,
    pub(crate) operator: u32,
    pub(crate) address: SocketAddr,
    /// Serves documents to clients.
    pub(crate) is_mirror: bool,
    /// Mean seconds up and down.
    pub(crate) lasts_s: (f64, f64),
    /// Bit i: the adversary who has `hostile[i]` of the bandwidth has this one.
    pub(crate) hostile: u8,
    /// When it is admitted.
    pub(crate) admitted_s: u32,
    /// When in a key interval it renews its keys: in the first half, so that what it said before still holds.
    pub(crate) renews_s: u32,
}

impl Relay {
    fn operator_label(&self) -> Result<Label, Problem> {
        Label::new(&format!("operator-{}", self.operator), "operator")
    }

    /// What operators vouch for.
    pub(crate) fn admission(&self) -> Result<Admission, Problem> {
        Ok(Admission { roles: self.roles, bandwidth: self.class, operator: self.operator_label()? })
    }

    /// What it says of itself, with onion keys of `interval` and the next. It holds as long as these do.
    pub(crate) fn announce(
        &self,
        network: NetworkId,
        founding: &Founding,
        interval: u64,
        now_ms: u64,
    ) -> Result<Arc<SignedAnnouncement>, Problem> {
        let keys_end_ms = founding.begin_ms((interval + 2) * founding.key_intervals);
        let onion = |interval: u64| {
            let mut key = self.node_id.0;
            key.iter_mut().zip(interval.to_be_bytes()).for_each(|(byte, other)| *byte ^= other);
            (Interval(interval), OnionKey(key))
        };
        let announcement = Announcement {
            descriptor: Descriptor {
                node_id: self.node_id,
                link_key: LinkKey(self.node_id.0),
                door_key: DoorKey::from_bytes(self.node_id.0),
                onion_keys: vec![onion(interval), onion(interval + 1)],
                addresses: vec![self.address],
                hop_ports: "40000-49999".parse().ok(),
                roles: self.roles,
                operator: self.operator_label()?,
                bandwidth: self.class,
            },
            next_link_key: None,
            next_door_key: None,
            exit_ports: if self.roles.exit { "80,443".parse().ok() } else { None },
            published_ms: now_ms,
            expires_ms: keys_end_ms.min(now_ms + founding.lifetime_max_ms()),
        };
        announcement.sign(network, &self.secret).map(Arc::new)
    }

    /// Takes back what it said.
    pub(crate) fn withdraw(&self, network: NetworkId, now_ms: u64) -> relay_directory::Withdrawal {
        relay_directory::Withdrawal::new(network, &self.secret, now_ms)
    }

    /// Application bytes that it forwards in a second at most: of the 1222 bytes of a session packet 1192 are an application's.
    pub(crate) fn bytes_per_second(&self) -> f64 {
        self.class.bits_per_second() as f64 / 8.0 * 1_192.0 / 1_222.0
    }
}

/// A seed of 32 bytes for a secret.
pub(crate) fn seed(kind: u8, seed: u64, number: u32) -> [u8; 32] {
    let mut bytes = [kind; 32];
    bytes[..8].copy_from_slice(&seed.to_be_bytes());
    bytes[8..12].copy_from_slice(&number.to_be_bytes());
    bytes
}

/// All relays of a network.
pub(crate) fn relays(settings: &Settings) -> Result<Vec<Relay>, Problem> {
    let mut draws = Draws::new(settings.seed, 1);
    let mut hosts = vec![0_u32; subnets(settings) as usize];
    let mut relays = Vec::new();
    for number in 0..settings.relays {
        relays.push(relay(settings, number, &mut hosts, &mut draws)?);
    }
    for (bit, share) in settings.hostile.iter().enumerate() {
        infiltrate(&mut relays, bit, *share, &mut Draws::new(settings.seed, 2));
    }
    Ok(relays)
}

fn subnets(settings: &Settings) -> u32 {
    settings.relays / 2 + 1
}

fn relay(settings: &Settings, number: u32, hosts: &mut [u32], draws: &mut Draws) -> Result<Relay, Problem> {
    let secret = NodeSecret::from_seed(seed(3, settings.seed, number));
    let bits = draws.log_normal(MEDIAN_BITS, SPREAD).clamp(BITS.0, BITS.1) as u64;
    let class = RateClass::at_least(bits).unwrap_or(RateClass::FASTEST);
    let (is_exit, has_all, is_stable) =
        (draws.unit() < EXITS, draws.unit() < EXITS_OF_ALL_ROLES, draws.unit() < STABLE);
    let roles = match (is_exit, is_stable && class.bits_per_second() >= GUARD_BITS_MIN) {
        (true, _) if has_all => "guard middle exit",
        (true, _) => "exit",
        (false, true) => "guard middle",
        (false, false) => "middle",
    };
    let may_serve = is_stable && !is_exit && class.bits_per_second() >= MIRROR_BITS_MIN;
    // Few operators run many relays, and few providers have many of them.
    let few = |of: u32, draws: &mut Draws| ((f64::from(of) * draws.unit().powf(2.0)) as u32).min(of - 1);
    let operator = few(settings.relays / 3 + 1, draws);
    let subnet = few(subnets(settings), draws);
    let host = hosts[subnet as usize];
    hosts[subnet as usize] += 1;
    let ip = Ipv4Addr::new(100, (subnet >> 8) as u8, subnet as u8, 1 + (host % 250) as u8);
    let address = SocketAddr::from((ip, 4_433 + (host / 250) as u16));
    let is_late = draws.unit() < LATE;
    let late_s = WARM_UP_S + (draws.unit() * f64::from(settings.hours) * 3_600.0) as u32;
    Ok(Relay {
        node_id: secret.node_id(),
        secret,
        roles: Roles::parse(roles)?,
        class,
        operator,
        address,
        is_mirror: draws.unit() < MIRRORS && may_serve,
        lasts_s: if is_stable { STABLE_S } else { UNSTABLE_S },
        hostile: 0,
        admitted_s: if is_late { late_s } else { 0 },
        renews_s: draws.between(0, u64::from(DAY_S) / 2 - 1) as u32,
    })
}

/// Gives relays to an adversary in an order that is the same for every share, until they have so much of the bandwidth. One that
/// would be far too much is left out.
fn infiltrate(relays: &mut [Relay], bit: usize, share: f64, draws: &mut Draws) {
    let bits = |relay: &Relay| relay.class.bits_per_second() as f64;
    let all: f64 = relays.iter().map(bits).sum();
    let mut order: Vec<(u64, usize)> = (0..relays.len()).map(|number| (draws.between(0, u64::MAX), number)).collect();
    order.sort_unstable();
    let mut left = share * all;
    for (_, number) in order {
        let relay = &mut relays[number];
        if bits(relay) <= left * 1.05 {
            left -= bits(relay);
            relay.hostile |= 1 << bit;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_has_every_role_and_as_much_hostile_bandwidth_as_asked_for() {
        let settings = Settings { relays: 500, ..Settings::default() };
        let relays = relays(&settings).expect("good labels");
        let count = |of: fn(&Relay) -> bool| relays.iter().filter(|relay| of(relay)).count();
        assert!(count(|relay| relay.roles.exit) > 90 && count(|relay| relay.roles.guard) > 200);
        assert!(count(|relay| relay.is_mirror) > 50);
        let bits = |relay: &Relay| relay.class.bits_per_second() as f64;
        let all: f64 = relays.iter().map(bits).sum();
        for (bit, share) in settings.hostile.iter().enumerate() {
            let own: f64 = relays.iter().filter(|relay| relay.hostile & 1 << bit != 0).map(bits).sum();
            assert!((own / all - share).abs() < 0.01, "{share}: {}", own / all);
        }
        let mut addresses: Vec<SocketAddr> = relays.iter().map(|relay| relay.address).collect();
        addresses.sort_unstable();
        assert!(addresses.windows(2).all(|pair| pair[0] != pair[1]));
    }
}
