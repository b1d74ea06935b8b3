//! What an endpoint knows of one link. Sub-machines stand in files of their own.

mod dial;
mod hops;
mod liveness;
mod rekey;

pub(crate) use dial::{Dial, PendingDoor};
pub(crate) use hops::{Hops, InitiatorHops, OFFER_INTERVAL, ResponderHops, pair};
pub(crate) use liveness::Liveness;
pub(crate) use rekey::{MESSAGE_2_READS_MAX, Rekey};

use crate::admission::Source;
use crate::config::{EndpointConfig, Parameters};
use crate::event::LinkId;
use crate::keyset::{KeySet, SEAL_LIMIT};
use crate::path::{Path, Place};
use crate::report::Traffic;
use crate::route::Route;
use crate::schedule::HeaderMask;
use identity::{LinkKey, NodeId};
use std::time::{Duration, Instant};

/// How long unconfirmed keys of a responder wait for the initiator's first packet.
pub(crate) const UNCONFIRMED_LIFETIME: Duration = Duration::from_secs(10);
/// How long replaced keys receive, in addition to three round trips.
const PREVIOUS_LIFETIME: Duration = Duration::from_secs(2);
/// Keys older than this many rekey intervals are replaced by a whole handshake: the peer does not answer rekeys.
const INTERVALS_MAX: u32 = 3;
/// First and longest wait of the initiator for a sign that its new keys are in use, where there are no slots.
const CONFIRM_FIRST: Duration = Duration::from_millis(300);
/// Cover cells that an initiator without a grid sends to put new keys into use.
const CONFIRMS_MAX: u32 = 5;

/// One link: dialled (`dial` is there) or accepted.
pub(crate) struct LinkState {
    pub(crate) id: LinkId,
    /// The peer's static key.
    pub(crate) peer: LinkKey,
    pub(crate) node_id: Option<NodeId>,
    /// That of the responder's door key, in both directions.
    pub(crate) index_mask: HeaderMask,
    pub(crate) dial: Option<Dial>,
    /// What an accepted link counts against.
    pub(crate) source: Option<Source>,
    /// Place in the order of half-open links.
    pub(crate) half_open: Option<u64>,
    pub(crate) up: Option<Up>,
    /// Keys of a responder that the initiator has not used yet.
    pub(crate) next: Option<Next>,
    pub(crate) boots: Boots,
    /// From the first offer on. What a dialled link remembers of ports outlives its keys.
    pub(crate) hops: Option<Hops>,
    /// When the endpoint's timers come back to this link.
    pub(crate) armed: Option<Instant>,
}

/// A link that can carry cells.
pub(crate) struct Up {
    pub(crate) keys: KeySet,
    pub(crate) born: Instant,
    /// Keys that only receive, and until when.
    pub(crate) previous: Option<(KeySet, Instant)>,
    pub(crate) path: Path,
    pub(crate) traffic: Traffic,
    pub(crate) liveness: Liveness,
    pub(crate) rekey: Rekey,
    pub(crate) debts: HopDebts,
    /// Initiator: the link ends with a farewell.
    pub(crate) leaves: bool,
    confirm: Confirm,
}

/// What a link has to say about hops.
#[derive(Default)]
pub(crate) struct HopDebts {
    /// Responder: when the offer is due; `None` when it was acknowledged, or there is none.
    pub(crate) offer_at: Option<Instant>,
    /// Initiator: an offer came, and whether it is used.
    pub(crate) taken: Option<bool>,
    /// Initiator: no candidate answered, so a door is asked.
    pub(crate) through_door: bool,
}

/// Keys that wait for the initiator's first packet.
pub(crate) struct Next {
    pub(crate) keys: KeySet,
    pub(crate) asked_at: Instant,
    /// None for a rekey.
    pub(crate) door: Option<Asker>,
}

/// What message 1 said about its sender.
#[derive(Clone, Copy)]
pub(crate) struct Asker {
    pub(crate) address: Route,
    pub(crate) parameters: Parameters,
    pub(crate) boot: u32,
}

/// The peer's processes as the link saw them.
#[derive(Default)]
pub(crate) struct Boots {
    /// Boot mark of the process that the link talks to.
    pub(crate) present: Option<u32>,
    /// The one before.
    pub(crate) before: Option<u32>,
    /// Boot mark and number of the newest message 1.
    pub(crate) newest_asked: Option<(u32, u32)>,
}

impl Boots {
    /// A handshake with this process succeeded. True, true: another process than before; one that was replaced once.
    pub(crate) fn met(&mut self, boot: u32) -> (bool, bool) {
        if self.present == Some(boot) {
            return (false, false);
        }
        let returned = self.before == Some(boot);
        self.before = self.present;
        self.present = Some(boot);
        (true, returned)
    }
}

/// Covers with which an initiator puts new keys, or a new pair of ports, into use where no slots carry cells anyway.
struct Confirm {
    /// A pair is what is put into use.
    of_hop: bool,
    next: Instant,
    left: u32,
    wait: Duration,
}

impl Up {
    pub(crate) fn new(now: Instant, keys: KeySet, address: Route, rtt: Duration, rekey_at: Instant) -> Self {
        Self {
            keys,
            born: now,
            previous: None,
            path: Path::new(Place { route: address, hop: 0 }),
            traffic: Traffic::new(now, rtt),
            liveness: Liveness::new(now),
            rekey: Rekey::new(rekey_at),
            debts: HopDebts::default(),
            leaves: false,
            confirm: Confirm { of_hop: false, next: now, left: 0, wait: CONFIRM_FIRST },
        }
    }

    /// When keys that are replaced now stop to receive.
    pub(crate) fn previous_until(&self, now: Instant) -> Instant {
        now + PREVIOUS_LIFETIME + 3 * self.traffic.rtt()
    }

    /// Puts rekeyed keys in the place of the present ones; returns those that fell out.
    pub(crate) fn replace_keys(&mut self, now: Instant, keys: KeySet, rekey_at: Instant) -> Option<KeySet> {
        let until = self.previous_until(now);
        let old = std::mem::replace(&mut self.keys, keys);
        self.born = now;
        self.rekey = Rekey::new(rekey_at);
        self.previous.replace((old, until)).map(|(keys, _)| keys)
    }

    /// The initiator got new keys: the responder uses them only after a packet under them.
    pub(crate) fn expect_confirmation(&mut self, now: Instant) {
        self.confirm = Confirm { of_hop: false, next: now, left: CONFIRMS_MAX, wait: CONFIRM_FIRST };
    }

    /// The initiator is on another pair: the responder uses it only after a packet on it.
    pub(crate) fn expect_following(&mut self, now: Instant) {
        self.confirm = Confirm { of_hop: true, next: now, left: CONFIRMS_MAX, wait: CONFIRM_FIRST };
    }

    /// A packet came that the responder sent after it had followed.
    #[inline]
    pub(crate) fn was_followed(&mut self) {
        if self.confirm.of_hop {
            self.confirm = Confirm { of_hop: false, left: 0, ..self.confirm };
        }
    }

    /// When a cover cell must put new keys into use.
    pub(crate) fn confirm_due(&self) -> Option<Instant> {
        let unused = self.confirm.of_hop || self.keys.opened_end() == 0;
        (self.confirm.left > 0 && unused).then_some(self.confirm.next)
    }

    /// A packet under the new keys goes out.
    pub(crate) fn count_confirm(&mut self, now: Instant) {
        if self.confirm.left > 0 {
            self.confirm.left -= 1;
            self.confirm.next = now + self.confirm.wait;
            self.confirm.wait *= 2;
        }
    }

    /// True when the present keys are so old or worn that only a whole handshake helps.
    pub(crate) fn wants_handshake(&self, now: Instant, config: &EndpointConfig) -> bool {
        let unheard = self.liveness.is_quiet() || self.debts.through_door;
        unheard || self.keys.sealed() >= SEAL_LIMIT / 2 || now >= self.too_old_at(config)
    }

    pub(crate) fn too_old_at(&self, config: &EndpointConfig) -> Instant {
        self.born + INTERVALS_MAX * config.rekey_after
    }
}

impl LinkState {
    /// When the link's first timer fires. Slots are no timers: on a grid the link's own packets have none.
    pub(crate) fn deadline(&self, config: &EndpointConfig) -> Option<Instant> {
        let next = self.next.as_ref().map(|next| next.asked_at + UNCONFIRMED_LIFETIME);
        let up = self.up.as_ref().map(|up| {
            let live = up.liveness.deadline(config);
            let hops = self.hops.as_ref().and_then(Hops::deadline);
            let previous = up.previous.as_ref().map(|(_, until)| *until);
            [previous, up.path.deadline(), Some(live), hops].into_iter().flatten().min()
        });
        let own = if config.gridded { None } else { self.own_packet_due(config) };
        [next, up.flatten(), own].into_iter().flatten().min()
    }

    /// When the link has a packet of its own to send, apart from slots.
    pub(crate) fn own_packet_due(&self, config: &EndpointConfig) -> Option<Instant> {
        let handshake = self.dial.as_ref().filter(|dial| !dial.parked).map(|dial| match &self.up {
            None => dial.next_at,
            Some(up) if up.liveness.is_quiet() || up.debts.through_door => dial.next_at,
            Some(up) => up.too_old_at(config).max(dial.next_at),
        });
        let Some(up) = &self.up else { return handshake };
        let heard = up.liveness.last_heard();
        let says = up.debts.taken.is_some() || up.leaves;
        let at_once = says || up.path.owes_answer() || up.rekey.owes_answer();
        let initiator = self.dial.is_some();
        [
            handshake,
            at_once.then_some(heard),
            self.hops.as_ref().and_then(|hops| hops.packet_due(heard)),
            up.debts.offer_at,
            up.path.challenge_due(),
            up.traffic.report_due(false),
            up.confirm_due(),
            initiator.then(|| up.rekey.due_at(up.born, &up.keys, config)),
            initiator.then(|| up.liveness.keep_alive_at()),
        ]
        .into_iter()
        .flatten()
        .min()
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "an origin for virtual time")]
mod tests {
    use super::*;
    use crate::keyset::Hopping;
    use crate::schedule::Role;
    use identity::{DoorKey, LinkSecret, NodeSecret};
    use packet_crypto::keys::RawKeys;
    use zeroize::Zeroizing;

    fn config() -> EndpointConfig {
        let (node, link) = (NodeSecret::from_seed([1; 32]).node_id(), LinkSecret::from_bytes([2; 32]));
        EndpointConfig::new(node, link, DoorKey::from_bytes([3; 32]))
    }

    fn keys() -> KeySet {
        let raw = RawKeys { initiator: Zeroizing::new([1; 32]), responder: Zeroizing::new([2; 32]) };
        KeySet::new(&raw, Role::Initiator, &HeaderMask::of_door(&DoorKey::from_bytes([3; 32])), Hopping::Off)
    }

    fn up(now: Instant, keys: KeySet) -> Up {
        Up::new(
            now,
            keys,
            std::net::SocketAddr::from(([192, 0, 2, 1], 1)).into(),
            Duration::ZERO,
            now + Duration::from_secs(120),
        )
    }

    #[test]
    fn keys_that_are_old_or_worn_out_want_a_whole_handshake() {
        let (now, config) = (Instant::now(), config());
        let at = |seconds| now + Duration::from_secs(seconds);
        assert!(!up(now, keys()).wants_handshake(at(359), &config));
        assert!(up(now, keys()).wants_handshake(at(360), &config), "three rekey intervals");
        assert!(!up(now, keys().with_sealed(SEAL_LIMIT / 2 - 1)).wants_handshake(now, &config));
        assert!(up(now, keys().with_sealed(SEAL_LIMIT / 2)).wants_handshake(now, &config));
    }

    #[test]
    fn a_rekey_is_due_by_age_or_by_packets() {
        let (now, config) = (Instant::now(), config());
        let due = |up: &Up| up.rekey.due_at(up.born, &up.keys, &config);
        assert_eq!(due(&up(now, keys())), now + Duration::from_secs(120));
        assert_eq!(due(&up(now, keys().with_sealed((1 << 26) - 1))), now + Duration::from_secs(120));
        assert_eq!(due(&up(now, keys().with_sealed(1 << 26))), now);
    }

    #[test]
    fn overtaken_and_hasty_rekeys_are_not_worked_on() {
        let now = Instant::now();
        let mut rekey = Rekey::new(now);
        let at = |millis| now + Duration::from_millis(millis);
        assert!(rekey.admits(at(0), 10));
        assert!(!rekey.admits(at(499), 11), "too soon");
        assert!(rekey.admits(at(500), 11));
        assert!(!rekey.admits(at(5000), 11) && !rekey.admits(at(5000), 9), "overtaken");
    }

    #[test]
    fn a_process_that_comes_back_is_recognised() {
        let mut boots = Boots::default();
        assert_eq!(boots.met(1), (true, false));
        assert_eq!(boots.met(1), (false, false), "the same process");
        assert_eq!(boots.met(2), (true, false), "restarted");
        assert_eq!(boots.met(1), (true, true), "two processes with one key");
    }
}
