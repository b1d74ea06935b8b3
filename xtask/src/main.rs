#![doc = include_str!("../README.md")]
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool talks through its standard streams"
)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;

mod lab;
mod long;
mod tidy;

const USAGE: &str = "usage: cargo xtask tidy\n       cargo xtask long [NAME]\n       cargo xtask lab [NAME]";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = workspace_root().and_then(|root| match arguments.as_slice() {
        ["tidy"] => run_tidy(&root),
        ["long"] => {
            print!("{}", long::listing());
            Ok(true)
        }
        ["long", name] => long::run(&root, name),
        ["lab", name @ ..] if name.len() <= 1 => lab::run(&root, name.first().copied()),
        _ => anyhow::bail!("{USAGE}"),
    });
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::from(2)
        }
    }
}

/// The folder of the root manifest, one above this crate's.
fn workspace_root() -> anyhow::Result<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().map(Path::to_path_buf).context("the folder of xtask has no parent folder")
}

fn run_tidy(root: &Path) -> anyhow::Result<bool> {
    let findings = tidy::check(root)?;
    for finding in &findings {
        println!("{finding}");
    }
    let errors = findings.iter().filter(|finding| finding.severity == tidy::Severity::Error).count();
    println!("tidy: {errors} errors, {} warnings", findings.len() - errors);
    Ok(errors == 0)
}
