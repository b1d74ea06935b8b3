//! Every crate is under the workspace's lints. A crate of the folder that may use `unsafe` carries a copy of the tables
//! with that one line changed, because a manifest cannot inherit a table and change it. Likewise clippy reads only the
//! nearest `clippy.toml`, so the one of the cores repeats the root's lines.

use super::Finding;
use super::metadata::Member;
use super::tree::TextFile;

/// The lint that differs, and how it reads in the copies.
const CHANGED: (&str, &str) = ("unsafe_code = \"forbid\"", "unsafe_code = \"allow\"");
/// The table names.
const TABLES: [&str; 2] = ["lints.rust]", "lints.clippy]"];
/// The two clippy configurations.
const CLIPPY: [&str; 2] = ["clippy.toml", "crates/core/clippy.toml"];

/// Checks all manifests and the two clippy configurations.
pub(crate) fn check(files: &[TextFile], members: &[Member]) -> Vec<Finding> {
    let text = |path: &str| files.iter().find(|file| file.path == path).map(|file| file.text.as_str());
    let mut findings = clippy_copies(text(CLIPPY[0]).unwrap_or_default(), text(CLIPPY[1]).unwrap_or_default());
    let root = text("Cargo.toml").unwrap_or_default();
    for member in members.iter().filter(|member| member.folder != "fuzz") {
        let path = format!("{}/Cargo.toml", member.folder);
        findings.extend(lints(&path, text(&path).unwrap_or_default(), root));
    }
    findings
}

fn clippy_copies(root: &str, core: &str) -> Vec<Finding> {
    let meaningful = |line: &&str| !line.is_empty() && !line.starts_with('#');
    let core: Vec<&str> = core.lines().map(str::trim).collect();
    let missing = root.lines().map(str::trim).filter(meaningful).filter(|line| !core.contains(line));
    missing
        .map(|line| {
            let message = format!("does not repeat the root's line `{line}`, so it does not hold for the cores");
            Finding::error(CLIPPY[1], 0, message)
        })
        .collect()
}

fn lints(path: &str, manifest: &str, root: &str) -> Option<Finding> {
    if table(manifest, "[lints]") == ["workspace = true"] {
        return None;
    }
    if !path.starts_with("crates/os/") {
        return Some(Finding::error(path, 0, "the manifest lacks `[lints] workspace = true`"));
    }
    let copied = TABLES.iter().all(|name| {
        let wanted = table(root, &format!("[workspace.{name}"));
        let wanted: Vec<String> = wanted.iter().map(|line| line.replace(CHANGED.0, CHANGED.1)).collect();
        table(manifest, &format!("[{name}")) == wanted
    });
    (!copied).then(|| {
        let message = "the lint tables differ from the workspace's in more than `unsafe_code`; copy them again";
        Finding::error(path, 0, message)
    })
}

/// The lines of one TOML table, without blanks and comments.
fn table<'a>(manifest: &'a str, header: &str) -> Vec<&'a str> {
    let lines = manifest.lines().map(str::trim).skip_while(|line| *line != header).skip(1);
    lines.take_while(|line| !line.starts_with('[')).filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = "[workspace.lints.rust]\nmissing_docs = \"warn\"\nunsafe_code = \"forbid\"\n\n\
                        [workspace.lints.clippy]\ntodo = \"warn\"\n\n[profile.dev]\n";

    #[test]
    fn inherited_and_copied_tables_pass() {
        assert_eq!(lints("crates/net/a/Cargo.toml", "[lints]\nworkspace = true\n\n[dependencies]\n", ROOT), None);
        let copy =
            "# why\n[lints.rust]\nmissing_docs = \"warn\"\nunsafe_code = \"allow\"\n[lints.clippy]\ntodo = \"warn\"\n";
        assert_eq!(lints("crates/os/a/Cargo.toml", copy, ROOT), None);
    }

    #[test]
    fn missing_and_weakened_tables_fail() {
        assert!(lints("crates/net/a/Cargo.toml", "[dependencies]\n", ROOT).is_some());
        let weak = "[lints.rust]\nunsafe_code = \"allow\"\n[lints.clippy]\ntodo = \"warn\"\n";
        assert!(lints("crates/os/a/Cargo.toml", weak, ROOT).is_some());
        let elsewhere =
            "[lints.rust]\nmissing_docs = \"warn\"\nunsafe_code = \"allow\"\n[lints.clippy]\ntodo = \"warn\"\n";
        assert!(lints("crates/net/a/Cargo.toml", elsewhere, ROOT).is_some());
    }

    #[test]
    fn cores_repeat_the_root() {
        assert_eq!(clippy_copies("# note\na = 1\n", "a = 1\nb = 2\n"), []);
        assert_eq!(clippy_copies("a = 1\n", "a = 2\n").len(), 1);
    }
}
