//! What makes a node one over circuits: `network.file`, and what goes with it.

use crate::diagnostic::{Problem, Report};
use crate::entry::{EntryNetwork, NearAddress};
use crate::reader::Section;
use crate::value;
use std::path::{Path, PathBuf};
use tunnel_plan::{HOPS_MAX, LEGS_MAX, PathRules, Relaxation};

/// The key that says so.
const FILE: &str = "file";

/// Ends of this machine at most: as many as a tunnel has legs.
const FROM_MAX: usize = LEGS_MAX as usize;

/// What an entry has beside it.
const ENTRY_KEYS: [&str; 10] =
    ["guards_file", "hops", "legs", "from", "exit", "relax", "tunnels", "isolate", "services", "access_key_file"];

/// Tunnels that are kept, at most.
const TUNNELS_MAX: u64 = 8;

/// Whether the file wants it.
pub(crate) fn is_wanted(network: &Section<'_>) -> bool {
    network.has(FILE)
}

/// The document of the network, and the file that goes with it; none of both: it is a node of a pair.
pub(crate) fn files(
    network: &mut Section<'_>,
    folder: &Path,
    other: &'static str,
    report: &mut Report,
) -> Option<[PathBuf; 2]> {
    if network.has(FILE) || network.has(other) {
        let files = [FILE, other].map(|key| network.required(report, key, value::path(folder)));
        let [Some(document), Some(other)] = files else { return None };
        return Some([document, other]);
    }
    // They are keys all the same.
    let _ = [FILE, other].map(|key| network.optional(report, key, value::path(folder)));
    None
}

/// Ends of this machine, and what goes with them.
fn check_from(network: &mut Section<'_>, from: &[NearAddress], hops: u64, report: &mut Report) {
    let is_twice = (1..from.len()).any(|place| from[..place].contains(&from[place]));
    let problem = match from {
        [] => return,
        _ if from.len() > FROM_MAX => Problem::TooManyOfThese(FROM_MAX),
        _ if is_twice => Problem::FromTwice,
        [_, _, ..] if hops > 1 => Problem::FromOfGuards,
        _ => return network.refuse_present(report, "bind", Problem::FromAndBind),
    };
    network.refuse(report, "from", problem);
}

/// Reads what an entry over circuits has in `[network]`; none: it is a node of a pair.
pub(crate) fn entry(network: &mut Section<'_>, folder: &Path, report: &mut Report) -> Option<EntryNetwork> {
    const ISOLATE: &[&str] = &["nothing", "clients"];
    let is_there = is_wanted(network);
    let file = network.optional(report, FILE, value::path(folder));
    let guards_file = network.or(report, "guards_file", folder.join("guards"), value::path(folder));
    let hops = network.or(report, "hops", 3, value::integer(1, HOPS_MAX.into(), "hops"));
    let legs = network.or(report, "legs", 2, value::integer(1, LEGS_MAX.into(), "legs"));
    let from = network.list(report, "from", value::near_address);
    let exit = network.optional(report, "exit", |value| value::text(value)?.parse().map_err(Problem::NodeId));
    let tunnels = network.or(report, "tunnels", 1, value::integer(1, TUNNELS_MAX, "tunnels"));
    let isolate = network.or(report, "isolate", "nothing", value::one_of(ISOLATE));
    let services = network.or(report, "services", false, value::boolean);
    let access_key_file = network.optional(report, "access_key_file", value::path(folder));
    let relaxation = relaxation(network, report);
    if !is_there {
        for key in ENTRY_KEYS {
            network.refuse_present(report, key, Problem::OnlyOverCircuits);
        }
        return None;
    }
    check_from(network, &from, hops, report);
    // All are within their ranges. Whether there are as many ways to an exit as legs, its document says.
    let rules = if hops == 1 { PathRules::direct(legs as u8) } else { PathRules::new(hops as u8, legs as u8) };
    match rules {
        Ok(rules) => Some(EntryNetwork {
            file: file?,
            guards_file,
            rules: rules.relaxed(relaxation),
            from,
            exit,
            tunnels: tunnels as u8,
            isolates_clients: isolate == "clients",
            services,
            access_key_file,
        }),
        Err(error) => {
            network.refuse(report, "legs", Problem::Paths(error));
            None
        }
    }
}

/// Reads `relax`.
pub(crate) fn relaxation(network: &mut Section<'_>, report: &mut Report) -> Relaxation {
    const RELAX: &[&str] = &["nothing", "shared-middles", "shared-operators"];
    match network.or(report, "relax", "nothing", value::one_of(RELAX)) {
        "shared-middles" => Relaxation::SharedMiddles,
        "shared-operators" => Relaxation::SharedOperators,
        _ => Relaxation::Nothing,
    }
}
