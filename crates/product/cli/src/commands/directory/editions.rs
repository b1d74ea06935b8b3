//! `hushwire directory show` and `log`.

use super::ask::{Asked, hex};
use crate::args::directory::{LogArgs, StandingArgs};
use crate::commands::status::to_json;
use crate::failure::{Code, Failure, Outcome};
use crate::terminal;
use network_document::SignedEdition;
use relay_directory::Request;
use serde::Serialize;
use std::fmt::Write;

#[derive(Debug, Serialize)]
struct Edition {
    index: u64,
    hash: String,
    previous: u64,
    valid_after_ms: u64,
    valid_until_ms: u64,
    term: u64,
    relays: usize,
    signed_by: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Shown {
    /// The version of this schema.
    version: u8,
    edition: Edition,
    relays: Vec<Relay>,
}

#[derive(Debug, Serialize)]
struct Relay {
    node: String,
    roles: String,
    operator: String,
    kbit_s: u64,
    addresses: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Log {
    /// The version of this schema.
    version: u8,
    editions: Vec<Edition>,
}

fn edition(signed: &SignedEdition) -> Edition {
    let edition = signed.edition();
    Edition {
        index: edition.index(),
        hash: hex(&edition.hash()),
        previous: edition.previous().index,
        valid_after_ms: edition.valid_after_ms(),
        valid_until_ms: edition.valid_until_ms(),
        term: edition.electorate().term(),
        relays: edition.relays().len(),
        signed_by: signed.signatures().map(|(member, _)| member.to_string()).collect(),
    }
}

fn newest(asked: &mut Asked) -> Result<SignedEdition, Failure> {
    asked.edition(Request::Full)?.ok_or_else(|| {
        Failure::new(Code::Unavailable, "no edition is published yet")
            .remedy("`hushwire directory status` says which members are missing")
    })
}

pub(super) fn show(args: &StandingArgs) -> Outcome {
    let signed = newest(&mut Asked::connect(&args.socket)?)?;
    if args.json {
        let relay = |descriptor: &network_document::Descriptor| Relay {
            node: descriptor.node_id.to_string(),
            roles: descriptor.roles.to_string(),
            operator: descriptor.operator.to_string(),
            kbit_s: descriptor.bandwidth.bits_per_second() / 1_000,
            addresses: descriptor.addresses.iter().map(ToString::to_string).collect(),
        };
        let relays = signed.edition().relays().iter().map(|relay_of| relay(relay_of.descriptor())).collect();
        terminal::say(&to_json(&Shown { version: 1, edition: edition(&signed), relays })?);
        return Ok(());
    }
    // Signatures of the members that it names itself: whoever wants more has a client that knows the network id.
    let electorate = signed.edition().electorate().clone();
    let document = signed.verify(&electorate).map_err(|error| Failure::new(Code::Data, error.to_string()))?;
    terminal::say(&document.text());
    Ok(())
}

pub(super) fn log(args: &LogArgs) -> Outcome {
    let mut asked = Asked::connect(&args.socket)?;
    let mut editions = Vec::new();
    let mut next = Some(newest(&mut asked)?);
    while let Some(signed) = next.take() {
        editions.push(edition(&signed));
        if editions.len() < usize::from(args.count) {
            next = asked.edition(Request::ByHash { hash: signed.edition().previous().hash })?;
        }
    }
    if args.json {
        terminal::say(&to_json(&Log { version: 1, editions })?);
        return Ok(());
    }
    let mut text = format!("{:<10} {:<64} {:<7} SIGNED BY\n", "NUMBER", "HASH", "RELAYS");
    for edition in &editions {
        let by: Vec<&str> = edition.signed_by.iter().map(|member| member.get(..12).unwrap_or(member)).collect();
        let _ = writeln!(text, "{:<10} {} {:<7} {}", edition.index, edition.hash, edition.relays, by.join(" "));
    }
    terminal::say(&text);
    Ok(())
}
