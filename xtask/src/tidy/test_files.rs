//! Every file of a crate's tests belongs to a program of tests.
//!
//! Cargo makes a program of each file in `tests/` unless the manifest says `autotests = false`; a file that no program has for a
//! module is then built by nobody, and nobody notices.

use super::Finding;
use super::tree::TextFile;

/// Compares the files with the programs' modules.
pub(crate) fn check(files: &[TextFile]) -> Vec<Finding> {
    let listing = |file: &&TextFile| file.text.lines().any(|line| line.trim() == "autotests = false");
    let manifests = files.iter().filter(|file| file.path.ends_with("/Cargo.toml")).filter(listing);
    manifests.flat_map(|manifest| check_crate(manifest, files)).collect()
}

fn check_crate(manifest: &TextFile, files: &[TextFile]) -> Vec<Finding> {
    let folder = manifest.path.trim_end_matches("Cargo.toml").to_owned() + "tests/";
    let stem = |file: &TextFile| Some(file.path.strip_prefix(&folder)?.strip_suffix(".rs")?.to_owned());
    let tests = || files.iter().filter_map(|file| Some((stem(file).filter(|stem| !stem.contains('/'))?, file)));
    let is_program = |name: &str| manifest.text.contains(&format!("[[test]]\nname = \"{name}\"\n"));
    let modules: Vec<&str> = tests()
        .filter(|(name, _)| is_program(name))
        .flat_map(|(_, file)| file.text.lines().filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';')))
        .collect();
    tests()
        .filter(|(name, _)| !is_program(name) && !modules.contains(&name.as_str()))
        .map(|(_, file)| {
            Finding::error(&file.path, 0, "no program of tests has this file for a module; add a `mod` line")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_nothing_builds_is_found() {
        let manifest = TextFile::new("crates/a/Cargo.toml", "autotests = false\n\n[[test]]\nname = \"all\"\n");
        let program = TextFile::new("crates/a/tests/all.rs", "mod kills;\n");
        let file = |path: &str| TextFile::new(path, "");
        let built = file("crates/a/tests/kills.rs");
        let part = file("crates/a/tests/kills/rig.rs");
        let elsewhere = file("crates/b/tests/wire.rs");
        let files = [manifest, program, built, part, elsewhere, file("crates/a/tests/wire.rs")];
        assert_eq!(check(&files[..5]), []);
        assert_eq!(check(&files).len(), 1);
    }
}
