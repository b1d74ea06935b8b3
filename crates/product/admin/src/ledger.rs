//! What an entry's rate has told: what `hushwire ledger show --json` prints, and the rows for people where the entry runs.

use crate::render::privacy_rows;
use crate::status::Privacy;
use serde::{Deserialize, Serialize};

/// Version of [`LedgerStatus`]. Fields are added, never renamed or removed within a version.
pub const LEDGER_SCHEMA_VERSION: u32 = 1;

/// A ledger.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LedgerStatus {
    /// [`LEDGER_SCHEMA_VERSION`].
    pub schema: u32,
    /// Version of the program.
    pub version: String,
    /// Its file.
    pub file: String,
    /// Whether the entry runs, and has said this itself.
    pub running: bool,
    /// What is spent, and what may be. Of an entry that runs, in what its mode counts; else in both.
    pub privacy: Privacy,
}

impl LedgerStatus {
    /// The rows, for an entry that runs.
    pub fn screen(&self) -> String {
        format!("{}, as the running entry says\n{}", crate::render::printable(&self.file), privacy_rows(&self.privacy))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{LedgerMark, Spent};

    #[test]
    fn the_schema_of_a_ledger_is_as_it_was() {
        let spent = Spent {
            window_epsilon: Some(0.5),
            window_limit: Some(2.0),
            lifetime_epsilon: Some(0.75),
            ..Spent::default()
        };
        let privacy = Privacy {
            delta: Some(1e-6),
            window_s: Some(86_400),
            up: Some(spent),
            ledger: Some(LedgerMark { id: "0a".repeat(16), reservations: 12 }),
            ..Privacy::default()
        };
        let status = LedgerStatus {
            schema: 1,
            version: "0.1.0".into(),
            file: "entry.led\u{1b}ger".into(),
            running: true,
            privacy,
        };
        let json = serde_json::to_string_pretty(&status).expect("plain values");
        insta::assert_snapshot!(format!("{json}\n----\n{}", status.screen()));
    }
}
