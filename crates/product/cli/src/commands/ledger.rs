//! `hushwire ledger new|show`.

use crate::args::LedgerCommand;
use crate::budget;
use crate::failure::{Code, Failure, Outcome};
use crate::settings;
use crate::terminal;
use config::{Config, Entry, Pacing, Role};
use ledger::Store;
use shaping::accountant::FailureProbability;
use shaping::ledger::{Direction, Spent};
use std::fmt::Write;
use std::path::Path;

pub(crate) fn run(command: &LedgerCommand) -> Outcome {
    match command {
        LedgerCommand::New { config } => {
            let (config, entry) = entry_of(config)?;
            let path = &entry.budget.ledger_file;
            budget::create(path, node_id(&config)?)?;
            terminal::complain(&format!(
                "Wrote {}: nothing is spent. Keep it with the node; whoever puts an older copy back forgets what was spent.\n",
                path.display()
            ));
            Ok(())
        }
        LedgerCommand::Show { config } => {
            let (config, entry) = entry_of(config)?;
            let store =
                Store::open(&entry.budget.ledger_file, node_id(&config)?).map_err(|error| budget::failure(&error))?;
            terminal::say(&report(&store, &config, &entry));
            Ok(())
        }
    }
}

fn entry_of(path: &Path) -> Result<(Config, Entry), Failure> {
    let config = settings::load(path)?;
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
    let delta = match &config.shaping.pacing {
        Pacing::Dp(dp) => dp.delta,
        Pacing::Fixed | Pacing::Stepped(_) | Pacing::Queue(_) => FailureProbability::DEFAULT,
    };
    let window = entry.budget.window;
    let now = budget::unix_s();
    let mut text = format!(
        "{}: what one client that was there all the time has lost, at delta {:e}\n\n{:<10}{:>16}{:>12}{:>16}{:>12}\n",
        store.path().display(),
        delta.value(),
        "",
        format!("epsilon in {} h", window.as_secs() / 3_600),
        "bits",
        "epsilon in all",
        "bits"
    );
    let mut row = |name: &str, spent: Spent| {
        let window = spent.composition_in_window().epsilon(delta).value();
        let all = spent.composition_in_all().epsilon(delta).value();
        let (window_bits, all_bits) = (spent.in_window.bits.to_bits().value(), spent.in_all.bits.to_bits().value());
        let written = writeln!(text, "{name:<10}{window:>16.3}{window_bits:>12.0}{all:>16.3}{all_bits:>12.0}");
        debug_assert!(written.is_ok(), "writing to a string cannot fail");
    };
    row("up", store.spent(now, Direction::Up, window));
    row("down", store.spent(now, Direction::Down, window));
    row("both", store.spent_together(now, window));
    text
}
