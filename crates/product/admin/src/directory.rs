//! A member of the directory: what `hushwire directory status` prints, and the screen for people.

use crate::render::printable;
use crate::status::{Severity, Warning};
use serde::{Deserialize, Serialize};
use std::fmt::Write;

/// Version of [`DirectoryStatus`]. Fields are added, never renamed or removed within a version.
pub const DIRECTORY_SCHEMA_VERSION: u32 = 1;
/// A member's clock that is farther than this from the directory's is warned of, in milliseconds. Members say the time every thirty
/// seconds at least, so a good one is hardly ever so far off.
pub const CLOCK_OFF_WARNED_MS: u64 = 60_000;

/// How the directory stands, as one member says.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct DirectoryStatus {
    /// [`DIRECTORY_SCHEMA_VERSION`].
    pub version: u32,
    /// The directory's time less this machine's, in milliseconds.
    pub time_ahead_ms: i64,
    /// The newest edition that enough members signed; 0 before the first.
    pub published: u64,
    /// Its hash, 64 digits of hexadecimal; the network id before the first.
    pub hash: String,
    /// Relays in it.
    pub relays: Option<usize>,
    /// The newest edition that was made, if it lacks signatures.
    pub waiting: Option<u64>,
    /// Signatures of the newest edition that was made.
    pub signatures: u8,
    /// How many it needs.
    pub needed: usize,
    /// Intervals by which the published edition is behind this machine's clock.
    pub late_intervals: Option<u64>,
    /// The term of the members.
    pub term: u64,
    /// How many of them may lie.
    pub liars: u8,
    /// Nodes that operators admitted.
    pub admitted: u16,
    /// Relays that have described themselves.
    pub described: u16,
    /// The number of the operators' next order.
    pub next_order: u64,
    /// The members.
    pub members: Vec<DirectoryMember>,
    /// How full of services' records this member is.
    pub services: DirectoryServices,
    /// What this member's service has done; none where only its socket was asked, which does not tell.
    pub service: Option<DirectoryService>,
}

/// A member, as the log has it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct DirectoryMember {
    /// Its node id.
    pub member: String,
    /// Whether it signed the newest edition that was made.
    pub signed: bool,
    /// How far the time that it said last is behind this machine's, in milliseconds.
    pub said_behind_ms: Option<i64>,
}

/// How full of services' records a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct DirectoryServices {
    /// What it has let in in this interval, in percent of its quota, rounded up.
    pub records_percent: u8,
    /// What it has let in and has not ended, in percent of its quota, rounded up.
    pub bytes_percent: u8,
    /// Keys of services that it has let in and that have not ended, in percent of what it keeps at most, rounded up.
    pub kept_percent: u8,
    /// Whether it takes services that the directory does not have yet.
    pub takes_new: bool,
    /// Records that it did not let in, since it started.
    pub refused: u64,
    /// Records that came too fast, since it started.
    pub put_off: u64,
}

/// What the service of a member has done since it started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct DirectoryService {
    /// Streams that were accepted.
    pub streams: u64,
    /// Streams that are open now, the one of this question among them.
    pub open: u64,
    /// Streams that were closed because nothing was asked on them, or nothing of an answer was taken, for too long.
    pub stalled: u64,
    /// Streams that were closed because what came was no request.
    pub invalid: u64,
    /// Of the streams that are open, those of strangers, who come through circuits.
    pub strangers_open: u64,
    /// Streams of strangers that were closed at once, because there were too many.
    pub strangers_closed: u64,
    /// Commands that came.
    pub commands: u64,
    /// Of these, put off because too many came in a second.
    pub put_off: u64,
    /// Of these, words of relays that nobody admitted.
    pub strangers: u64,
    /// Of these, words of relays that had said as much as counts in an interval.
    pub over_quota: u64,
    /// Of these, refused for any other reason.
    pub refused: u64,
    /// Of these, not ordered in time: no majority, or too much to do.
    pub unordered: u64,
}

impl DirectoryStatus {
    /// What an operator should know.
    pub fn warnings(&self) -> Vec<Warning> {
        let mut warnings = Vec::new();
        let mut warn = |severity, sentence: String| warnings.push(Warning { severity, sentence });
        if self.published > 0 && self.time_ahead_ms.unsigned_abs() >= CLOCK_OFF_WARNED_MS {
            let off = off(-self.time_ahead_ms);
            warn(
                Severity::Warning,
                format!(
                    "the directory's time is {off} this machine's clock: set the clock right (NTP), or see below which members' clocks stand"
                ),
            );
        }
        if let Some(late) = self.late_intervals.filter(|late| *late > 1) {
            warn(Severity::Alarm, self.stalled(late));
        }
        warnings
    }

    /// Why editions are late, by what can be seen, and what to do.
    fn stalled(&self, late: u64) -> String {
        let unsigned = self.members.iter().filter(|member| !member.signed).count();
        let seen = match self.waiting {
            Some(index) => format!(
                "edition {index} has {} of the {} signatures that it needs, {unsigned} members have not signed: their logs say why",
                self.signatures, self.needed
            ),
            None => "the log makes none: no majority of members is connected, or whoever leads the log orders nothing"
                .to_owned(),
        };
        format!(
            "editions are {late} intervals late: {seen}. If all members run and it stays so, whoever leads may lie: `hushwire cluster status` \
             says who leads, and a term outside the log goes on without it (docs/directory.md, `When something fails`)"
        )
    }
}

/// The screen. Texts from elsewhere cannot move the cursor of a terminal.
pub fn screen(status: &DirectoryStatus) -> String {
    let mut text = String::new();
    let mut line = |what: &str, value: String| {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{what:<9} {value}");
    };
    match (status.published, status.relays) {
        (0, _) | (_, None) => line("edition", "none is published yet".into()),
        (index, Some(relays)) => {
            line("edition", format!("number {index}, with {relays} relays; {}", printable(&status.hash)));
        }
    }
    match status.waiting {
        Some(index) => {
            let (signatures, needed) = (status.signatures, status.needed);
            line("waiting", format!("number {index} has {signatures} of the {needed} signatures that it needs"));
        }
        None => line("waiting", "none".into()),
    }
    line("late", late(status.late_intervals));
    line("time", format!("{} this machine's clock", off(-status.time_ahead_ms)));
    line("relays", format!("{} described, {} admitted", status.described, status.admitted));
    let liars = match status.liars {
        0 => "none of whom may lie".to_owned(),
        liars => format!("{liars} of whom may lie"),
    };
    line("members", format!("{}, {liars}; {} must sign; term {}", status.members.len(), status.needed, status.term));
    line("services", services(&status.services));
    if let Some(done) = &status.service {
        line("asked", service(done));
    }
    let _ = writeln!(text, "\n{:<66} {:<7} CLOCK", "MEMBER", "SIGNED");
    for member in &status.members {
        let signed = if member.signed { "yes" } else { "no" };
        let clock = member.said_behind_ms.map_or("has not said the time".to_owned(), |behind| {
            format!(
                "said it {}",
                if behind < 0 { format!("{} ahead", span(behind)) } else { format!("{} ago", span(behind)) }
            )
        });
        let _ = writeln!(text, "{:<66} {signed:<7} {clock}", printable(&member.member));
    }
    for Warning { sentence, .. } in status.warnings() {
        let _ = writeln!(text, "\n{sentence}.");
    }
    text
}

/// Floods stand here: what they come to, and what is left for others.
fn services(services: &DirectoryServices) -> String {
    let DirectoryServices { records_percent, bytes_percent, kept_percent, takes_new, refused, put_off } = services;
    let mut text = format!(
        "this member's quota is used by {records_percent} % (records), {bytes_percent} % (bytes) and {kept_percent} % (services)"
    );
    if refused.saturating_add(*put_off) > 0 {
        let _ = write!(text, "; {refused} records were refused and {put_off} came too fast");
    }
    if !takes_new {
        text.push_str(". It takes no new services now, those that are there go on: somebody floods it, most likely");
    }
    text
}

/// What came, and what of it came to nothing.
fn service(service: &DirectoryService) -> String {
    let DirectoryService { streams, open, strangers_open, commands, .. } = service;
    let mut text = format!("{streams} streams, {open} open, {strangers_open} of these strangers'; {commands} commands");
    let refused = [
        (service.strangers, "of relays that nobody admitted"),
        (service.over_quota, "above a relay's quota"),
        (service.refused, "refused otherwise"),
        (service.put_off, "put off, for too many came in a second"),
        (service.unordered, "not ordered in time"),
        (service.strangers_closed, "streams of strangers too many"),
        (service.stalled, "streams that stood still"),
        (service.invalid, "streams without a request"),
    ];
    for (count, what) in refused.into_iter().filter(|(count, _)| *count > 0) {
        let _ = write!(text, "; {count} {what}");
    }
    text
}

fn late(intervals: Option<u64>) -> String {
    match intervals {
        None => "nothing to be late with".into(),
        Some(0) => "no".into(),
        Some(1) => "one interval, as when it has just begun".into(),
        Some(more) => format!("{more} intervals: see which members do not sign, or whose clock stands"),
    }
}

fn off(behind_ms: i64) -> String {
    if behind_ms < 0 { format!("{} ahead of", span(behind_ms)) } else { format!("{} behind", span(behind_ms)) }
}

fn span(ms: i64) -> String {
    let ms = ms.unsigned_abs();
    match ms {
        0..10_000 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        10_000..600_000 => format!("{} s", ms / 1_000),
        600_000..86_400_000 => format!("{} min", ms / 60_000),
        _ => format!("{} days", ms / 86_400_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> DirectoryStatus {
        let member = |signed, said_behind_ms| DirectoryMember { member: "hwn1x".into(), signed, said_behind_ms };
        DirectoryStatus {
            version: DIRECTORY_SCHEMA_VERSION,
            time_ahead_ms: -1_500,
            published: 7,
            hash: "ab".into(),
            relays: Some(3),
            waiting: Some(9),
            signatures: 1,
            needed: 2,
            late_intervals: Some(2),
            term: 1,
            liars: 0,
            admitted: 4,
            described: 3,
            next_order: 5,
            members: vec![member(true, Some(400)), member(false, Some(-90_000)), member(false, None)],
            services: DirectoryServices {
                records_percent: 2,
                bytes_percent: 77,
                kept_percent: 5,
                takes_new: false,
                refused: 3,
                put_off: 9_000,
            },
            service: Some(DirectoryService {
                streams: 12,
                open: 1,
                commands: 40,
                over_quota: 9,
                strangers_closed: 3,
                ..DirectoryService::default()
            }),
        }
    }

    #[test]
    fn a_screen_says_who_is_missing_and_what_was_refused() {
        let text = screen(&status());
        for part in [
            "number 7, with 3 relays; ab",
            "number 9 has 1 of the 2 signatures",
            "2 intervals",
            "1.5 s behind this machine's clock",
            "3, none of whom may lie; 2 must sign; term 1",
            "12 streams, 1 open, 0 of these strangers'; 40 commands; 9 above a relay's quota; 3 streams of strangers too many\n",
            "yes     said it 0.4 s ago",
            "no      said it 90 s ahead",
            "has not said the time",
            "used by 2 % (records), 77 % (bytes) and 5 % (services); 3 records were refused and 9000 came too fast. It takes no new services",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn a_stalled_log_names_the_remedy_and_a_wrong_clock_is_told() {
        let [stalled] = &status().warnings()[..] else { panic!("one alarm") };
        assert!(stalled.sentence.contains("2 members have not signed"), "{}", stalled.sentence);
        assert!(stalled.sentence.contains("a term outside the log") && screen(&status()).contains(&stalled.sentence));
        let log = DirectoryStatus { waiting: None, ..status() };
        assert!(log.warnings()[0].sentence.contains("whoever leads the log orders nothing"));
        let good = DirectoryStatus { late_intervals: Some(1), ..status() };
        assert!(good.warnings().is_empty());
        let off = DirectoryStatus { time_ahead_ms: 61_000, ..good.clone() };
        assert!(off.warnings()[0].sentence.contains("61 s ahead of this machine's clock"), "{:?}", off.warnings());
        assert!(
            DirectoryStatus { published: 0, ..off }.warnings().is_empty(),
            "before the first edition there is no time"
        );
    }
}
