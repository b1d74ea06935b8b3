//! What unix stream sockets promise, as programs in Python see it: case by case, a pair of them must see the same whichever of them is
//! preloaded. Apart from the cases in C, which must not wait for these.

#[path = "support/compare.rs"]
mod compare;
#[path = "support/preload.rs"]
mod support;

use compare::Suite;
use std::path::Path;
use std::process::Command;

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
