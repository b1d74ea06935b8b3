//! The entry's budget while it runs: leave for the next minute, paid in the ledger before it is handed out.
//!
//! A thread of its own does it, once a second by its own clock, because paying waits for the disk. Leave of both directions
//! goes to the shaped process, which passes on what is the exit's.

use crate::failure::{Code, Failure};
use crate::settings;
use admin::status::{LedgerMark, Privacy, Spent as Shown};
use config::{Config, Pacing, Price, Role};
use ledger::{LedgerId, Mark, OpenError, ReserveError, Store};
use node::{Beside, NodeStatus};
use shaped_tunnel::{Direction as Whose, Order, ShapedStatus};
use shaping::UP_EDGE_S;
use shaping::accountant::Epsilon;
use shaping::ledger::{Cost, Direction, Limits, Refusal, Request, Spent};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use wire::grant::Grant;

/// How far ahead releases are paid. What is paid and not used is lost when the process dies, so it is not more.
const AHEAD: Duration = Duration::from_secs(60);
/// Leave is renewed when less than this is left.
const RENEW_BELOW: Duration = Duration::from_secs(30);
/// How often the thread looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

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

    /// Starts the thread. It ends with the node.
    ///
    /// # Errors
    /// If the system starts no thread.
    pub(crate) fn start(mut self, beside: Beside) -> std::io::Result<()> {
        std::thread::Builder::new().name("budget".to_owned()).spawn(move || {
            loop {
                let status = beside.status.snapshot();
                if status.stopping {
                    return;
                }
                let held = self.pay(&beside, &status);
                self.log(held.as_ref());
                self.shown.show(self.privacy(held));
                std::thread::sleep(LOOK_EVERY);
            }
        })?;
        Ok(())
    }

    /// Pays for both directions as far as needed while the session is up. Returns why it could not.
    fn pay(&mut self, beside: &Beside, status: &NodeStatus) -> Option<String> {
        if !session_is_up(status) {
            return None;
        }
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

fn session_is_up(status: &NodeStatus) -> bool {
    let body = status.shaped.body.as_ref();
    let shaped = body.and_then(|body| serde_json::from_value::<ShapedStatus>(body.clone()).ok());
    shaped.is_some_and(|shaped| shaped.node.links.iter().any(|link| link.session_up))
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
    })
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
