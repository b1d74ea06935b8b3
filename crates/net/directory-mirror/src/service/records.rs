//! Records of services that others ask a mirror for: fetched from a member, and kept for a short time.

use relay_directory::ServiceRecord;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout};

/// Keys whose records, or lack of one, a mirror keeps at most; for a further one the one that is the next to be forgotten goes.
pub const RECORDS_KEPT_MAX: usize = 1_024;
/// A record is given away for so long without asking again. A service replaces one when its introduction points are gone, at once, and
/// clients ask once more after they tried all of a record: what is older than a try would give them the same again.
pub const RECORD_AGE_MAX: Duration = Duration::from_secs(5);
/// That there is none is said for so long: a service may come at any moment.
pub const NO_RECORD_AGE_MAX: Duration = Duration::from_secs(2);
/// Keys that are asked for at once; to a further question there is no answer here. Those who ask for the same key wait for one answer.
pub const QUESTIONS_MAX: usize = 16;
/// No question takes longer, for others who ask the same and for a member together; then there is no answer here, while whoever asks
/// still waits for one. The tunnel to a member may have to be built first.
pub const RECORD_PATIENCE: Duration = Duration::from_secs(20);
/// How often somebody waits for others who ask the same before there is no answer.
const TURNS_MAX: usize = 3;

#[derive(Debug)]
enum Entry {
    /// Somebody asks. It ends when that one is done, or gone.
    Asked(watch::Receiver<()>),
    Known {
        record: Option<ServiceRecord>,
        until: Instant,
    },
}

/// See above.
#[derive(Debug)]
pub(super) struct Records {
    known: Mutex<BTreeMap<[u8; 32], Entry>>,
    room: Semaphore,
}

impl Default for Records {
    fn default() -> Self {
        Self { known: Mutex::default(), room: Semaphore::new(QUESTIONS_MAX) }
    }
}

/// What to do about a question.
enum Turn {
    Answered(Option<ServiceRecord>),
    Wait(watch::Receiver<()>),
    Ask(watch::Sender<()>),
}

impl Records {
    /// The record under a key, from here or from whoever `ask` asks. `None` when there is no answer: nobody was reached, or too much
    /// is asked.
    pub(super) async fn get<F>(&self, key: [u8; 32], ask: impl FnOnce() -> F) -> Option<Option<ServiceRecord>>
    where
        F: Future<Output = Option<Option<ServiceRecord>>>,
    {
        timeout(RECORD_PATIENCE, self.take_turns(key, ask)).await.ok().flatten()
    }

    async fn take_turns<F>(&self, key: [u8; 32], ask: impl FnOnce() -> F) -> Option<Option<ServiceRecord>>
    where
        F: Future<Output = Option<Option<ServiceRecord>>>,
    {
        for _ in 0..TURNS_MAX {
            match self.turn(key, Instant::now()) {
                Turn::Answered(record) => return Some(record),
                // It ends by being dropped.
                Turn::Wait(mut others) => while others.changed().await.is_ok() {},
                Turn::Ask(_asking) => {
                    let _room = self.room.try_acquire().ok()?;
                    let record = ask().await?;
                    self.keep(key, record.clone(), Instant::now());
                    return Some(record);
                }
            }
        }
        None
    }

    fn turn(&self, key: [u8; 32], now: Instant) -> Turn {
        let mut known = self.known();
        match known.get(&key) {
            Some(Entry::Known { record, until }) if *until > now => return Turn::Answered(record.clone()),
            Some(Entry::Asked(others)) if others.has_changed().is_ok() => return Turn::Wait(others.clone()),
            _ => {}
        }
        let (asking, others) = watch::channel(());
        insert(&mut known, key, Entry::Asked(others));
        Turn::Ask(asking)
    }

    /// Keeps what somebody said of a key.
    pub(super) fn keep(&self, key: [u8; 32], record: Option<ServiceRecord>, now: Instant) {
        let age = if record.is_some() { RECORD_AGE_MAX } else { NO_RECORD_AGE_MAX };
        let mut known = self.known();
        // Something newer may have been said here while a question was on its way.
        let is_older = match known.get(&key) {
            Some(Entry::Known { record: Some(kept), until }) if *until > now => {
                record.as_ref().is_none_or(|record| record.revision < kept.revision)
            }
            _ => false,
        };
        if !is_older {
            insert(&mut known, key, Entry::Known { record, until: now + age });
        }
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<[u8; 32], Entry>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn insert(known: &mut BTreeMap<[u8; 32], Entry>, key: [u8; 32], entry: Entry) {
    if known.len() >= RECORDS_KEPT_MAX && !known.contains_key(&key) {
        // Those who are asked for are few, so there is always another one. Questions that nobody asks any more go first.
        let next = |(_, entry): &(&[u8; 32], &Entry)| match entry {
            Entry::Asked(others) => others.has_changed().is_ok().then(|| Instant::now() + RECORD_AGE_MAX * 2),
            Entry::Known { until, .. } => Some(*until),
        };
        if let Some(gone) = known.iter().min_by_key(next).map(|(key, _)| *key) {
            known.remove(&gone);
        }
    }
    known.insert(key, entry);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn record(number: u8) -> ServiceRecord {
        ServiceRecord { key: [number; 32], revision: 1, expires_ms: 2, content: vec![number], signature: [0; 64] }
    }

    #[tokio::test(start_paused = true)]
    async fn one_question_is_enough_for_all_who_ask_and_ages() {
        let (records, asked) = (Records::default(), AtomicUsize::new(0));
        let ask = |found: Option<Option<ServiceRecord>>| {
            asked.fetch_add(1, Ordering::Relaxed);
            async move {
                tokio::time::sleep(Duration::from_secs(1)).await;
                found
            }
        };
        let there = || ask(Some(Some(record(1))));
        let (one, other) = tokio::join!(records.get([1; 32], there), records.get([1; 32], there));
        assert_eq!((&one, &other), (&Some(Some(record(1))), &Some(Some(record(1)))));
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        tokio::time::advance(RECORD_AGE_MAX - Duration::from_millis(1)).await;
        records.get([1; 32], there).await;
        assert_eq!(asked.load(Ordering::Relaxed), 1, "it is kept");
        tokio::time::advance(Duration::from_millis(1)).await;
        records.get([1; 32], there).await;
        assert_eq!(asked.load(Ordering::Relaxed), 2, "and not for long");
        // That there is none is forgotten sooner, and that nobody answers is not kept at all.
        assert_eq!(records.get([2; 32], || ask(Some(None))).await, Some(None));
        tokio::time::advance(NO_RECORD_AGE_MAX).await;
        assert_eq!(records.get([2; 32], || ask(Some(Some(record(2))))).await, Some(Some(record(2))));
        assert_eq!(records.get([3; 32], || ask(None)).await, None);
        assert_eq!(records.get([3; 32], || ask(Some(None))).await, Some(None));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_leaves_while_asking_holds_nobody_up() {
        let records = Records::default();
        let gone = tokio::time::timeout(Duration::from_millis(5), records.get([1; 32], std::future::pending)).await;
        assert!(gone.is_err());
        assert_eq!(records.get([1; 32], || async { Some(Some(record(1))) }).await, Some(Some(record(1))));
        // One that never answers is given up, and whoever waited for it asks by itself.
        let slow = records.get([2; 32], std::future::pending);
        let waits = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            records.get([2; 32], || async { Some(Some(record(2))) }).await
        };
        let (slow, waits) = tokio::join!(slow, waits);
        assert_eq!((slow, waits), (None, Some(Some(record(2)))));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_others_for_longer_than_for_a_member() {
        let records = Records::default();
        let begin = Instant::now();
        // Each begins in the moment in which the one before asks, and asks nobody who answers.
        let late = |after: u64| {
            let records = &records;
            async move {
                tokio::time::sleep(Duration::from_secs(after)).await;
                let asked = Instant::now();
                let answer = records.get([1; 32], std::future::pending).await;
                (answer, asked.elapsed())
            }
        };
        let (one, two, three) = tokio::join!(late(0), late(1), late(2));
        assert!([&one, &two, &three].iter().all(|(answer, took)| answer.is_none() && *took == RECORD_PATIENCE));
        assert_eq!(begin.elapsed(), RECORD_PATIENCE + Duration::from_secs(2));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_kept_and_what_is_asked_is_bounded() {
        let records = Records::default();
        records.keep([0xff; 32], Some(record(9)), Instant::now());
        for number in 0..10_000u32 {
            let mut key = [0; 32];
            key[..4].copy_from_slice(&number.to_be_bytes());
            records.keep(key, None, Instant::now());
        }
        assert_eq!(records.known().len(), RECORDS_KEPT_MAX);
        assert!(
            matches!(records.turn([0xff; 32], Instant::now()), Turn::Answered(Some(_))),
            "what is there stays longest"
        );
        let records = &records;
        let questions = (0..=QUESTIONS_MAX).map(|number| {
            let key = [number as u8 + 1; 32];
            Box::pin(async move { (records.get(key, std::future::pending).await, Instant::now()) })
        });
        let begin = Instant::now();
        let mut at_once = 0;
        let mut set = Vec::new();
        for mut question in questions {
            let polled = tokio::time::timeout(Duration::ZERO, &mut question).await;
            at_once += usize::from(polled.is_ok_and(|(answer, at)| answer.is_none() && at == begin));
            set.push(question);
        }
        assert_eq!(at_once, 1, "one too many is told so at once");
    }
}
