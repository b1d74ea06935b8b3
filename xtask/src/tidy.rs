//! The checks of `cargo xtask tidy`.

use std::fmt;
use std::path::Path;

mod committed_text;
mod dependencies;
mod functions;
mod fuzz_targets;
mod layers;
mod links;
mod lint_tables;
mod mask;
mod metadata;
mod sources;
mod test_files;
mod tree;
mod unsafe_code;

/// Whether a finding fails the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Severity {
    /// Printed only.
    Warning,
    /// Fails the run.
    Error,
}

/// One broken rule at one place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    /// Path from the workspace root.
    pub(crate) path: String,
    /// Line counted from 1; 0 when the finding is about a whole file or crate.
    pub(crate) line: usize,
    /// Whether it fails the run.
    pub(crate) severity: Severity,
    /// What is wrong and what to do about it.
    pub(crate) message: String,
}

impl Finding {
    fn error(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, severity: Severity::Error, message: message.into() }
    }

    fn warning(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, severity: Severity::Warning, message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        match self.line {
            0 => write!(out, "{}: {severity}: {}", self.path, self.message),
            line => write!(out, "{}:{line}: {severity}: {}", self.path, self.message),
        }
    }
}

/// Runs every check over the workspace at `root`; the findings come sorted by path and line.
pub(crate) fn check(root: &Path) -> anyhow::Result<Vec<Finding>> {
    let files = tree::read(root)?;
    let members = metadata::members(root)?;
    let mut findings = Vec::new();
    for file in &files {
        findings.extend(committed_text::check(file));
        if file.path.ends_with(".rs") {
            findings.extend(sources::check(file));
        }
    }
    findings.extend(layers::check(&files, &members));
    findings.extend(lint_tables::check(&files, &members));
    findings.extend(dependencies::check(&files, &members));
    findings.extend(links::check(&files));
    findings.extend(fuzz_targets::check(&files));
    findings.extend(test_files::check(&files));
    findings.sort();
    Ok(findings)
}
