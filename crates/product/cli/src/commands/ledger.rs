//! `hushwire ledger new|show`.

use crate::args::LedgerCommand;
use crate::budget;
use crate::commands::status::{runtime, to_json};
use crate::failure::{Code, Failure, Outcome};
use crate::settings;
use crate::terminal;
use admin::ledger::{LEDGER_SCHEMA_VERSION, LedgerStatus};
use admin::status::{LedgerMark, Privacy};
use config::{Allowance, Config, Entry, Role};
use ledger::{Mark, OpenError, Store};
use shaping::accountant::{Composition, Epsilon, FailureProbability};
use shaping::ledger::{Cost, Direction, Spent};
use std::fmt::Write;
use std::path::Path;

pub(crate) fn run(command: &LedgerCommand) -> Outcome {
    match command {
        LedgerCommand::New { config } => {
            let (config, entry) = entry_of(config)?;
            let path = &entry.budget.ledger_file;
            let id = budget::create(path, node_id(&config)?)?;
            terminal::complain(&format!(
                "Wrote {}, ledger {id}: nothing is spent. Keep it with the node; whoever puts an older copy back forgets what was spent.\n",
                path.display()
            ));
            Ok(())
        }
        LedgerCommand::Show { config, json } => {
            let (config, entry) = entry_of(config)?;
            let text = match Store::open(&entry.budget.ledger_file, node_id(&config)?) {
                Ok(store) if *json => to_json(&of_file(&store, &config, &entry))?,
                Ok(store) => report(&store, &config, &entry),
                // Its entry has it open, and says the same.
                Err(error @ OpenError::InUse(_)) => {
                    let status = of_running(&config, &entry).ok_or_else(|| budget::failure(&error))?;
                    if *json { to_json(&status)? } else { status.screen() }
                }
                Err(error) => return Err(budget::failure(&error)),
            };
            terminal::say(&text);
            Ok(())
        }
    }
}

/// What the file has.
fn of_file(store: &Store, config: &Config, entry: &Entry) -> LedgerStatus {
    let (delta, budget, now, mark) = (config.shaping.pacing.delta(), &entry.budget, budget::unix_s(), store.mark());
    let shown = |spent: Spent, allowance: &Allowance| {
        let epsilon = |spent: Composition| Some(spent.epsilon(delta).value());
        let bits = |cost: Cost| Some(cost.bits.to_bits().value());
        let limit = |epsilon: Option<Epsilon>, bits: Option<u32>| epsilon.map(Epsilon::value).or(bits.map(f64::from));
        admin::status::Spent {
            window_epsilon: epsilon(spent.composition_in_window()),
            lifetime_epsilon: epsilon(spent.composition_in_all()),
            window_bits: bits(spent.in_window),
            lifetime_bits: bits(spent.in_all),
            window_limit: limit(allowance.window_epsilon, allowance.window_bits),
            lifetime_limit: limit(allowance.lifetime_epsilon, allowance.lifetime_bits),
        }
    };
    let of = |direction, allowance| Some(shown(store.spent(now, direction, budget.window), allowance));
    let privacy = Privacy {
        delta: Some(delta.value()),
        window_s: Some(budget.window.as_secs()),
        up: of(Direction::Up, &budget.up),
        down: of(Direction::Down, &budget.down),
        together: Some(shown(store.spent_together(now, budget.window), &budget.together)),
        ledger: Some(LedgerMark { id: mark.id.to_string(), reservations: mark.reservations }),
        ..Privacy::default()
    };
    status(entry, false, privacy)
}

/// What the entry says that has the file open; nothing if it says nothing.
fn of_running(config: &Config, entry: &Entry) -> Option<LedgerStatus> {
    let asked = runtime().ok()?.block_on(admin::client::status(&config.admin.socket)).ok()?;
    asked.privacy.map(|privacy| status(entry, true, privacy))
}

fn status(entry: &Entry, running: bool, privacy: Privacy) -> LedgerStatus {
    let (version, file) = (env!("CARGO_PKG_VERSION").to_owned(), entry.budget.ledger_file.display().to_string());
    LedgerStatus { schema: LEDGER_SCHEMA_VERSION, version, file, running, privacy }
}

fn entry_of(path: &Path) -> Result<(Config, Entry), Failure> {
    let config = settings::entry_of(path)?;
    match &config.role {
        Role::Entry(entry) => {
            let entry = entry.clone();
            Ok((config, entry))
        }
        Role::Exit(_) => {
            Err(Failure::new(Code::Configuration, "an exit has no ledger; the entry pays for both directions")
                .remedy("name the configuration of the entry"))
        }
    }
}

fn node_id(config: &Config) -> Result<[u8; 32], Failure> {
    Ok(settings::keys(&config.key_file)?.node_secret.node_id().0)
}

fn report(store: &Store, config: &Config, entry: &Entry) -> String {
    let delta = config.shaping.pacing.delta();
    let budget = &entry.budget;
    let now = budget::unix_s();
    let Mark { id, reservations } = store.mark();
    let mut text = format!(
        "{}: what one client that was there all the time has lost, at delta {:e}\nledger {id}, {reservations} reservations\n\n{:<10}{:>16}{:>12}{:>16}{:>12}\n",
        store.path().display(),
        delta.value(),
        "",
        format!("epsilon in {} h", budget.window.as_secs() / 3_600),
        "bits",
        "epsilon in all",
        "bits"
    );
    let mut row = |name: &str, columns: [String; 4]| {
        let [window, window_bits, all, all_bits] = columns;
        let written = writeln!(text, "{name:<10}{window:>16}{window_bits:>12}{all:>16}{all_bits:>12}");
        debug_assert!(written.is_ok(), "writing to a string cannot fail");
    };
    for (name, direction, allowance) in [
        ("up", Some(Direction::Up), &budget.up),
        ("down", Some(Direction::Down), &budget.down),
        ("both", None, &budget.together),
    ] {
        let spent = match direction {
            Some(direction) => store.spent(now, direction, budget.window),
            None => store.spent_together(now, budget.window),
        };
        row(name, spent_columns(spent, delta));
        if *allowance != Allowance::default() {
            row("  at most", limit_columns(allowance));
        }
    }
    text
}

fn spent_columns(spent: Spent, delta: FailureProbability) -> [String; 4] {
    let epsilon = |spent: Composition| format!("{:.3}", spent.epsilon(delta).value());
    let bits = |cost: Cost| format!("{:.0}", cost.bits.to_bits().value());
    let (window, all) = (spent.composition_in_window(), spent.composition_in_all());
    [epsilon(window), bits(spent.in_window), epsilon(all), bits(spent.in_all)]
}

fn limit_columns(allowance: &Allowance) -> [String; 4] {
    let epsilon = |limit: Option<Epsilon>| limit.map_or("-".to_owned(), |limit| format!("{:.3}", limit.value()));
    let bits = |limit: Option<u32>| limit.map_or("-".to_owned(), |limit| limit.to_string());
    let Allowance { window_epsilon, lifetime_epsilon, window_bits, lifetime_bits } = *allowance;
    [epsilon(window_epsilon), bits(window_bits), epsilon(lifetime_epsilon), bits(lifetime_bits)]
}
