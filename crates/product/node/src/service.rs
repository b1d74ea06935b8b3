//! What the service manager is told (`sd_notify(3)`). Without one, nothing happens.

use std::time::Duration;

use sd_notify::NotifyState;

/// The service manager, if there is one.
#[derive(Debug)]
pub(crate) struct Service {
    watchdog: Option<Duration>,
}

impl Service {
    pub(crate) fn from_environment() -> Self {
        Self { watchdog: sd_notify::watchdog_enabled() }
    }

    /// How often [`Service::alive`] is to be called: twice in the time after which the manager loses patience.
    pub(crate) fn alive_interval(&self) -> Option<Duration> {
        self.watchdog.map(|patience| (patience / 2).max(Duration::from_millis(1)))
    }

    pub(crate) fn ready(&self) {
        notify(&[NotifyState::Ready, NotifyState::Status("serving")]);
    }

    pub(crate) fn alive(&self) {
        notify(&[NotifyState::Watchdog]);
    }

    pub(crate) fn says(&self, sentence: &str) {
        notify(&[NotifyState::Status(sentence)]);
    }

    pub(crate) fn stopping(&self) {
        notify(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
    }
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "the service manager cannot be told");
    }
}
