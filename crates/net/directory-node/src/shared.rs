//! The directory as the log drives it, and as the member's other parts look into it.

use cluster_node::application::Applications;
use network_document::{EditionName, SignedEdition};
use relay_directory::{Answer, DIRECTORY, Directory, DirectoryApp, EDITIONS_KEPT, Keeper, Request, Succession};
use replicated_log::apps::{App, Apps, Context, Output, RestoreError};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// The directory of a node. Clones are the same one.
#[derive(Debug, Clone)]
pub struct SharedDirectory {
    first: Directory,
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    /// What is fetched from. It is apart from the state, so that whoever makes a difference does not hold up the log.
    keeper: Mutex<Keeper>,
    changed: watch::Sender<u64>,
}

#[derive(Debug)]
struct State {
    app: DirectoryApp,
    /// Published editions that the keeper does not have yet, at most [`EDITIONS_KEPT`]; the oldest goes.
    arrived: VecDeque<SignedEdition>,
    /// What was handed to the keeper last: an edition with so many signatures.
    handed: (EditionName, usize),
    /// Changes of members up to this term were handed over.
    handed_term: u64,
    successions: Vec<Succession>,
}

impl SharedDirectory {
    /// With the first state: that of the charter, or that with which a term outside the log begins.
    pub fn new(first: Directory) -> Self {
        let mut state = State {
            handed: (EditionName { index: 0, hash: [0; 32] }, 0),
            handed_term: 0,
            app: DirectoryApp::new(first.clone()),
            arrived: VecDeque::new(),
            successions: Vec::new(),
        };
        state.note();
        let inner =
            Inner { state: Mutex::new(state), keeper: Mutex::new(Keeper::default()), changed: watch::Sender::new(0) };
        Self { first, inner: Arc::new(inner) }
    }

    /// For [`cluster_node::node::Settings`]: how the directory is made, and the one that the log is to drive.
    pub fn applications(&self) -> (Applications, Apps) {
        let first = self.first.clone();
        let make = move || Box::new(DirectoryApp::new(first.clone())) as Box<dyn App>;
        let live: Box<dyn App> = Box::new(Live(Arc::clone(&self.inner)));
        (Applications::default().with(DIRECTORY, Arc::new(make)), Apps::from([(DIRECTORY, live)]))
    }

    /// Looks at the present state. The log waits meanwhile.
    pub fn look<T>(&self, at: impl FnOnce(&Directory) -> T) -> T {
        at(self.inner.state().app.directory())
    }

    /// Says when the state may have changed.
    pub(crate) fn changed(&self) -> watch::Receiver<u64> {
        self.inner.changed.subscribe()
    }

    /// What a client gets. It may take long: call it where nobody waits.
    pub fn answer(&self, request: &Request) -> Answer {
        let mut keeper = self.inner.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        let (arrived, successions) = {
            let mut state = self.inner.state();
            (std::mem::take(&mut state.arrived), std::mem::take(&mut state.successions))
        };
        arrived.into_iter().for_each(|edition| keeper.keep(edition));
        successions.into_iter().for_each(|succession| keeper.keep_succession(succession));
        keeper.answer(request)
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut DirectoryApp) -> T) -> T {
        let result = {
            let mut state = self.state();
            let result = change(&mut state.app);
            state.note();
            result
        };
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
        result
    }
}

impl State {
    /// Hands what is newly published, or has more signatures, to the keeper.
    fn note(&mut self) {
        let directory = self.app.directory();
        if let Some(published) = directory.published() {
            let present = (published.edition().name(), published.signatures().len());
            if present != self.handed {
                self.handed = present;
                self.arrived.push_back(published.clone());
                if self.arrived.len() > EDITIONS_KEPT {
                    self.arrived.pop_front();
                }
            }
        }
        let term = directory.electorate().term();
        if term > self.handed_term {
            let handed = self.handed_term;
            let later =
                |succession: &&Succession| succession.electorate().is_some_and(|electorate| electorate.term() > handed);
            self.successions.extend(directory.successions().filter(later).cloned());
            self.handed_term = term;
        }
    }
}

/// The application that the log drives.
struct Live(Arc<Inner>);

impl App for Live {
    fn apply(&mut self, context: Context, body: &[u8]) -> Output {
        self.0.change(|app| app.apply(context, body))
    }

    fn query(&self, request: &[u8]) -> Vec<u8> {
        self.0.state().app.query(request)
    }

    fn snapshot(&self) -> Vec<u8> {
        self.0.state().app.snapshot()
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), RestoreError> {
        self.0.change(|app| app.restore(bytes))
    }
}
