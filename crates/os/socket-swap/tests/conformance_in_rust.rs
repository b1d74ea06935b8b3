//! What unix stream sockets promise, as programs in Rust see it, by its own library and by tokio: case by case, a pair of them
//! must see the same whichever of them is preloaded.
//!
//! The program of the cases and the test that compares them are this one, which has no harness: with `list`, `server` or
//! `client` for its first word it is the former.

#[path = "conformance/rust/by_number.rs"]
mod by_number;
#[path = "conformance/rust/calls.rs"]
mod calls;
#[path = "support/compare.rs"]
mod compare;
#[path = "conformance/rust/harness.rs"]
mod harness;
#[path = "conformance/rust/processes.rs"]
mod processes;
#[path = "conformance/rust/runtime.rs"]
mod runtime;
#[path = "support/preload.rs"]
mod support;
#[path = "conformance/rust/waiting.rs"]
mod waiting;

use compare::Suite;
use harness::Case;
use std::io::Write;
use std::path::Path;
use std::process::Command;

const NAME: &str = "every_case_in_rust_is_the_same_swapped_and_plain";

fn cases() -> impl Iterator<Item = Case> {
    [calls::CASES, waiting::CASES, processes::CASES, runtime::CASES].into_iter().flatten().copied()
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["list"] => print(&cases().map(|case| format!("{}\n", case.0)).collect::<String>()),
        [side @ ("server" | "client"), name, path] => {
            let case = cases().find(|case| case.0 == *name).expect("a case of the list");
            harness::play(*side == "server", case, Path::new(path));
        }
        _ if !is_chosen(&words) => {}
        _ if words.contains(&"--list") => print(&format!("{NAME}: test\n")),
        _ => {
            let own = std::env::current_exe().expect("a test knows where it is");
            let program = || Command::new(&own);
            Suite { program: &program, cases_min: 60, without_counts: &["killed-peer"] }.compare();
            print(&format!("test {NAME} ... ok\n"));
        }
    }
}

/// Whether words of the usual harness choose the one test that this is. It has no long form.
fn is_chosen(words: &[&str]) -> bool {
    let mut filters = words.iter().filter(|word| !word.starts_with("--")).peekable();
    !words.contains(&"--ignored") && (filters.peek().is_none() || filters.any(|filter| NAME.contains(filter)))
}

fn print(text: &str) {
    std::io::stdout().write_all(text.as_bytes()).expect("the output is open");
}
