//! `hushwire directory status`.

use super::ask::{Asked, hex};
use super::place::{Place, place};
use crate::args::directory::StandingArgs;
use crate::commands::status::{not_answered, runtime, to_json};
use crate::commands::whole;
use crate::failure::{Failure, Outcome};
use crate::settings::now_ms;
use crate::terminal;
use admin::directory::{DIRECTORY_SCHEMA_VERSION, DirectoryMember, DirectoryServices, DirectoryStatus, screen};
use admin::status::Warning;
use relay_directory::{NEW_BYTES_MAX, Request, SPONSOR_BYTES_MAX, ServicesStanding};
use std::path::Path;

/// Beyond this part of a quota a member takes no services that the directory does not have yet.
const NEW_PERCENT: u8 = (100 * NEW_BYTES_MAX / SPONSOR_BYTES_MAX) as u8;

pub(super) fn status(args: &StandingArgs) -> Outcome {
    let text = match place(&args.socket)? {
        Place::Member { socket, admin } => {
            // What it says of its service it says to its own user only; nothing if it says nothing.
            let service = admin.and_then(|admin| runtime().ok()?.block_on(whole::cluster_status(&admin)).ok()?.service);
            let status = DirectoryStatus { service, ..of_member(&socket)? };
            if args.json { to_json(&status)? } else { screen(&status) }
        }
        // What it knows of the directory is what its mirror was told.
        Place::Mirror(socket) => {
            let asked = runtime()?.block_on(admin::client::mirror(&socket));
            let status = asked.map_err(|error| not_answered(&error).remedy("start the node, or look at its log"))?;
            if args.json {
                to_json(&status)?
            } else {
                let warnings = status.warnings().into_iter().map(|Warning { sentence, .. }| format!("\n{sentence}.\n"));
                admin::mirror::screen(&status, now_ms()?) + &warnings.collect::<String>()
            }
        }
    };
    terminal::say(&text);
    Ok(())
}

/// How the directory stands, as the member at this socket says.
pub(crate) fn of_member(socket: &Path) -> Result<DirectoryStatus, Failure> {
    let mut asked = Asked::at(socket)?;
    let (standing, members, services) = (asked.standing()?, asked.members()?, asked.services()?);
    let edition = asked.edition(Request::Full)?;
    let now_ms = now_ms()?;
    let ahead = |time_ms: u64| time_ms.saturating_sub(now_ms) as i64 - now_ms.saturating_sub(time_ms) as i64;
    let founding = edition.as_ref().map(|edition| edition.edition().head().founding());
    let members_are = members.members.iter().map(|member| DirectoryMember {
        member: member.member.to_string(),
        signed: member.signed,
        said_behind_ms: member.clock.map(|(_, utc_ms)| -ahead(utc_ms)),
    });
    Ok(DirectoryStatus {
        version: DIRECTORY_SCHEMA_VERSION,
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
        services: shown(services),
        service: None,
    })
}

fn shown(standing: ServicesStanding) -> DirectoryServices {
    // A share is at most 64.
    let percent = |share: u8| (u32::from(share) * 100).div_ceil(64) as u8;
    let (records_percent, bytes_percent) = (percent(standing.records_64ths), percent(standing.bytes_64ths));
    let kept_percent = percent(standing.kept_64ths);
    DirectoryServices {
        records_percent,
        bytes_percent,
        kept_percent,
        takes_new: records_percent.max(bytes_percent) <= NEW_PERCENT && kept_percent < 100,
        refused: standing.refused,
        put_off: standing.put_off,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_percent_and_a_full_member_takes_nothing_new() {
        let some = ServicesStanding { records_64ths: 1, kept_64ths: 3, refused: 3, ..ServicesStanding::default() };
        let full = shown(ServicesStanding { bytes_64ths: 49, ..some });
        assert_eq!((full.records_percent, full.bytes_percent, full.takes_new), (2, 77, false));
        assert!(shown(some).takes_new && !shown(ServicesStanding { kept_64ths: 64, ..some }).takes_new);
    }
}
