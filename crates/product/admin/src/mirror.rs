//! A mirror: what this machine knows of its network's directory, and what became of the words of its relay.

use crate::render::{duration, printable};
use crate::status::{Severity, Warning};
use serde::{Deserialize, Serialize};
use std::fmt::Write;

/// Version of [`MirrorStatus`]. Fields are added, never renamed or removed within a version.
pub const MIRROR_SCHEMA_VERSION: u32 = 1;

/// How a mirror stands.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct MirrorStatus {
    /// [`MIRROR_SCHEMA_VERSION`].
    pub schema: u32,
    /// Version of the program.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// For how many seconds it has run.
    pub uptime_s: u64,
    /// The network's name.
    pub network: String,
    /// Bytes of UDP payload of every packet of the network (P).
    pub packet_size: u32,
    /// The newest edition that was believed, ended or not.
    pub edition: Option<HeldEdition>,
    /// Whether there is an edition to go by.
    pub valid: bool,
    /// UTC milliseconds at which somebody last gave the edition of the interval.
    pub fetched_ms: Option<u64>,
    /// UTC milliseconds at which it asks next.
    pub next_ms: u64,
    /// Whether it asks over tunnels; else at sockets of this machine.
    pub tunnels: bool,
    /// Whether anybody has answered since the start.
    pub answered: bool,
    /// Streams that did not open, broke, or carried no answer, since the start.
    pub broken: u64,
    /// Answers that were not believed, since the start.
    pub refused: u64,
    /// What is wrong, if anything is.
    pub error: Option<String>,
    /// Files with proofs that the directory has forked.
    pub forks: Vec<String>,
    /// The directory's time less this machine's, in milliseconds, as whoever was asked last says.
    pub skew_ms: Option<i64>,
    /// Whether that is more than a clock may be off.
    pub clock_is_wrong: bool,
    /// What became of the words of this machine's relay; none without one.
    pub announced: Option<Announced>,
}

/// An edition, for people.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct HeldEdition {
    /// Its number.
    pub index: u64,
    /// 64 digits of hexadecimal.
    pub hash: String,
    /// UTC milliseconds until which it may be gone by.
    pub valid_until_ms: u64,
    /// Its relays.
    pub relays: u64,
    /// The term of those who signed it.
    pub term: u64,
}

/// What became of a relay's words.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Announced {
    /// `waiting`, `said`, `refused`, `unreached`, `invalid` or `keys`.
    pub outcome: String,
    /// Why, where it is not `said`.
    pub reason: Option<String>,
    /// UTC milliseconds at which the words were said that the directory has.
    pub said_ms: Option<u64>,
    /// UTC milliseconds until which they hold.
    pub until_ms: Option<u64>,
    /// Whether the newest edition has the relay; unknown while there is none.
    pub listed: Option<bool>,
}

/// How far a clock is off, in words that tell what to do.
pub fn wrong_clock(skew_ms: i64) -> String {
    let (seconds, way) = (skew_ms.unsigned_abs() / 1_000, if skew_ms > 0 { "behind" } else { "ahead of" });
    format!(
        "this machine's clock is {} {way} the directory's: set it right, best with NTP; nobody answers a node whose clock is wrong by more \
         than a day",
        duration(seconds)
    )
}

/// What may be the cause when nobody answers at all. `packet` is the bytes of UDP payload of every packet.
pub fn nobody_answers(whom: &str, packet: usize) -> String {
    format!(
        "{whom} has answered since the start. One of four: this machine's clock is wrong by more than a day; the door key or the address \
         that this node has of them is not theirs any more (an old invitation or document); the path carries no UDP there and back; or it \
         carries no packets of {packet} bytes, the size of all packets of the network"
    )
}

impl MirrorStatus {
    /// What an operator should know.
    pub fn warnings(&self) -> Vec<Warning> {
        let mut warnings = Vec::new();
        let mut warn = |severity, sentence: String| warnings.push(Warning { severity, sentence });
        if let Some(announced) = self.announced.as_ref().filter(|announced| announced.outcome != "said") {
            let reason = announced.reason.as_deref().unwrap_or("there is no edition yet");
            warn(Severity::Warning, format!("this machine's relay is not announced: {reason}"));
        }
        if let Some(error) = &self.error {
            warn(Severity::Warning, format!("no newer document of the network: {error}"));
        }
        if let Some(skew_ms) = self.skew_ms.filter(|_| self.clock_is_wrong) {
            warn(Severity::Warning, wrong_clock(skew_ms));
        }
        if self.tunnels && !self.answered && self.broken > 0 {
            warn(Severity::Alarm, nobody_answers("no directory node", self.packet_size as usize));
        }
        if self.edition.is_some() && !self.valid {
            let sentence = "the newest document has ended, so there is none to go by until a later one comes";
            warn(Severity::Alarm, sentence.to_owned());
        }
        for fork in &self.forks {
            warn(
                Severity::Alarm,
                format!("members of the directory lie: two signed editions of one index are in {fork}"),
            );
        }
        warnings
    }
}

/// The screen, without warnings. `now_ms` is UTC milliseconds by the reader's clock.
pub fn screen(status: &MirrorStatus, now_ms: u64) -> String {
    let mut text = String::new();
    let (network, up) = (printable(&status.network), duration(status.uptime_s));
    // Writing to a string does not fail.
    let _ = writeln!(text, "mirror of `{network}`, running for {up}\n");
    let left = |until_ms: u64| duration(until_ms.saturating_sub(now_ms) / 1_000);
    match &status.edition {
        None => text.push_str("edition   none yet\n"),
        Some(HeldEdition { index, relays, term, valid_until_ms, .. }) => {
            let good = if status.valid { format!("good for {}", left(*valid_until_ms)) } else { "ENDED".to_owned() };
            let _ = writeln!(text, "edition   number {index}, with {relays} relays, of term {term}; {good}");
        }
    }
    let asked = status
        .fetched_ms
        .map_or("never".to_owned(), |at_ms| format!("{} ago", duration(now_ms.saturating_sub(at_ms) / 1_000)));
    let _ = writeln!(text, "fetched   {asked}; next in {}", left(status.next_ms));
    let _ = writeln!(text, "answers   {} streams broke, {} were not believed", status.broken, status.refused);
    if let Some(announced) = &status.announced {
        let listed = match announced.listed {
            Some(true) => "the newest edition has it",
            Some(false) => "the newest edition does not have it",
            None => "there is no edition",
        };
        let until = announced.until_ms.map_or(String::new(), |until_ms| format!(" for {}", left(until_ms)));
        let _ = writeln!(text, "relay     {}{until}; {listed}", printable(&announced.outcome));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> MirrorStatus {
        MirrorStatus {
            network: "exa\u{1b}mple".into(),
            packet_size: 1350,
            edition: Some(HeldEdition {
                index: 7,
                relays: 12,
                term: 1,
                valid_until_ms: 100_000,
                ..HeldEdition::default()
            }),
            valid: true,
            fetched_ms: Some(30_000),
            next_ms: 95_000,
            tunnels: true,
            answered: true,
            announced: Some(Announced {
                outcome: "said".into(),
                listed: Some(true),
                until_ms: Some(70_000),
                ..Announced::default()
            }),
            ..MirrorStatus::default()
        }
    }

    #[test]
    fn the_screen_says_what_is_known_and_a_good_mirror_warns_of_nothing() {
        let shown = screen(&status(), 40_000);
        assert_eq!(
            shown,
            "mirror of `exa\u{fffd}mple`, running for 0 s\n\n\
             edition   number 7, with 12 relays, of term 1; good for 1 min 0 s\n\
             fetched   10 s ago; next in 55 s\n\
             answers   0 streams broke, 0 were not believed\n\
             relay     said for 30 s; the newest edition has it\n"
        );
        assert!(status().warnings().is_empty());
        assert!(screen(&MirrorStatus::default(), 1).contains("none yet"));
    }

    #[test]
    fn a_wrong_clock_is_warned_of_and_silence_has_four_causes() {
        let ahead = MirrorStatus { skew_ms: Some(-90_500), clock_is_wrong: true, ..status() };
        let warnings = ahead.warnings();
        assert!(warnings.len() == 1 && warnings[0].sentence.contains("clock is 1 min 30 s ahead of the directory's"));
        assert!(MirrorStatus { clock_is_wrong: false, ..ahead }.warnings().is_empty(), "a little is nothing");
        let silent = MirrorStatus { answered: false, broken: 3, edition: None, valid: false, ..status() };
        let [alarm] = &silent.warnings()[..] else { panic!("one alarm") };
        for cause in ["clock is wrong by more than a day", "door key", "carries no UDP", "packets of 1350 bytes"] {
            assert!(alarm.sentence.contains(cause), "{}", alarm.sentence);
        }
        assert!(MirrorStatus { broken: 0, ..silent }.warnings().is_empty(), "it has only begun");
        let refused =
            Announced { outcome: "refused".into(), reason: Some("not admitted".into()), ..Announced::default() };
        let bad = MirrorStatus { announced: Some(refused), forks: vec!["f".into()], valid: false, ..status() };
        assert_eq!(bad.warnings().len(), 3);
    }
}
