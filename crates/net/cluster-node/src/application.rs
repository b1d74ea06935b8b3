//! Applications on the log beside the built-in ones.

use replicated_log::AppId;
use replicated_log::apps::{App, Apps, built_in};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Makes an application in its first state, the same one each time.
pub type MakeApp = Arc<dyn Fn() -> Box<dyn App> + Send + Sync>;

/// The applications that a node has. Every member of a cluster must have the same: what one of them answers and keeps is part of
/// what members compare when a term ends.
#[derive(Clone, Default)]
pub struct Applications {
    more: BTreeMap<AppId, MakeApp>,
}

impl fmt::Debug for Applications {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.more.keys()).finish()
    }
}

impl Applications {
    /// One more, in the place of another with its number. It is made anew for each who goes through old terms, so whoever wants
    /// to look into the one that the log drives passes that one to [`crate::node::Settings::live`].
    #[must_use]
    pub fn with(mut self, app: AppId, make: MakeApp) -> Self {
        self.more.insert(app, make);
        self
    }

    /// All of them in their first state.
    pub(crate) fn make(&self) -> Apps {
        let mut apps = built_in();
        apps.extend(self.more.iter().map(|(app, make)| (*app, make())));
        apps
    }

    /// All of them in their first state, with these in the places of those with their numbers: the ones that the log drives.
    pub(crate) fn live(&self, live: Apps) -> Apps {
        let mut apps = self.make();
        apps.extend(live);
        apps
    }
}
