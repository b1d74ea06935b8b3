//! A test program that starts itself as its children.

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;

pub(crate) type Outcome<T> = Result<T, Box<dyn Error>>;

/// Runs the tests, or what a child does when `child` takes the arguments. `cargo test -- --list` is answered with nothing.
pub(crate) fn run(child: impl Fn(&[&str]) -> Option<Outcome<()>>, tests: fn() -> Outcome<()>) -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match child(&words) {
        Some(outcome) => outcome,
        None if words.contains(&"--list") => Ok(()),
        None => tests(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}
