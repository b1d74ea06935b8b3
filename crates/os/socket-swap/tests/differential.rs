//! Random operations on both ends of a connection: results, errors and bytes must be those of a plain socket.

#[path = "support/c_programs.rs"]
mod c_programs;
#[path = "support/preload.rs"]
mod support;

use c_programs::compile;
use std::path::Path;
use std::process::Command;
use support::{Folder, library};

/// Operations of one run.
const STEPS: &str = "3000";

fn run(program: &Path, seed: u64, counts: Option<&Path>) -> String {
    let mut command = Command::new(program);
    command.args([&seed.to_string(), STEPS]).env_remove("LD_PRELOAD");
    if let Some(counts) = counts {
        command.env("LD_PRELOAD", library()).env("HUSHWIRE_SWAP_STATS", counts);
    }
    let ran = command.output().expect("it was compiled");
    assert!(ran.status.success(), "seed {seed}: {}", ran.status);
    String::from_utf8(ran.stdout).expect("it prints text")
}

/// An edge-triggered set may report the same data twice, once for the ring and once for the socket. It must not keep silent.
fn agree(plain: &str, swapped: &str) -> bool {
    plain == swapped || (plain, swapped) == ("edge 0", "edge 1")
}

fn compare(seeds: impl Iterator<Item = u64>) {
    let folder = Folder::new();
    let program = folder.path("differential");
    compile(&["programs/differential.c"], &program);
    let counts = folder.path("counts");
    for seed in seeds {
        let (plain, swapped) = (run(&program, seed, None), run(&program, seed, Some(&counts)));
        let differs = plain.lines().zip(swapped.lines()).position(|(plain, swapped)| !agree(plain, swapped));
        let is_shorter = plain.lines().count() != swapped.lines().count();
        if let Some(line) = differs.or(is_shorter.then_some(plain.lines().count())) {
            let part = |text: &str| text.lines().skip(line.saturating_sub(12)).take(14).collect::<Vec<_>>().join("\n");
            panic!("seed {seed}, line {line}\nplain:\n{}\nswapped:\n{}", part(&plain), part(&swapped));
        }
    }
    let counts = std::fs::read_to_string(counts).expect("the library counts");
    assert!(counts.lines().all(|line| line.contains(" linked=2 ")), "not every run was swapped:\n{counts}");
}

#[test]
fn random_operations_give_what_a_plain_socket_gives() {
    // The last one was told of an end where there was a reset behind the ring's bytes.
    compare((1..=6).chain([1001]));
}

#[test]
#[ignore = "a thousand seeds take two minutes; cargo xtask long swap"]
fn random_operations_at_full_size() {
    compare(1000..2000);
}
