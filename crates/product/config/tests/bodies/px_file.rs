//! Any text as a file of the original cluster program: it is one, or every problem of it is shown at a place in it.

use std::path::Path;

/// Feeds one input.
pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match config::parse_px(text, Path::new("folder")) {
        Ok(px) => {
            let own = "own.example".parse().expect("a name");
            if let Some(members) = px.members(&own) {
                assert_eq!(members.len(), px.servers.len() + 1, "everybody is a member once");
            }
        }
        Err(diagnostics) => {
            assert!(diagnostics.iter().next().is_some(), "a refusal has a reason");
            for diagnostic in diagnostics.iter() {
                assert!(diagnostic.span.start <= diagnostic.span.end && diagnostic.span.end <= text.len());
                assert!(!diagnostic.problem.remedy().is_empty());
            }
            assert!(diagnostics.render("px.json", text, false).contains("px.json"), "the file is named");
        }
    }
}
