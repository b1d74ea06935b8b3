//! The task of a publisher: when to speak.

use super::outcome::with_advice;
use super::{Outcome, Profile, PublisherConfig, PublisherStatus};
use crate::clock::random;
use crate::files;
use aws_lc_rs::rand;
use network_document::{Founding, OnionKeyFile};
use onion::Interval;
use relay_directory::timetable::{Retries, describe_at_ms, describe_until_ms};
use relay_directory::{CODE_TRY_AGAIN, Command, ServiceRequest};
use std::sync::Arc;
use tokio::sync::watch;

pub(super) struct Task {
    config: PublisherConfig,
    profiles: watch::Receiver<Profile>,
    /// The mirror is there still.
    has_documents: bool,
    /// The clock of intervals, which never changes.
    founding: Option<Founding>,
    /// What is told: changed here, then sent.
    now: PublisherStatus,
    status: watch::Sender<PublisherStatus>,
    keys: watch::Sender<Arc<OnionKeyFile>>,
    retries: Retries,
}

/// What ended a wait.
enum Woken {
    Time,
    Document,
    Profile,
    /// The publisher is gone.
    Over,
}

impl Task {
    pub(super) fn new(
        config: PublisherConfig,
        profiles: watch::Receiver<Profile>,
        status: watch::Sender<PublisherStatus>,
        keys: watch::Sender<Arc<OnionKeyFile>>,
    ) -> Self {
        let now = PublisherStatus::default();
        Self { config, profiles, has_documents: true, founding: None, now, status, keys, retries: Retries::default() }
    }

    pub(super) async fn run(mut self) {
        self.note_document();
        loop {
            let until_ms = self.turn().await;
            self.status.send_if_modified(|told| {
                let is_other = *told != self.now;
                told.clone_from(&self.now);
                is_other
            });
            match self.wait(until_ms).await {
                Woken::Time => {}
                Woken::Document => self.note_document(),
                Woken::Profile => {
                    self.retries.handle_success();
                    self.now.next_ms = 0;
                }
                Woken::Over => return,
            }
        }
    }

    fn note_document(&mut self) {
        let document = self.config.documents.borrow_and_update().clone();
        if let Some(document) = &document {
            self.founding = document.charter().founding().cloned();
        }
        self.now.is_listed = document.map(|document| document.relay(&self.config.secret.node_id()).is_some());
    }

    /// Does what is due, and says when something is due again, in milliseconds since 1970 UTC.
    async fn turn(&mut self) -> u64 {
        let Some(founding) = self.founding.clone() else { return u64::MAX };
        let now_ms = self.config.clock.now_ms();
        let interval = founding.key_interval(founding.index_at(now_ms));
        if self.now.key_interval != Some(interval.0) {
            match self.renew(interval).await {
                Ok(()) => self.now.key_interval = Some(interval.0),
                Err(error) => return self.fail(&founding, Outcome::Keys(error)),
            }
        }
        if now_ms >= self.now.next_ms {
            let outcome = self.speak(&founding, interval, now_ms).await;
            if outcome != Outcome::Said {
                return self.fail(&founding, outcome);
            }
            self.retries.handle_success();
            self.now.outcome = Outcome::Said;
            self.now.next_ms = describe_at_ms(&founding, Interval(interval.0 + 1), random());
        }
        let keys_change_ms = founding.begin_ms((interval.0 + 1).saturating_mul(founding.key_intervals));
        self.now.next_ms.min(keys_change_ms)
    }

    fn fail(&mut self, founding: &Founding, outcome: Outcome) -> u64 {
        let now_ms = self.config.clock.now_ms();
        self.now.next_ms = now_ms.saturating_add(self.retries.handle_failure(Some(founding), random()));
        if outcome != self.now.outcome {
            // The relay's name is in the status and not in a log.
            let kind = match &outcome {
                Outcome::Waiting | Outcome::Said => "",
                Outcome::Refused(..) => "the directory refuses the relay's announcement; its status says why",
                Outcome::Unreached(_) => "the directory was not reached with the relay's announcement",
                Outcome::Invalid(_) => "the relay cannot be announced as it is configured; its status says why",
                Outcome::Keys(_) => "the relay's onion secrets cannot be written; its status says why",
            };
            tracing::warn!("{kind}");
        }
        self.now.outcome = outcome;
        self.now.next_ms
    }

    /// Secrets of this key interval and the next one: on the disk, then told.
    async fn renew(&self, interval: Interval) -> Result<(), String> {
        let mut keys = OnionKeyFile::clone(&self.keys.borrow());
        let mut fresh = [[0; 32]; 2];
        for secret in &mut fresh {
            rand::fill(secret).map_err(|_| "the system gives no random bytes".to_owned())?;
        }
        if !keys.renew(interval, fresh) {
            return Ok(());
        }
        let (path, text) = (self.config.onion_keys.clone(), keys.reveal());
        let written = tokio::task::spawn_blocking(move || files::replace(&path, text.as_bytes())).await;
        written.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        self.keys.send_replace(Arc::new(keys));
        Ok(())
    }

    async fn speak(&mut self, founding: &Founding, interval: Interval, now_ms: u64) -> Outcome {
        // Two words of one millisecond would be one too many.
        let said_ms = now_ms.max(self.now.said_ms.map_or(0, |said_ms| said_ms + 1));
        let until_ms = describe_until_ms(founding, said_ms);
        let profile = self.profiles.borrow_and_update().clone();
        let keys = Arc::clone(&self.keys.borrow());
        let (network, secret) = (self.config.network, &self.config.secret);
        let announcement = match profile.announce(network, secret, &keys, interval, (said_ms, until_ms)) {
            Ok(announcement) => announcement,
            Err(problem) => return Outcome::Invalid(problem.to_string()),
        };
        let command = Command::Describe(Arc::new(announcement)).encode();
        match self.config.members.say(&ServiceRequest::Submit(command)).await {
            Ok(outcome) if outcome.is_done() => {
                (self.now.said_ms, self.now.until_ms) = (Some(said_ms), Some(until_ms));
                Outcome::Said
            }
            Ok(outcome) if outcome.code == CODE_TRY_AGAIN => {
                Outcome::Unreached(super::outcome::plain(&outcome.sentence))
            }
            Ok(outcome) => {
                Outcome::Refused(outcome.code, with_advice(outcome.code, &outcome.sentence, secret.node_id()))
            }
            Err(error) => Outcome::Unreached(error),
        }
    }

    /// Every branch is a wait that may be dropped.
    async fn wait(&mut self, until_ms: u64) -> Woken {
        tokio::select! {
            () = self.config.clock.sleep_towards(until_ms) => Woken::Time,
            changed = self.config.documents.changed(), if self.has_documents => {
                self.has_documents = changed.is_ok();
                Woken::Document
            }
            changed = self.profiles.changed() => if changed.is_ok() { Woken::Profile } else { Woken::Over },
        }
    }
}
