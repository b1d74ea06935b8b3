//! What unix stream sockets promise, case by case: a pair of programs must see the same whichever of them is preloaded.

#[path = "support/c_programs.rs"]
mod c_programs;
#[path = "support/compare.rs"]
mod compare;
#[path = "support/preload.rs"]
mod support;

use c_programs::{CONFORMANCE, compile};
use compare::Suite;
use std::path::Path;
use std::process::Command;
use support::Folder;

#[test]
fn every_case_in_c_is_the_same_swapped_and_plain() {
    let folder = Folder::new();
    let compiled = folder.path("conformance");
    compile(CONFORMANCE, &compiled);
    let program = || Command::new(&compiled);
    Suite { program: &program, cases_min: 95, without_counts: &["peer-killed", "peer-exits"] }.compare();
}

#[test]
fn every_case_in_python_is_the_same_swapped_and_plain() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance/python");
    let program = || {
        let mut command = Command::new("python3");
        // Without compiled files beside the sources.
        command.arg("-B").arg(&folder);
        command
    };
    Suite { program: &program, cases_min: 60, without_counts: &["killed-peer"] }.compare();
}
