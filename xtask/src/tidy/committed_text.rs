//! Rules for any committed text: nothing of the machine it was written on, no source of crates but the public one, and
//! no open notes of unfinished work.

use super::Finding;
use super::mask::line_of;
use super::sources::unfinished_lines;
use super::tree::TextFile;

/// Beginnings of paths that exist on one person's machine only. They are put together here so that this file does not
/// carry them itself.
const MACHINE_PATHS: [&str; 5] = [
    concat!("/wo", "rk/"),
    concat!("/tmp/", "hw"),
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
    concat!("/Us", "ers/"),
];
/// What a manifest, lock file or cargo configuration would contain if crates came from elsewhere than crates.io.
const FOREIGN_REGISTRY: [&str; 4] =
    [concat!("replace-", "with"), concat!("[regis", "tries"), concat!("[sou", "rce."), concat!("git", "+http")];
/// The only registry a lock file may name.
const PUBLIC_REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";
/// Files that may use the words for unfinished work because they name the rule.
const NAMES_THE_RULE: [&str; 2] = ["CONTRIBUTING.md", "ARCHITECTURE.md"];

/// Checks one file.
pub(crate) fn check(file: &TextFile) -> Vec<Finding> {
    let mut findings = machine_paths(file);
    if file.path.ends_with(".toml") || file.path.ends_with("Cargo.lock") {
        findings.extend(registries(file));
    }
    if !file.path.ends_with(".rs") && !NAMES_THE_RULE.contains(&file.path.as_str()) {
        let found = unfinished_lines(&file.text);
        findings.extend(
            found
                .into_iter()
                .map(|(line, word)| Finding::error(&file.path, line, format!("{word}: finish it, or open an issue"))),
        );
    }
    findings
}

fn machine_paths(file: &TextFile) -> Vec<Finding> {
    let found = MACHINE_PATHS.iter().flat_map(|path| file.text.match_indices(path));
    found
        .filter(|(at, _)| starts_a_path(&file.text, *at))
        .map(|(at, path)| {
            let message = format!("`{path}` is a path of somebody's machine; use a relative path or a placeholder");
            Finding::error(&file.path, line_of(&file.text, at), message)
        })
        .collect()
}

/// A path starts after a blank, a quote or punctuation, and not in the middle of another path or of an address.
fn starts_a_path(text: &str, at: usize) -> bool {
    let before = text[..at].chars().next_back();
    !before.is_some_and(|before| before.is_alphanumeric() || matches!(before, '_' | '-' | '.' | '}' | '/' | '~'))
}

fn registries(file: &TextFile) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, line) in file.text.lines().enumerate() {
        let foreign = FOREIGN_REGISTRY.iter().any(|mark| line.contains(mark));
        let locked = line.trim_start().starts_with("source = ");
        if foreign || (locked && !line.contains(PUBLIC_REGISTRY)) {
            findings.push(Finding::error(&file.path, index + 1, "crates come from crates.io only"));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: [usize; 0] = [];

    fn lines(path: &str, text: &str) -> Vec<usize> {
        check(&TextFile::new(path, text)).into_iter().map(|found| found.line).collect()
    }

    #[test]
    fn machine_paths_are_found() {
        for path in MACHINE_PATHS {
            assert_eq!(lines("docs/x.md", &format!("a\nsee {path}x\n")), [2]);
            assert_eq!(lines("docs/x.md", &format!("`{path}x`\n")), [1]);
            assert_eq!(lines("docs/x.md", &format!("https://example.org{path}x and target{path}\n")), NONE);
        }
    }

    #[test]
    fn other_registries_are_found() {
        assert_eq!(lines("Cargo.lock", &format!("source = \"{PUBLIC_REGISTRY}\"\n")), NONE);
        assert_eq!(lines("Cargo.lock", "source = \"registry+https://crates.example.org/index\"\n"), [1]);
        for mark in FOREIGN_REGISTRY {
            assert_eq!(lines(".cargo/config.toml", &format!("\n{mark}\n")), [2]);
        }
    }

    #[test]
    fn unfinished_notes_in_other_texts() {
        assert_eq!(lines("scripts/x", "# TODO\n"), [1]);
        assert_eq!(lines("CONTRIBUTING.md", "No TODO is committed.\n"), NONE);
    }
}
