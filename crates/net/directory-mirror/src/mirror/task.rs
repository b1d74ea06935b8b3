//! The task of a mirror: when to ask, and what to tell whom.

use super::Shared;
use super::believed::Believed;
use super::round::{Round, RoundError};
use crate::clock::{Clock, random};
use crate::sources::Sources;
use crate::status::{HeldEdition, MirrorStatus, SKEW_WARNED_MS};
use network_document::{Founding, NetworkDocument};
use relay_directory::ClientRefusal;
use relay_directory::timetable::{Retries, fetch_at_ms};
use std::sync::Arc;
use tokio::sync::watch;

pub(super) struct Task {
    /// On another thread while that works with it.
    believed: Option<Believed>,
    sources: Sources,
    clock: Clock,
    shared: Arc<Shared>,
    documents: watch::Sender<Option<Arc<NetworkDocument>>>,
    /// What is told: changed here, then sent.
    now: MirrorStatus,
    status: watch::Sender<MirrorStatus>,
    retries: Retries,
    kept_term: u64,
}

/// Why a round brought nothing; of several the gravest is told.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Grave {
    /// Nobody has the edition of the interval yet.
    Late,
    /// Streams.
    Broken,
    /// Something came that is not believed.
    Refused,
    /// Members lie.
    Fork,
}

impl Task {
    pub(super) fn new(
        believed: Believed,
        sources: Sources,
        clock: Clock,
        shared: Arc<Shared>,
        documents: watch::Sender<Option<Arc<NetworkDocument>>>,
        status: watch::Sender<MirrorStatus>,
    ) -> Self {
        let (now, believed, retries) = (status.borrow().clone(), Some(believed), Retries::default());
        Self { believed, sources, clock, shared, documents, now, status, retries, kept_term: 0 }
    }

    pub(super) async fn run(mut self) {
        self.save().await;
        // A node that has the edition of the interval waits for the moment of the next one.
        self.now.next_ms = match self.founding() {
            Some(founding) if self.is_current(&founding) => fetch_at_ms(&founding, self.clock.now_ms(), random()),
            _ => 0,
        };
        loop {
            self.tell();
            if self.clock.now_ms() >= self.now.next_ms {
                self.round().await;
                continue;
            }
            let ends_ms = self.documents.borrow().as_deref().and_then(HeldEdition::of).map(|held| held.valid_until_ms);
            let until_ms = ends_ms.map_or(self.now.next_ms, |ends_ms| ends_ms.min(self.now.next_ms));
            self.clock.sleep_towards(until_ms).await;
        }
    }

    /// The clock of intervals, once an edition is there.
    fn founding(&self) -> Option<Founding> {
        let newest = self.believed.as_ref()?.client.newest()?;
        newest.charter().founding().cloned()
    }

    /// True when the newest edition is the one of this interval, as far as this clock knows.
    fn is_current(&self, founding: &Founding) -> bool {
        let index = self.believed.as_ref().map_or(0, |believed| believed.client.index());
        index >= founding.index_at(self.clock.now_ms())
    }

    /// What an earlier run left: for the processes that go by the network's file.
    async fn save(&mut self) {
        let (Some(mut held), now_ms) = (self.believed.take(), self.clock.now_ms()) else { return };
        let work = tokio::task::spawn_blocking(move || {
            let saved = held.save(now_ms);
            (held, saved)
        });
        let Ok((held, saved)) = work.await else { return };
        self.believed = Some(held);
        if let Err(error) = saved {
            self.now.error = Some(error.to_string());
        }
    }

    /// Asks one source after the other until one has the edition of the interval.
    async fn round(&mut self) {
        let mut worst: Option<(Grave, String)> = None;
        for source in self.sources.draw() {
            let mut round = Round {
                clock: &self.clock,
                shared: &self.shared,
                counts: &mut self.now.counts,
                skew_ms: &mut self.now.skew_ms,
                skew_uncertain_ms: &mut self.now.skew_uncertain_ms,
                kept_term: &mut self.kept_term,
            };
            let asked = round.ask(&*source, &mut self.believed).await;
            let founding = self.founding();
            let failed = match (asked, &founding) {
                (Ok(()), Some(founding)) if self.is_current(founding) => return self.succeed(founding),
                (Ok(()), _) => (Grave::Late, self.late()),
                (Err(error), _) => {
                    let grave = gravity(&error);
                    if grave == Grave::Broken {
                        self.now.counts.broken += 1;
                    }
                    (grave, format!("{}: {error}", source.describe()))
                }
            };
            // What came is told at once, whoever has more.
            self.tell();
            if worst.as_ref().is_none_or(|(grave, _)| *grave <= failed.0) {
                worst = Some(failed);
            }
        }
        self.fail(worst);
    }

    fn succeed(&mut self, founding: &Founding) {
        let now_ms = self.clock.now_ms();
        self.retries.handle_success();
        self.now.error = None;
        self.now.fetched_ms = Some(now_ms);
        self.now.next_ms = fetch_at_ms(founding, now_ms, random());
        self.warn_of_clock(founding);
    }

    fn fail(&mut self, worst: Option<(Grave, String)>) {
        let (now_ms, founding) = (self.clock.now_ms(), self.founding());
        self.now.next_ms = now_ms.saturating_add(self.retries.handle_failure(founding.as_ref(), random()));
        let Some((grave, mut error)) = worst else { return };
        match &founding {
            Some(founding) => self.warn_of_clock(founding),
            // Without an edition nobody knows how long intervals are; the sentence below says it.
            None => self.now.clock_is_wrong = self.now.sure_skew_ms().unsigned_abs() >= SKEW_WARNED_MS,
        }
        let is_off = self.now.sure_skew_ms().unsigned_abs() >= SKEW_WARNED_MS;
        if let Some(skew_ms) = self.now.skew_ms.filter(|_| is_off) {
            error.push_str(&format!("; {}: set it right", of_clock(skew_ms)));
        }
        match grave {
            Grave::Late => tracing::debug!("{error}"),
            Grave::Broken | Grave::Refused => tracing::warn!("no new edition of the directory: {error}"),
            Grave::Fork => tracing::error!("{error}"),
        }
        self.now.error = Some(error);
    }

    fn late(&self) -> String {
        let index = self.believed.as_ref().map_or(0, |believed| believed.client.index());
        format!("nobody who was asked has an edition after number {index} yet")
    }

    /// Once, and again after the clock was right in between.
    fn warn_of_clock(&mut self, founding: &Founding) {
        let Some(skew_ms) = self.now.skew_ms else { return };
        // The directory's time stands still between its members' words: it may be behind by an interval on a good clock.
        let sure_ms = self.now.sure_skew_ms();
        let is_wrong = sure_ms >= SKEW_WARNED_MS.cast_signed()
            || sure_ms <= -(SKEW_WARNED_MS + founding.interval_ms).cast_signed();
        if is_wrong && !self.now.clock_is_wrong {
            tracing::warn!("{}; relays answer nobody whose clock is wrong by a day", of_clock(skew_ms));
        }
        self.now.clock_is_wrong = is_wrong;
    }

    /// Tells everybody how it stands now, and what to go by.
    fn tell(&mut self) {
        let Some(believed) = &self.believed else { return };
        let now_ms = self.clock.now_ms();
        let newest = believed.client.newest();
        if let Some(edition) = newest.and_then(NetworkDocument::as_edition)
            && believed.is_saved()
        {
            self.shared.keeper().keep(edition.clone());
        }
        let good = believed.client.document(now_ms);
        self.documents.send_if_modified(|told| {
            let next = if believed.is_saved() { good } else { told.as_deref().filter(|told| is_valid(told, now_ms)) };
            let is_other = told.as_ref().map(|told| told.hash()) != next.map(NetworkDocument::hash);
            if is_other {
                *told = next.map(|next| Arc::new(next.clone()));
            }
            is_other
        });
        let was_valid = self.now.is_valid;
        self.now.is_valid = self.documents.borrow().is_some();
        if was_valid && !self.now.is_valid {
            tracing::error!(
                "the last edition of the directory has ended: there is none to go by until another one comes"
            );
        }
        self.now.held = newest.and_then(HeldEdition::of);
        self.now.forks.clone_from(&believed.proofs);
        self.status.send_if_modified(|told| {
            let is_other = *told != self.now;
            told.clone_from(&self.now);
            is_other
        });
    }
}

fn is_valid(document: &NetworkDocument, now_ms: u64) -> bool {
    HeldEdition::of(document).is_some_and(|held| held.valid_until_ms > now_ms)
}

fn gravity(error: &RoundError) -> Grave {
    match error {
        RoundError::Refused(ClientRefusal::Fork { .. }) => Grave::Fork,
        RoundError::Refused(ClientRefusal::Unknown) => Grave::Late,
        RoundError::Refused(_) | RoundError::Endless => Grave::Refused,
        RoundError::Ask(_) | RoundError::File(_) | RoundError::Lost => Grave::Broken,
    }
}

fn of_clock(skew_ms: i64) -> String {
    let (seconds, way) = (skew_ms.unsigned_abs() / 1_000, if skew_ms > 0 { "behind" } else { "ahead of" });
    format!("this machine's clock is {seconds} s {way} the directory's")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gravest_is_told_and_clocks_have_words() {
        let grave = |refusal| gravity(&RoundError::Refused(refusal));
        assert!(grave(ClientRefusal::Fork { index: 1 }) > grave(ClientRefusal::OtherNetwork));
        assert!(grave(ClientRefusal::OtherNetwork) > gravity(&RoundError::Lost));
        assert!(gravity(&RoundError::Lost) > grave(ClientRefusal::Unknown));
        assert_eq!(of_clock(90_500), "this machine's clock is 90 s behind the directory's");
        assert_eq!(of_clock(-31_000), "this machine's clock is 31 s ahead of the directory's");
    }
}
