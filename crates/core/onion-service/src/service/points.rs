//! The introduction points: ordered, live, replaced before they are too old, draining, gone.

use super::IntroductionRefusal;
use super::admission::{Admission, INTRODUCTIONS_PER_POINT_MAX};
use crate::descriptor::{IntroductionPoint, POINTS_MAX};
use crate::introduction::INTRODUCTION_LEN;
use identity::{AccessSecret, NodeId, NodeSecret};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::Rng;
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

/// Points that are kept at a time, with those that only wait for their last records to end. When there are more, the oldest of
/// these goes.
pub const POINTS_TRACKED_MAX: usize = 4 * POINTS_MAX;
/// A point is replaced when it is so old; the age is drawn between the two.
const AGE: [Duration; 2] = [Duration::from_secs(18 * 3600), Duration::from_secs(24 * 3600)];
/// How long an order may take; then the point counts as lost.
const ORDER_TIMEOUT: Duration = Duration::from_secs(60);
/// Wait after a point was lost or did not come; doubled with each further one, up to the second.
const REPAIR: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(64)];

/// A point of this service, for as long as it lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PointId(pub u64);

/// What a service wants done about its introduction points.
#[derive(Clone)]
pub enum PointOrder {
    /// Choose a relay, build a circuit to it, and have it take introductions for the name that this key has.
    Open {
        /// The point.
        point: PointId,
        /// Ed25519, made for this point alone: proves to the relay whose name it is.
        secret: NodeSecret,
        /// Relays that are points already.
        avoid: Vec<NodeId>,
    },
    /// End the circuit of the point: nobody knows it any more.
    Close {
        /// The point.
        point: PointId,
    },
}

impl std::fmt::Debug for PointOrder {
    /// Names no relay.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Open { point, .. } => write!(f, "Open({point:?}, ..)"),
            Self::Close { point } => write!(f, "Close({point:?})"),
        }
    }
}

#[derive(Clone, Copy)]
enum State {
    /// It is being made.
    Ordered { until: Instant },
    /// It stands in records. `retires` is drawn.
    Live { relay: NodeId, retires: Instant, worn_at: u32 },
    /// Others took its place; records that are out may still name it.
    Draining { relay: NodeId },
}

/// One introduction point.
pub(super) struct Point {
    state: State,
    secret: Zeroizing<[u8; 32]>,
    name: [u8; 32],
    key: [u8; 32],
    admission: Admission,
    /// When the last record ends that names it, in milliseconds since 1970 UTC.
    named_until_ms: u64,
}

impl Point {
    pub(super) fn secret(&self) -> &[u8; 32] {
        &self.secret
    }

    /// See [`Admission::admit`]; a point that is not there yet has none.
    pub(super) fn admit(
        &mut self,
        now: Instant,
        introduction: &[u8; INTRODUCTION_LEN],
        work_bits: u8,
    ) -> Result<[u8; 16], IntroductionRefusal> {
        match self.state {
            State::Ordered { .. } => Err(IntroductionRefusal::Point),
            State::Live { .. } | State::Draining { .. } => self.admission.admit(now, introduction, work_bits),
        }
    }

    pub(super) fn remember(&mut self, digest: [u8; 16]) {
        self.admission.remember(digest);
    }

    fn relay(&self) -> Option<NodeId> {
        match self.state {
            State::Ordered { .. } => None,
            State::Live { relay, .. } | State::Draining { relay } => Some(relay),
        }
    }

    fn is_due(&self, now: Instant) -> bool {
        matches!(self.state, State::Live { retires, worn_at, .. }
            if now >= retires || self.admission.introductions() >= worn_at as usize)
    }
}

/// All points of a service.
pub(super) struct Points {
    points: BTreeMap<PointId, Point>,
    wanted: usize,
    per_second: u32,
    next: u64,
    /// Not before this is another one ordered.
    repair_at: Instant,
    failures: u32,
    close: VecDeque<PointId>,
}

impl Points {
    pub(super) fn new(now: Instant, wanted: usize, per_second: u32) -> Self {
        let (points, close) = (BTreeMap::new(), VecDeque::new());
        Self { points, wanted, per_second, next: 0, repair_at: now, failures: 0, close }
    }

    pub(super) fn get_mut(&mut self, point: PointId) -> Option<&mut Point> {
        self.points.get_mut(&point)
    }

    /// Whether a point takes introductions, be it only until its last record has ended.
    pub(super) fn has(&self, point: PointId) -> bool {
        self.points.get(&point).is_some_and(|point| !matches!(point.state, State::Ordered { .. }))
    }

    /// Those that stand in the next records.
    pub(super) fn live(&self) -> impl Iterator<Item = (PointId, IntroductionPoint)> {
        self.points.iter().filter_map(|(id, point)| match point.state {
            State::Live { relay, .. } => Some((*id, IntroductionPoint { relay, name: point.name, key: point.key })),
            State::Ordered { .. } | State::Draining { .. } => None,
        })
    }

    /// The point takes introductions; true when records have to say so.
    pub(super) fn opened(&mut self, now: Instant, id: PointId, relay: NodeId, rng: &mut ChaCha20Rng) -> bool {
        let Some(point) = self.points.get_mut(&id) else { return false };
        if !matches!(point.state, State::Ordered { .. }) {
            return false;
        }
        let worn_at = INTRODUCTIONS_PER_POINT_MAX / 2 + rng.next_u32() % (INTRODUCTIONS_PER_POINT_MAX / 2 + 1);
        point.state = State::Live { relay, retires: now + between(AGE, rng), worn_at };
        self.failures = 0;
        true
    }

    /// The point is gone; true when records have to say so.
    pub(super) fn lost(&mut self, now: Instant, id: PointId, rng: &mut ChaCha20Rng) -> bool {
        let Some(point) = self.points.remove(&id) else { return false };
        if matches!(point.state, State::Draining { .. }) {
            return false;
        }
        let is_gone = matches!(point.state, State::Live { .. });
        if now < self.repair_at {
            // Several that go together are one loss.
            return is_gone;
        }
        let doubled = REPAIR[0] * (1 << self.failures.min(6));
        let wait = doubled.min(REPAIR[1]);
        self.failures = self.failures.saturating_add(1);
        self.repair_at = now + between([wait, wait + wait / 2], rng);
        is_gone
    }

    /// A point is to be replaced as one that is old.
    pub(super) fn leaving(&mut self, now: Instant, id: PointId) {
        if let Some(Point { state: State::Live { retires, .. }, .. }) = self.points.get_mut(&id) {
            *retires = now.min(*retires);
        }
    }

    /// A record names these points until then.
    pub(super) fn named(&mut self, ids: &[PointId], until_ms: u64) {
        for id in ids {
            if let Some(point) = self.points.get_mut(id) {
                point.named_until_ms = point.named_until_ms.max(until_ms);
            }
        }
    }

    /// Lets time pass; true when other points are live than before.
    pub(super) fn turn(&mut self, now: Instant, directory_ms: Option<u64>, rng: &mut ChaCha20Rng) -> bool {
        let late = |point: &Point| matches!(point.state, State::Ordered { until } if now >= until);
        let late: Vec<_> = self.points.iter().filter(|(_, point)| late(point)).map(|(id, _)| *id).collect();
        for id in late {
            self.lost(now, id, rng);
            self.close.push_back(id);
        }
        // Old ones go when enough others are there: nobody is left without a point in between.
        let fresh =
            self.points.values().filter(|point| matches!(point.state, State::Live { .. }) && !point.is_due(now));
        let replaced = fresh.count() >= self.wanted;
        let mut changed = false;
        for point in self.points.values_mut().filter(|point| replaced && point.is_due(now)) {
            if let Some(relay) = point.relay() {
                (point.state, changed) = (State::Draining { relay }, true);
            }
        }
        self.close_drained(directory_ms);
        changed
    }

    fn close_drained(&mut self, directory_ms: Option<u64>) {
        let draining = self.points.iter().filter(|(_, point)| matches!(point.state, State::Draining { .. }));
        let mut gone: Vec<_> = draining
            .clone()
            .filter(|(_, point)| directory_ms.is_some_and(|now| now >= point.named_until_ms))
            .map(|(id, _)| *id)
            .collect();
        if gone.is_empty() && self.points.len() > POINTS_TRACKED_MAX {
            gone.extend(draining.map(|(id, _)| *id).next());
        }
        for id in gone {
            self.points.remove(&id);
            self.close.push_back(id);
        }
    }

    /// The next order.
    pub(super) fn poll(&mut self, now: Instant, rng: &mut ChaCha20Rng) -> Option<PointOrder> {
        if let Some(point) = self.close.pop_front() {
            return Some(PointOrder::Close { point });
        }
        let coming = |point: &Point| match point.state {
            State::Ordered { .. } => true,
            State::Live { .. } => !point.is_due(now),
            State::Draining { .. } => false,
        };
        if now < self.repair_at || self.points.values().filter(|point| coming(point)).count() >= self.wanted {
            return None;
        }
        let mut random = [[0; 32]; 2];
        random.iter_mut().for_each(|bytes| rng.fill_bytes(bytes));
        let waits = NodeSecret::from_seed(random[0]);
        // An X25519 key as that of a client: the same computation.
        let secret = AccessSecret::from_bytes(random[1]);
        let (id, name, key) = (PointId(self.next), waits.node_id().0, secret.access_key().0);
        self.next += 1;
        let state = State::Ordered { until: now + ORDER_TIMEOUT };
        let admission = Admission::new(now, self.per_second);
        let avoid = self.points.values().filter_map(Point::relay).collect();
        let secret = Zeroizing::new(*secret.expose());
        self.points.insert(id, Point { state, secret, name, key, admission, named_until_ms: 0 });
        Some(PointOrder::Open { point: id, secret: waits, avoid })
    }

    /// When [`turn`](Self::turn) or [`poll`](Self::poll) may have something to do. What is past waits for something to happen.
    pub(super) fn next_wake(&self, now: Instant) -> Option<Instant> {
        let states = self.points.values().filter_map(|point| match point.state {
            State::Ordered { until } => Some(until),
            State::Live { retires, .. } => Some(retires),
            State::Draining { .. } => None,
        });
        states.chain([self.repair_at]).filter(|wake| *wake > now).min()
    }
}

/// A time between two, drawn evenly.
pub(super) fn between([from, to]: [Duration; 2], rng: &mut ChaCha20Rng) -> Duration {
    from + to.saturating_sub(from).mul_f64(f64::from(rng.next_u32()) / f64::from(u32::MAX))
}
