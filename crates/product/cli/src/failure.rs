//! How a command fails: one sentence, what to do, and an exit code that scripts can rely on.

use crate::terminal;
use std::error::Error;
use std::fmt::Write;
use std::process::ExitCode;

/// Exit codes of `sysexits.h`. They are documented in docs/cli.md and never change their meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Code {
    /// The command line is wrong.
    Usage = 64,
    /// What was given as data is wrong.
    Data = 65,
    /// A file that is needed is not there.
    NoInput = 66,
    /// The node is not running, or gives no answer.
    Unavailable = 69,
    /// A defect of this program.
    Software = 70,
    /// The system refused something that a node needs.
    System = 71,
    /// A file that would be made exists already.
    CannotCreate = 73,
    /// Reading or writing failed.
    InputOutput = 74,
    /// Not allowed.
    Permission = 77,
    /// The configuration cannot be used.
    Configuration = 78,
}

/// A command's end without success.
#[derive(Debug)]
pub(crate) struct Failure {
    code: Code,
    sentence: String,
    remedy: Option<String>,
    /// Causes behind the sentence, for `-v`.
    causes: Vec<String>,
    /// Text that stands for itself, such as rendered diagnostics.
    detail: Option<String>,
}

/// What commands return.
pub(crate) type Outcome = Result<(), Failure>;

impl Failure {
    /// `sentence`: what failed, where and why, without a full stop.
    pub(crate) fn new(code: Code, sentence: impl Into<String>) -> Self {
        Self { code, sentence: sentence.into(), remedy: None, causes: Vec::new(), detail: None }
    }

    /// The error's own sentence with its direct cause; deeper causes are shown with `-v`.
    pub(crate) fn from_error(code: Code, error: &(dyn Error + 'static)) -> Self {
        let mut causes = Vec::new();
        let mut cause = error.source();
        while let Some(error) = cause {
            causes.push(error.to_string());
            cause = error.source();
        }
        let sentence = match causes.first() {
            Some(direct) => format!("{error}: {direct}"),
            None => error.to_string(),
        };
        causes.drain(..causes.len().min(1));
        Self { causes, ..Self::new(code, sentence) }
    }

    /// Reading or writing `what` failed.
    pub(crate) fn io(what: impl std::fmt::Display, error: &std::io::Error) -> Self {
        use std::io::ErrorKind::{AlreadyExists, NotFound, PermissionDenied};
        let code = match error.kind() {
            NotFound => Code::NoInput,
            PermissionDenied => Code::Permission,
            AlreadyExists => Code::CannotCreate,
            _ => Code::InputOutput,
        };
        Self::new(code, format!("{what}: {error}"))
    }

    /// What failed, where and why.
    pub(crate) fn sentence(&self) -> &str {
        &self.sentence
    }

    /// All of it in one line, for a log.
    pub(crate) fn line(&self) -> String {
        match &self.remedy {
            Some(remedy) => format!("{}; {remedy}", self.sentence),
            None => self.sentence.clone(),
        }
    }

    /// What to do about it.
    pub(crate) fn remedy(self, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..self }
    }

    /// Text that is shown before the sentence.
    pub(crate) fn detail(self, detail: String) -> Self {
        Self { detail: Some(detail), ..self }
    }

    /// Writes it to stderr and gives the exit code.
    pub(crate) fn report(&self, verbose: bool) -> ExitCode {
        terminal::complain(&self.text(verbose));
        ExitCode::from(self.code as u8)
    }

    fn text(&self, verbose: bool) -> String {
        let mut text = String::new();
        if let Some(detail) = &self.detail {
            let _ = writeln!(text, "{detail}\n");
        }
        let _ = writeln!(text, "error: {}", self.sentence);
        if let Some(remedy) = &self.remedy {
            let _ = writeln!(text, "  try: {remedy}");
        }
        if verbose {
            for cause in &self.causes {
                let _ = writeln!(text, "  because: {cause}");
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_is_shown_only_when_it_is_asked_for() {
        let failure = Failure {
            causes: vec!["the disk is gone".into()],
            ..Failure::new(Code::InputOutput, "cannot write x").remedy("look for the disk")
        };
        assert_eq!(failure.text(false), "error: cannot write x\n  try: look for the disk\n");
        assert!(failure.text(true).ends_with("  because: the disk is gone\n"));
    }
}
