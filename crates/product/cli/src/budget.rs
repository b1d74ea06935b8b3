//! The entry's budget while it runs: leave for the next minute, paid in the ledger before it is handed out.
//!
//! A thread of its own does it, each time that somebody has looked at the node, because paying waits for the disk. Leave of
//! both directions goes to the shaped process, which passes on what is the exit's.

use crate::failure::{Code, Failure};
use crate::settings;
use admin::status::{LedgerMark, Privacy, Spent as Shown};
use config::{Config, Pacing, Price, Role};
use ledger::{LedgerId, Mark, OpenError, ReserveError, Store};
use node::Beside;
use shaped_tunnel::{Direction as Whose, Order};
use shaping::UP_EDGE_S;
use shaping::accountant::Epsilon;
use shaping::ledger::{Cost, Direction, Limits, Refusal, Request, Spent};
use std::path::Path;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use wire::grant::Grant;

/// How far ahead releases are paid. What is paid and not used is lost when the process dies, so it is not more.
const AHEAD: Duration = Duration::from_secs(60);
/// Leave is renewed when less than this is left.
const RENEW_BELOW: Duration = Duration::from_secs(30);
/// Looks at the node that wait for the thread; while the disk is slow further ones are left out, the next one will do.
const LOOKS_MAX: usize = 1;

/// What releases cost in the node's mode, and what they may cost.
#[derive(Debug)]
struct Terms {
    price: Price,
    limits: Limits,
    /// The limits as they are written.
    written: Box<config::Budget>,
    /// Loss of one epoch of one direction, in mode `dp`.
    epsilon_each: Option<Epsilon>,
}

/// The ledger of a running entry.
pub(crate) struct Budget {
    store: Store,
    terms: Terms,
    shown: Shared,
    /// Why nothing more is paid, as the log was last told.
    held: Option<String>,
}

/// What `status` shows of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shared(Arc<Mutex<Option<Privacy>>>);

impl Shared {
    /// The newest figures; none where nothing is paid for.
    pub(crate) fn privacy(&self) -> Option<Privacy> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn show(&self, privacy: Privacy) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(privacy);
    }
}

impl Budget {
    /// Opens the ledger of an entry whose mode needs one. `None`: it needs none.
    ///
    /// # Errors
    /// If the ledger cannot be used. The node does not start then: a missing ledger is no fresh budget.
    pub(crate) fn open(config: &Config, node_id: [u8; 32], shown: Shared) -> Result<Option<Self>, Failure> {
        let Role::Entry(entry) = &config.role else { return Ok(None) };
        let pacing = &config.shaping.pacing;
        let Some(price) = pacing.price() else { return Ok(None) };
        let epsilon_each = match pacing {
            Pacing::Dp(dp) => Some(dp.epsilon),
            Pacing::Fixed | Pacing::Stepped(_) | Pacing::Queue(_) => None,
        };
        let limits = entry.budget.limits(price.delta);
        let terms = Terms { price, limits, written: entry.budget.clone(), epsilon_each };
        let store = Store::open(&entry.budget.ledger_file, node_id).map_err(|error| failure(&error))?;
        log_mark(&store, "the ledger is open");
        Ok(Some(Self { store, terms, shown, held: None }))
    }

    /// Starts the thread.
    ///
    /// # Errors
    /// If the system starts no thread.
    pub(crate) fn start(mut self, beside: Beside) -> std::io::Result<Payer> {
        let (looks, seen) = sync_channel(LOOKS_MAX);
        let thread = std::thread::Builder::new().name("budget".to_owned()).spawn(move || {
            while let Ok(Look { session_is_up }) = seen.recv() {
                let held = if session_is_up { self.pay(&beside) } else { None };
                self.log(held.as_ref());
                self.shown.show(self.privacy(held));
            }
            log_mark(&self.store, "the ledger is closed");
        })?;
        Ok(Payer { looks: Some(looks), thread: Some(thread) })
    }

    /// Pays for both directions as far as needed. Returns why it could not.
    fn pay(&mut self, beside: &Beside) -> Option<String> {
        let mut held: Vec<String> = Vec::new();
        for direction in Direction::ALL {
            let ahead_s = self.store.paid_until_s(direction).saturating_sub(unix_s());
            // Far more than is ever paid ahead means that the clock went back: the ledger says so when it is asked.
            if (RENEW_BELOW.as_secs()..=AHEAD.as_secs() + UP_EDGE_S).contains(&ahead_s) {
                continue;
            }
            let Price { epoch_s, each: cost_each, .. } = self.terms.price;
            let request = Request { direction, epoch_s, until_s: unix_s() + AHEAD.as_secs(), cost_each };
            match self.store.reserve(unix_s(), request, &self.terms.limits) {
                Ok(leave) => {
                    let cost_each = self.terms.price.compared;
                    let grant = Grant { first_epoch: leave.first_epoch, releases: leave.releases, cost_each };
                    give(beside, direction, grant);
                }
                Err(ReserveError::Refused(Refusal::Paid)) => {}
                Err(error) => held.push(consequence(direction, &error)),
            }
        }
        (!held.is_empty()).then(|| held.join(". "))
    }

    /// Writes into the log when the budget ends and when there is some again.
    fn log(&mut self, held: Option<&String>) {
        if held == self.held.as_ref() {
            return;
        }
        match held {
            Some(why) => tracing::warn!("no release is paid for: {why}"),
            None => tracing::info!("releases of both directions are paid for again"),
        }
        self.held = held.cloned();
    }

    fn privacy(&self, held: Option<String>) -> Privacy {
        let window = self.terms.limits.window;
        let (terms, mark) = (&self.terms, self.store.mark());
        let of = |direction, written| Some(terms.shown(self.store.spent(unix_s(), direction, window), written));
        Privacy {
            epsilon_each: terms.epsilon_each.map(Epsilon::value),
            delta: (!terms.price.counts_bits()).then(|| terms.price.delta.value()),
            window_s: Some(window.as_secs()),
            up: of(Direction::Up, &terms.written.up),
            down: of(Direction::Down, &terms.written.down),
            together: Some(terms.shown(self.store.spent_together(unix_s(), window), &terms.written.together)),
            ledger: Some(LedgerMark { id: mark.id.to_string(), reservations: mark.reservations }),
            held,
            edges: None,
        }
    }
}

/// The thread that pays. It ends with this value, when what it is writing is on the disk.
pub(crate) struct Payer {
    looks: Option<SyncSender<Look>>,
    thread: Option<JoinHandle<()>>,
}

/// The node as somebody saw it.
struct Look {
    session_is_up: bool,
}

impl Payer {
    /// Tells it how the node is; to be called about once a second. Nothing is paid for a node that serves nobody.
    pub(crate) fn look(&self, session_is_up: bool) {
        if let Some(looks) = &self.looks {
            // One that it has no time for is left out.
            let _ = looks.try_send(Look { session_is_up });
        }
    }
}

impl Drop for Payer {
    fn drop(&mut self) {
        self.looks = None;
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so.
            let _ = thread.join();
        }
    }
}

/// Says in the log how far the ledger has come: so that an older copy that is put back can be told from it.
fn log_mark(store: &Store, what: &str) {
    let Mark { id, reservations } = store.mark();
    tracing::info!(%id, reservations, "{what}");
}

impl Terms {
    fn shown(&self, spent: Spent, written: &config::Allowance) -> Shown {
        if self.price.counts_bits() {
            let bits = |cost: Cost| Some(cost.bits.to_bits().value());
            return Shown {
                window_bits: bits(spent.in_window),
                lifetime_bits: bits(spent.in_all),
                window_limit: written.window_bits.map(f64::from),
                lifetime_limit: written.lifetime_bits.map(f64::from),
                ..Shown::default()
            };
        }
        Shown {
            window_epsilon: Some(spent.composition_in_window().epsilon(self.price.delta).value()),
            lifetime_epsilon: Some(spent.composition_in_all().epsilon(self.price.delta).value()),
            window_limit: written.window_epsilon.map(Epsilon::value),
            lifetime_limit: written.lifetime_epsilon.map(Epsilon::value),
            ..Shown::default()
        }
    }
}

/// What a person is told when a direction cannot be paid for.
fn consequence(direction: Direction, error: &ReserveError) -> String {
    let name = match direction {
        Direction::Up => "up",
        Direction::Down => "down",
    };
    match error {
        ReserveError::Refused(Refusal::Lifetime { .. }) => format!("{name}: {error}; its rate is constant for good"),
        _ => format!("{name}: {error}; until then its rate is constant"),
    }
}

/// Hands leave out. What is not taken stays spent.
fn give(beside: &Beside, direction: Direction, grant: Grant) {
    let whose = match direction {
        Direction::Up => Whose::Own,
        Direction::Down => Whose::Other,
    };
    let order = serde_json::to_value(Order::grant(whose, grant)).unwrap_or_default();
    if let Err(error) = beside.orders.give(order) {
        tracing::warn!(%error, "leave to release was paid for and could not be handed out");
    }
}

/// Seconds since 1970 by the system's clock.
pub(crate) fn unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Makes the ledger of a configured entry and says its id.
pub(crate) fn create(path: &Path, node_id: [u8; 32]) -> Result<LedgerId, Failure> {
    let id = LedgerId::from_bytes(settings::random()?);
    Store::create(path, node_id, id, unix_s()).map_err(|error| {
        let code = match error {
            ledger::CreateError::Exists(_) => Code::CannotCreate,
            ledger::CreateError::System { .. } => Code::InputOutput,
        };
        split(code, &error.to_string())
    })?;
    Ok(id)
}

/// A ledger that cannot be used, as its error says it: what, then what to do.
pub(crate) fn failure(error: &OpenError) -> Failure {
    let code = match error {
        OpenError::Missing(_) => Code::NoInput,
        OpenError::NotAFile(_) | OpenError::Damaged { .. } | OpenError::Foreign(_) => Code::Data,
        OpenError::Open { .. } | OpenError::Owner { .. } => Code::Permission,
        OpenError::InUse(_) => Code::System,
        OpenError::System { .. } => Code::InputOutput,
    };
    split(code, &error.to_string())
}

fn split(code: Code, text: &str) -> Failure {
    match text.split_once("; ") {
        Some((sentence, remedy)) => Failure::new(code, sentence).remedy(remedy),
        None => Failure::new(code, text),
    }
}
