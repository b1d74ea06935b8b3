//! What is wrong with a file, where, why, and what to do about it.

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use std::ops::Range;

mod problem;
mod remedy;

pub use problem::Problem;

/// One problem of a file at its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Diagnostic {
    /// The key, as a path such as `network.packet_size` or `listen[0].kind`; empty for the file as a whole.
    pub key: String,
    /// Bytes of the file that are meant.
    pub span: Range<usize>,
    /// What is wrong with them.
    pub problem: Problem,
}

/// All problems of a file in the order of their places.
#[derive(Debug, Clone, PartialEq)]
pub struct Diagnostics(Vec<Diagnostic>);

impl Diagnostics {
    /// The single problems.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.0.iter()
    }

    /// The same problems in a JSON text that lacks the first `bytes` and has `length` bytes.
    pub(crate) fn in_json(self, bytes: usize, length: usize) -> Self {
        let back = |at: usize| at.saturating_sub(bytes).min(length);
        let moved = |one: Diagnostic| Diagnostic {
            span: back(one.span.start)..back(one.span.end),
            problem: match one.problem {
                Problem::Syntax(message) => Problem::Json(message),
                other => other,
            },
            ..one
        };
        Self(self.0.into_iter().map(moved).collect())
    }

    /// `1 problem`, `3 problems`.
    pub fn summary(&self) -> String {
        match self.0.len() {
            1 => "1 problem".to_owned(),
            several => format!("{several} problems"),
        }
    }

    /// What a person reads: for each problem the key, file, line, caret, why, and what to do.
    ///
    /// `text` is the file's content. Peer strings in it hold a secret door key, so they are shown as stars.
    pub fn render(&self, path: &str, text: &str, colour: bool) -> String {
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        let shown = without_secrets(text);
        let reports: Vec<String> = self.0.iter().map(|one| one.render(&renderer, path, &shown)).collect();
        reports.join("\n\n")
    }
}

impl Diagnostic {
    fn render(&self, renderer: &Renderer, path: &str, text: &str) -> String {
        let title =
            if self.key.is_empty() { self.problem.to_string() } else { format!("`{}`: {}", self.key, self.problem) };
        let end = self.span.end.min(text.len());
        let caret = AnnotationKind::Primary.span(self.span.start.min(end)..end);
        let report: &[Group<'_>] = &[Level::ERROR
            .primary_title(title)
            .element(Snippet::source(text).path(path).annotation(caret))
            .element(Level::HELP.message(self.problem.remedy()))];
        renderer.render(report)
    }
}

/// Collects problems while a file is read.
#[derive(Debug, Default)]
pub(crate) struct Report {
    found: Vec<Diagnostic>,
    /// Keys that were asked for, present or not.
    pub(crate) asked: std::collections::BTreeSet<String>,
    /// The file's role, once it is known.
    pub(crate) role: Option<&'static str>,
}

impl Report {
    pub(crate) fn add(&mut self, key: String, span: Range<usize>, problem: Problem) {
        self.found.push(Diagnostic { key, span, problem });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    pub(crate) fn into_diagnostics(mut self) -> Diagnostics {
        self.found.sort_by_key(|diagnostic| diagnostic.span.start);
        Diagnostics(self.found)
    }
}

/// The text with every peer string starred out, byte for byte, so that spans still fit.
fn without_secrets(text: &str) -> String {
    const PREFIX: &str = "hushwire:";
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(PREFIX) {
        let (before, from) = rest.split_at(start + PREFIX.len());
        shown.push_str(before);
        let end = from.find(|letter: char| !letter.is_ascii_graphic() || letter == '"' || letter == '\'');
        let secret = end.unwrap_or(from.len());
        shown.extend(std::iter::repeat_n('*', secret));
        rest = &from[secret..];
    }
    shown.push_str(rest);
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peer_strings_are_never_shown() {
        let text = "peer = \"hushwire:abc-DEF@192.0.2.1:7\" # x\npeers = ['hushwire:zz']\n";
        let shown = without_secrets(text);
        assert_eq!(shown.len(), text.len());
        assert_eq!(shown, "peer = \"hushwire:*******************\" # x\npeers = ['hushwire:**']\n");
    }
}
