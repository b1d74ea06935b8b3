//! What is wrong with the file of a node of a cluster, or what it says.

use super::file::{NodeFile, is_json};
use super::member::MemberFile;
use super::run::unusable;
use crate::failure::Outcome;
use crate::terminal;
use std::fmt::Write;
use std::path::Path;

/// Keys that only a node of a cluster has at the top of its file, and that every such file has.
const OWN_KEYS: [&str; 2] = ["cluster", "[[members]]"];

/// Whether it is a file for `hushwire cluster run`, good or bad: ours, or the original program's. One that cannot be read is
/// none.
pub(crate) fn is_file_of_node(path: &Path) -> bool {
    is_json(path) || std::fs::read_to_string(path).is_ok_and(|text| is_text_of_node(&text))
}

/// Looks at lines, for a file with a slip of the pen is no document.
fn is_text_of_node(text: &str) -> bool {
    let has = |key: &str| {
        let begins = |line: &str| line.strip_prefix(key).is_some_and(|rest| !rest.starts_with(is_letter_of_key));
        text.lines().map(str::trim_start).any(begins)
    };
    OWN_KEYS.iter().any(|key| has(key)) && !has("role")
}

fn is_letter_of_key(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-' | '.')
}

/// Reads the file, the keys and the certificates that it names.
pub(crate) fn check(path: &Path) -> Outcome {
    let file = NodeFile::load(path)?;
    file.credentials.load().map_err(|error| unusable(&error))?;
    terminal::say(&report(path, &file));
    Ok(())
}

fn report(path: &Path, file: &NodeFile) -> String {
    let own = file.members.iter().find(|member| member.id == file.transport.own);
    let own = own.map_or_else(String::new, |member| format!(", {}", member.name));
    let mut text = format!("{} is good: a node of a cluster of {}{own}.\n", path.display(), file.members.len());
    let mut line = |what: &str, value: &dyn std::fmt::Display| {
        // Writing to a string does not fail.
        let _ = writeln!(text, "  {what:<9} {value}");
    };
    line("listens", &file.transport.listen);
    for member in file.members.iter().filter(|member| member.id != file.transport.own) {
        line("member", &format_args!("{} at {}", member.name, member.address));
    }
    line("log", &file.folder.display());
    line("pipe", &file.pipe.display());
    for (what, value) in file.directory.iter().flat_map(MemberFile::lines) {
        line(what, &value);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nodes_file_is_known_by_its_keys() {
        assert!(is_text_of_node(config::EXAMPLE_CLUSTER));
        assert!(is_text_of_node("[[members]]\nname = 7") && is_text_of_node("cluster = \"\" oops"));
        for other in [config::EXAMPLE_ENTRY, config::EXAMPLE_EXIT, "clusters = 1", "role = \"exit\"\ncluster = 1", ""] {
            assert!(!is_text_of_node(other), "{other}");
        }
    }
}
