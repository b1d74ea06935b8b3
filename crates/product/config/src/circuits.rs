//! What makes a node one over circuits: `network.file`, and what goes with it.

use crate::diagnostic::{Problem, Report};
use crate::reader::Section;
use crate::sections::Mode;
use crate::value;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// The key that says so.
const FILE: &str = "file";

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

/// Over circuits there is only mode `off` yet.
pub(crate) fn check_mode(is_wanted: bool, mode: Mode, place: Range<usize>, report: &mut Report) {
    if is_wanted && mode != Mode::Off {
        report.add("shaping.mode".to_owned(), place, Problem::ModeOverCircuits(mode.name()));
    }
}
