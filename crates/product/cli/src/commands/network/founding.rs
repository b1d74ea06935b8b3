//! The second half of the charter of a network with a directory.

use crate::args::network::FoundingArgs;
use crate::commands::directory::electorate;
use crate::failure::Failure;
use crate::settings;
use crate::terminal;
use network_document::Founding;
use std::fmt::Write;

/// What the options say, and what so many members bear.
pub(super) fn founding(args: &FoundingArgs) -> Result<Founding, Failure> {
    let electorate = electorate(1, &args.members, args.liars)?;
    let (members, liars, quorum) = (electorate.members().len(), electorate.liars(), electorate.quorum());
    let start_ms = args.start_ms.map_or_else(|| settings::now_ms().map(|now_ms| now_ms / 1_000 * 1_000), Ok)?;
    let mut founding = Founding::new(start_ms, electorate);
    if let Some(interval) = args.interval {
        founding.interval_ms = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX);
    }
    founding.key_intervals = args.key_intervals.unwrap_or(founding.key_intervals);
    founding.valid_intervals = args.valid_intervals.unwrap_or(founding.valid_intervals);
    if let Some(ports) = &args.network_ports {
        founding.parameters.hop_ports = ports.clone();
    }
    founding.parameters.legs = args.legs.unwrap_or(founding.parameters.legs);
    let dead = members - quorum;
    let mut text = format!("{quorum} of {members} members must sign an edition; {dead} may be dead");
    let _ = match liars {
        0 => write!(text, ", and none may lie: three members tolerate no liar, four tolerate one"),
        liars => write!(text, ", and {liars} may lie"),
    };
    terminal::complain(&format!("{text}.\n"));
    Ok(founding)
}

/// For people.
pub(super) fn lines(text: &mut String, founding: &Founding) {
    let electorate = &founding.electorate;
    for member in electorate.members() {
        let _ = writeln!(text, "member     {member}");
    }
    let (quorum, members) = (electorate.quorum(), electorate.members().len());
    let _ = writeln!(text, "editions   {quorum} of {members} members sign; {} may lie", electorate.liars());
    let (seconds, valid) = (founding.interval_ms as f64 / 1_000.0, founding.valid_intervals);
    let _ = writeln!(
        text,
        "intervals  of {seconds} s; an edition is good for {valid}, onion keys for {}",
        founding.key_intervals
    );
}
