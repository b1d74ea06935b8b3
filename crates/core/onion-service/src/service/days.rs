//! The days of a service, and the records that are out for each.

use super::points::{PointId, Points, between};
use super::{Publication, ServiceConfig};
use crate::day::{Day, DayKey};
use crate::descriptor::{Descriptor, Label, POINTS_MAX, unsigned};
use crate::introduction::{Context, INTRODUCTION_LEN, KemPair};
use network_document::NetworkId;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::Rng;
use relay_directory::REVISIONS_MAX;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

/// The longest life of a record.
pub const RECORD_LIFE_MAX: Duration = Duration::from_secs(24 * 3600);
/// After a change a record waits so long for all points to be there.
const SETTLE: Duration = Duration::from_secs(5);
/// Between two records of a day.
const GAP: Duration = Duration::from_secs(5);
/// The same as a part of an interval, if that is more, while half of the points that there should be are there and in the record that is
/// out: one record tells of several changes then.
const CALM_GAP_PART: u32 = 10;
/// Records of a day in a part of an interval: as many as the directory takes in a whole one, and one less in half of it. So none waits
/// for longer than half an interval, whatever came before. One of each is kept for when fewer than half of the points are in the record
/// that is out. What is not taken does not count.
const REVISIONS: [(usize, u32); 2] = [(REVISIONS_MAX as usize - 1, 2), (REVISIONS_MAX as usize, 1)];
/// How long the directory may take to answer; then the record counts as not taken.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(60);
/// Wait after the directory did not take a record; doubled with each further one, up to the second.
const RETRY: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(320)];

/// The keys of a day's records.
pub(super) struct RecordKeys {
    key: DayKey,
    kem: KemPair,
    cookie: Zeroizing<[u8; 32]>,
}

impl RecordKeys {
    fn new(key: DayKey, rng: &mut ChaCha20Rng) -> Option<Self> {
        let mut cookie = Zeroizing::new([0; 32]);
        rng.fill_bytes(&mut *cookie);
        KemPair::generate().map(|kem| Self { key, kem, cookie })
    }

    pub(super) fn context(&self, network: NetworkId) -> Context<'_> {
        Context { network, day: &self.key, cookie: &self.cookie }
    }

    pub(super) fn kem(&self) -> &KemPair {
        &self.kem
    }
}

/// A record that the directory has been given.
struct Attempt {
    revision: u64,
    expires_ms: u64,
    points: Vec<PointId>,
    until: Instant,
}

struct DayState {
    keys: RecordKeys,
    revision: u64,
    /// When the last ones were made, but for those that were not taken.
    made: Vec<Instant>,
    /// The points that the record which is out names, for keys that are good.
    named: Vec<PointId>,
    /// Since when the record that is out is not right, or what has changed last if that was long ago.
    changed: Option<Instant>,
    /// When it is renewed in any case.
    due: Instant,
    attempt: Option<Attempt>,
    /// After a record was not taken.
    not_before: Instant,
    failures: u32,
    published_until_ms: Option<u64>,
}

/// What a record is made of, beside its day.
pub(super) struct Contents<'a> {
    pub(super) points: &'a Points,
    pub(super) config: &'a ServiceConfig,
    pub(super) work_bits: u8,
}

#[derive(Default)]
pub(super) struct Days {
    days: BTreeMap<Day, DayState>,
    asked: BTreeSet<Day>,
}

impl Days {
    pub(super) fn published_until_ms(&self, day: Day) -> Option<u64> {
        self.days.get(&day)?.published_until_ms
    }

    /// The keys that an introduction was made for.
    pub(super) fn named_by(&self, introduction: &[u8; INTRODUCTION_LEN]) -> Option<&RecordKeys> {
        self.days.values().map(|day| &day.keys).find(|keys| keys.kem.is_named_by(introduction))
    }

    pub(super) fn key_tags(&self) -> Vec<[u8; 8]> {
        self.days.values().map(|day| day.keys.kem.tag()).collect()
    }

    /// Forgets days that are over, or that a directory whose time was put back does not know yet; their keys with them.
    pub(super) fn turn(&mut self, directory_ms: u64) {
        let near = Day::sought_at(directory_ms);
        self.days.retain(|day, _| near.contains(day) && directory_ms < day.closes_ms());
        self.asked.retain(|day| near.contains(day));
    }

    /// A day whose key is not there and was not asked for.
    pub(super) fn wanted(&mut self, directory_ms: u64) -> Option<Day> {
        let mut days = Day::published_at(directory_ms).into_iter();
        let wanted = days.find(|day| !self.days.contains_key(day) && !self.asked.contains(day))?;
        self.asked.insert(wanted);
        Some(wanted)
    }

    pub(super) fn add(&mut self, now: Instant, directory_ms: u64, key: DayKey, rng: &mut ChaCha20Rng) {
        let day = key.day;
        if self.days.contains_key(&day) || !Day::published_at(directory_ms).contains(&day) {
            return;
        }
        let Some(keys) = RecordKeys::new(key, rng) else {
            // The library failed: ask again.
            self.asked.remove(&day);
            return;
        };
        let (made, named, failures) = (Vec::new(), Vec::new(), 0);
        let state = DayState {
            keys,
            revision: 0,
            made,
            named,
            changed: Some(now),
            due: now,
            attempt: None,
            not_before: now,
            failures,
            published_until_ms: None,
        };
        self.days.insert(day, state);
    }

    /// What records say is not right any more. If a record has settled and waits to be let out, it waits for what comes of this as well.
    pub(super) fn changed(&mut self, now: Instant) {
        for day in self.days.values_mut() {
            let settles = day.changed.filter(|since| now < *since + SETTLE);
            day.changed = settles.or(Some(now));
        }
    }

    /// New keys for all days: what was sealed for the old ones opens nothing.
    pub(super) fn renew_keys(&mut self, now: Instant, rng: &mut ChaCha20Rng) {
        for day in self.days.values_mut() {
            if let Some(keys) = RecordKeys::new(day.keys.key.clone(), rng) {
                day.keys = keys;
                day.named.clear();
            }
        }
        self.changed(now);
    }

    /// A record that is due: when something changed and all points are there or were waited for, and in any case after a while.
    pub(super) fn poll(
        &mut self,
        now: Instant,
        directory_ms: u64,
        whole: bool,
        contents: &Contents<'_>,
        rng: &mut ChaCha20Rng,
    ) -> Option<Publication> {
        for day in Day::published_at(directory_ms) {
            let Some(state) = self.days.get_mut(&day) else { continue };
            if state.attempt.as_ref().is_some_and(|attempt| now >= attempt.until) {
                state.refused(now, rng);
            }
            let settled = state.changed.is_some_and(|since| whole || now >= since + SETTLE);
            // The directory's time may have been put forward.
            let life_ms = contents.config.record_life.as_millis() as u64;
            let ends = state.published_until_ms.is_some_and(|until| until < directory_ms.saturating_add(life_ms / 4));
            let due = settled || now >= state.due || ends && day.closes_ms() > directory_ms.saturating_add(life_ms / 4);
            if state.attempt.is_none() && due && now >= state.may_make_at(contents) {
                let publication = state.make(now, directory_ms, contents, rng);
                if publication.is_some() {
                    return publication;
                }
            }
        }
        None
    }

    /// The directory's answer: the points of a record that is out now, and until when.
    pub(super) fn published(
        &mut self,
        now: Instant,
        day: Day,
        revision: u64,
        taken: bool,
    ) -> Option<(Vec<PointId>, u64)> {
        let state = self.days.get_mut(&day)?;
        let attempt = state.attempt.take_if(|attempt| attempt.revision == revision)?;
        if !taken {
            state.made.pop();
            // Without randomness here: the wait begins at its lower end.
            state.failed(now, Duration::ZERO);
            return None;
        }
        (state.failures, state.published_until_ms) = (0, Some(attempt.expires_ms));
        state.named.clone_from(&attempt.points);
        Some((attempt.points, attempt.expires_ms))
    }

    /// When [`poll`](Self::poll) may have something to do. What is past waits for a point.
    pub(super) fn next_wake(&self, now: Instant, contents: &Contents<'_>) -> Option<Instant> {
        let wakes = self.days.values().flat_map(|day| {
            let at = day.may_make_at(contents);
            match (&day.attempt, day.changed) {
                (Some(attempt), _) => [attempt.until, attempt.until],
                // If all points are there it does not settle.
                (None, Some(since)) => [(since + SETTLE).min(day.due).max(at), at],
                (None, None) => [day.due.max(at), day.due.max(at)],
            }
        });
        wakes.filter(|wake| *wake > now).min()
    }
}

impl DayState {
    /// When another record may be made.
    fn may_make_at(&self, contents: &Contents<'_>) -> Instant {
        let standing = self.named.iter().filter(|point| contents.points.has(**point)).count();
        let is_urgent = 2 * standing < contents.config.points;
        let gap = if is_urgent { GAP } else { GAP.max(contents.config.interval / CALM_GAP_PART) };
        let rests = self.made.last().map(|last| *last + gap);
        let full = REVISIONS.map(|(most, part)| {
            let most = most - usize::from(!is_urgent);
            let first = self.made.len().checked_sub(most)?;
            Some(self.made[first] + contents.config.interval / part)
        });
        full.into_iter().chain([rests]).flatten().fold(self.not_before, Instant::max)
    }

    fn make(
        &mut self,
        now: Instant,
        directory_ms: u64,
        contents: &Contents<'_>,
        rng: &mut ChaCha20Rng,
    ) -> Option<Publication> {
        let config = contents.config;
        let live: Vec<_> = contents.points.live().collect();
        // The newest ones, should the old ones still be there.
        let (ids, points): (Vec<_>, Vec<_>) = live.into_iter().rev().take(POINTS_MAX).unzip();
        if points.is_empty() {
            return None;
        }
        let descriptor = Descriptor {
            points,
            kem_key: self.keys.kem.key.clone(),
            work_bits: contents.work_bits,
            features: config.features,
            cookie: self.keys.cookie.clone(),
        };
        let day = &self.keys.key;
        let life_ms = config.record_life.as_millis() as u64;
        let expires_ms = directory_ms.saturating_add(life_ms).min(day.day.closes_ms());
        // By the time: a service that begins anew goes on above what it had.
        let revision = directory_ms.max(self.revision.saturating_add(1));
        let label = Label { revision, expires_ms };
        let content = descriptor.seal(day, label, &config.clients, &mut |bytes| rng.fill_bytes(bytes)).ok()?;
        let publication = Publication { day: day.day, record: unsigned(day, label, content) };
        self.made.push(now);
        let last = self.made.len().saturating_sub(REVISIONS_MAX.into());
        self.made.drain(..last);
        (self.revision, self.changed) = (revision, None);
        self.due = now + between([config.record_life / 3, config.record_life / 2], rng);
        self.attempt = Some(Attempt { revision, expires_ms, points: ids, until: now + PUBLISH_TIMEOUT });
        Some(publication)
    }

    fn refused(&mut self, now: Instant, rng: &mut ChaCha20Rng) {
        self.attempt = None;
        self.failed(now, between([Duration::ZERO, RETRY[0]], rng));
    }

    fn failed(&mut self, now: Instant, more: Duration) {
        let wait = (RETRY[0] * (1 << self.failures.min(6))).min(RETRY[1]);
        self.failures = self.failures.saturating_add(1);
        self.not_before = self.not_before.max(now + wait + more);
        self.changed.get_or_insert(now);
    }
}
