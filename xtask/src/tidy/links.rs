//! Links between texts lead somewhere, and the map names files that exist.

use super::Finding;
use super::mask::line_of;
use super::tree::TextFile;

/// The text whose backquoted source files must exist: it tells readers where to go.
const MAP: &str = "ARCHITECTURE.md";

/// Checks the links of all Markdown files but those of tests, which may be parts of other pages.
pub(crate) fn check(files: &[TextFile]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.path.ends_with(".md") && !file.path.contains("/tests/")) {
        for (position, target) in targets(&file.text) {
            if !leads_somewhere(files, &file.path, target) {
                let message = format!("the link to `{target}` leads nowhere");
                findings.push(Finding::error(&file.path, line_of(&file.text, position), message));
            }
        }
        if file.path == MAP {
            findings.extend(named_sources(files, file));
        }
    }
    findings
}

/// The targets of links to other files of the tree, with their positions.
fn targets(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let starts = text.match_indices("](").map(|(at, mark)| at + mark.len());
    let all = starts.filter_map(|start| Some((start, text[start..].split_once(')')?.0)));
    all.filter(|(_, target)| !target.contains("://") && !target.starts_with('#') && !target.contains(['`', ' ', '\n']))
}

fn leads_somewhere(files: &[TextFile], from: &str, target: &str) -> bool {
    let target = target.split('#').next().unwrap_or_default();
    // An item of Rust, as in the front pages of crates, is checked by rustdoc.
    if target.contains("::") {
        return true;
    }
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "." | "" => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let path = parts.join("/");
    files.iter().any(|file| file.path == path || file.path.starts_with(&format!("{path}/")))
}

fn named_sources(files: &[TextFile], map: &TextFile) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, line) in map.text.lines().enumerate() {
        for name in line.split('`').skip(1).step_by(2).filter(|name| name.ends_with(".rs") && !name.contains(' ')) {
            let exists = files.iter().any(|file| file.path == name || file.path.ends_with(&format!("/{name}")));
            if !exists {
                findings.push(Finding::error(&map.path, index + 1, format!("there is no file `{name}`")));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(path: &str, text: &str) -> Vec<usize> {
        let other = [TextFile::new("docs/spec/link.md", ""), TextFile::new("crates/core/link/src/door.rs", "")];
        let files: Vec<TextFile> = [TextFile::new(path, text)].into_iter().chain(other).collect();
        check(&files).into_iter().map(|found| found.line).collect()
    }

    #[test]
    fn links_are_followed() {
        let good =
            "[a](docs/spec/link.md) [b](docs/spec) [c](https://example.org/x) [d](#here) [e](docs/spec/link.md#x)";
        assert_eq!(lines("README.md", good), Vec::<usize>::new());
        assert_eq!(lines("docs/x.md", "[a](spec/link.md)\n[b](../README.md)"), [2]);
        assert_eq!(lines("README.md", "\n[a](docs/nothing.md)"), [2]);
    }

    #[test]
    fn the_map_names_files_that_exist() {
        let text = "`door.rs`, `link/src/door.rs`\n`crates/core/link/src/gone.rs`";
        assert_eq!(lines("ARCHITECTURE.md", text), [2]);
        assert_eq!(lines("docs/x.md", text), Vec::<usize>::new());
    }
}
