//! `hushwire directory status`.

use super::ask::{Asked, hex, now_ms};
use crate::args::directory::StandingArgs;
use crate::commands::status::to_json;
use crate::failure::Outcome;
use crate::terminal;
use relay_directory::{NEW_BYTES_MAX, Request, SPONSOR_BYTES_MAX, ServicesStanding};
use serde::Serialize;
use std::fmt::Write;

/// Beyond this part of a quota a member takes no services that the directory does not have yet.
const NEW_PERCENT: u8 = (100 * NEW_BYTES_MAX / SPONSOR_BYTES_MAX) as u8;

#[derive(Debug, Serialize)]
struct Status {
    /// The version of this schema.
    version: u8,
    /// The directory's time less this machine's, in milliseconds.
    time_ahead_ms: i64,
    /// The newest edition that enough members signed; 0 before the first.
    published: u64,
    hash: String,
    /// Relays in it.
    relays: Option<usize>,
    /// The newest edition that was made, if it lacks signatures.
    waiting: Option<u64>,
    /// Signatures of the newest edition that was made.
    signatures: u8,
    /// How many it needs.
    needed: usize,
    /// Intervals by which the published edition is behind this machine's clock.
    late_intervals: Option<u64>,
    term: u64,
    liars: u8,
    admitted: u16,
    described: u16,
    next_order: u64,
    members: Vec<Member>,
    services: Services,
}

/// How full of services' records the member is that was asked.
#[derive(Debug, Serialize)]
struct Services {
    /// What it has let in in this interval, in percent of its quota, rounded up.
    records_percent: u8,
    /// What it has let in and has not ended, in percent of its quota, rounded up.
    bytes_percent: u8,
    /// Records that it did not let in, since it started.
    refused: u64,
    /// Records that came too fast, since it started.
    put_off: u64,
}

impl From<ServicesStanding> for Services {
    fn from(standing: ServicesStanding) -> Self {
        // A share is at most 64.
        let percent = |share: u8| (u32::from(share) * 100).div_ceil(64) as u8;
        Self {
            records_percent: percent(standing.records_64ths),
            bytes_percent: percent(standing.bytes_64ths),
            refused: standing.refused,
            put_off: standing.put_off,
        }
    }
}

#[derive(Debug, Serialize)]
struct Member {
    member: String,
    /// Whether it signed the newest edition that was made.
    signed: bool,
    /// How far the time that it said last is behind this machine's, in milliseconds.
    said_behind_ms: Option<i64>,
}

pub(super) fn status(args: &StandingArgs) -> Outcome {
    let mut asked = Asked::connect(&args.socket)?;
    let (standing, members, services) = (asked.standing()?, asked.members()?, asked.services()?);
    let edition = asked.edition(Request::Full)?;
    let now_ms = now_ms();
    let ahead = |time_ms: u64| time_ms.saturating_sub(now_ms) as i64 - now_ms.saturating_sub(time_ms) as i64;
    let founding = edition.as_ref().map(|edition| edition.edition().head().founding());
    let members_are = members.members.iter().map(|member| Member {
        member: member.member.to_string(),
        signed: member.signed,
        said_behind_ms: member.clock.map(|(_, utc_ms)| -ahead(utc_ms)),
    });
    let status = Status {
        version: 1,
        time_ahead_ms: ahead(standing.time_ms),
        published: standing.published.index,
        hash: hex(&standing.published.hash),
        relays: edition.as_ref().map(|edition| edition.edition().relays().len()),
        waiting: (standing.waiting > standing.published.index).then_some(standing.waiting),
        signatures: standing.signatures,
        needed: usize::midpoint(members.members.len(), usize::from(members.liars)) + 1,
        late_intervals: founding.map(|founding| founding.index_at(now_ms).saturating_sub(standing.published.index)),
        term: members.term,
        liars: members.liars,
        admitted: members.admitted,
        described: members.described,
        next_order: members.next_order,
        members: members_are.collect(),
        services: services.into(),
    };
    terminal::say(&if args.json { to_json(&status)? } else { screen(&status) });
    Ok(())
}

fn screen(status: &Status) -> String {
    let mut text = String::new();
    let mut line = |what: &str, value: String| {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{what:<9} {value}");
    };
    match (status.published, status.relays) {
        (0, _) | (_, None) => line("edition", "none is published yet".into()),
        (index, Some(relays)) => line("edition", format!("number {index}, with {relays} relays; {}", status.hash)),
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
    line("services", services(&status.services));
    line("relays", format!("{} described, {} admitted", status.described, status.admitted));
    let liars = match status.liars {
        0 => "none of whom may lie".to_owned(),
        liars => format!("{liars} of whom may lie"),
    };
    line("members", format!("{}, {liars}; {} must sign; term {}", status.members.len(), status.needed, status.term));
    let _ = writeln!(text, "\n{:<66} {:<7} CLOCK", "MEMBER", "SIGNED");
    for member in &status.members {
        let signed = if member.signed { "yes" } else { "no" };
        let clock = member.said_behind_ms.map_or("has not said the time".to_owned(), |behind| {
            format!(
                "said it {}",
                if behind < 0 { format!("{} ahead", span(behind)) } else { format!("{} ago", span(behind)) }
            )
        });
        let _ = writeln!(text, "{:<66} {signed:<7} {clock}", member.member);
    }
    text
}

/// Floods stand here: what they come to, and what is left for others.
fn services(services: &Services) -> String {
    let Services { records_percent, bytes_percent, refused, put_off } = services;
    let mut text =
        format!("this member's quota is used by {records_percent} % (records) and {bytes_percent} % (bytes)");
    if refused + put_off > 0 {
        // Writing to a string does not fail.
        let _ = write!(text, "; {refused} records were refused and {put_off} came too fast");
    }
    if *bytes_percent.max(records_percent) > NEW_PERCENT {
        text.push_str(". It takes no new services now, those that are there go on: somebody floods it, most likely");
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

    #[test]
    fn a_screen_says_who_is_missing() {
        let member = |signed, said_behind_ms| Member { member: "hwn1x".into(), signed, said_behind_ms };
        let status = Status {
            version: 1,
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
            services: ServicesStanding { records_64ths: 1, bytes_64ths: 49, refused: 3, put_off: 9_000 }.into(),
        };
        let text = screen(&status);
        for part in [
            "number 7, with 3 relays; ab",
            "number 9 has 1 of the 2 signatures",
            "2 intervals",
            "1.5 s behind this machine's clock",
            "3, none of whom may lie; 2 must sign; term 1",
            "yes     said it 0.4 s ago",
            "no      said it 90 s ahead",
            "has not said the time",
            "used by 2 % (records) and 77 % (bytes); 3 records were refused and 9000 came too fast. It takes no new services",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
