//! The settings of a node.

use thiserror::Error;

/// Times and sizes. Members should have the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tuning {
    /// One step of the engine's clock, in milliseconds; 1 to 10,000.
    pub tick_ms: u64,
    /// Steps of one round of heartbeats; 2 to 1,000. A leader that is gone is replaced after 2 to 3 rounds.
    pub election_ticks: u64,
    /// Steps until the engine sends again what may be lost; 2 to 10,000.
    pub resend_ticks: u64,
    /// What was not answered for so long is sent to the leader again, in milliseconds; 10 to 600,000.
    pub retry_ms: u64,
    /// How often a leader writes its time into the log, in milliseconds; 10 to 3,600,000.
    pub log_time_ms: u64,
    /// A term ends when its log has so many entries; 16 to 16,777,216.
    pub term_entries_max: u64,
    /// A term ends when its log has so many bytes; 4,096 to 67,108,864. A member that missed a term's log gets all of it in
    /// one message at worst, so this bounds what it takes in.
    pub term_bytes_max: u64,
    /// So many of the newest entries stay in memory once they are saved, 16 MiB of them at most; older ones are read from the
    /// log when a laggard needs them; 16 to 65,536.
    pub window_entries_max: u64,
    /// A newcomer has caught up when it is so few entries behind; 1 to 65,536.
    pub catch_up_entries: u64,
    /// A planted fault: messages count again when they come again.
    #[cfg(feature = "planted-faults")]
    pub without_sessions: bool,
}

/// A setting that is out of range.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("`{name}` of the cluster is {value}; it must be from {least} to {most}")]
pub struct TuneError {
    /// Which.
    pub name: &'static str,
    /// Its value.
    pub value: u64,
    /// Least.
    pub least: u64,
    /// Most.
    pub most: u64,
}

impl Default for Tuning {
    /// 100 ms to a round, terms of a million entries or 64 MiB.
    fn default() -> Self {
        Self {
            tick_ms: 20,
            election_ticks: 5,
            resend_ticks: 25,
            retry_ms: 1_000,
            log_time_ms: 10_000,
            term_entries_max: 1_000_000,
            term_bytes_max: 64 << 20,
            window_entries_max: 4_096,
            catch_up_entries: 256,
            #[cfg(feature = "planted-faults")]
            without_sessions: false,
        }
    }
}

impl Tuning {
    /// Checks every setting.
    ///
    /// # Errors
    /// Naming the first that is out of range.
    pub fn check(&self) -> Result<(), TuneError> {
        let rows = [
            ("tick_ms", self.tick_ms, 1, 10_000),
            ("election_ticks", self.election_ticks, 2, 1_000),
            ("resend_ticks", self.resend_ticks, 2, 10_000),
            ("retry_ms", self.retry_ms, 10, 600_000),
            ("log_time_ms", self.log_time_ms, 10, 3_600_000),
            ("term_entries_max", self.term_entries_max, 16, 1 << 24),
            ("term_bytes_max", self.term_bytes_max, 4_096, 64 << 20),
            ("window_entries_max", self.window_entries_max, 16, 65_536),
            ("catch_up_entries", self.catch_up_entries, 1, 65_536),
        ];
        for (name, value, least, most) in rows {
            if !(least..=most).contains(&value) {
                return Err(TuneError { name, value, least, most });
            }
        }
        Ok(())
    }
}
