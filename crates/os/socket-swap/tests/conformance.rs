//! What unix stream sockets promise, case by case: a pair of programs must see the same whichever of them is preloaded.

#[path = "support/c_programs.rs"]
mod c_programs;
#[path = "support/compare.rs"]
mod compare;
#[path = "support/preload.rs"]
mod support;

use c_programs::{CONFORMANCE, compile};
use compare::Suite;
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
