//! Every fuzz target is one that `scripts/fuzz` can build.

use super::Finding;
use super::tree::TextFile;

const MANIFEST: &str = "fuzz/Cargo.toml";
const FOLDER: &str = "fuzz/fuzz_targets/";

/// Compares the targets with the manifest.
pub(crate) fn check(files: &[TextFile]) -> Vec<Finding> {
    let manifest = files.iter().find(|file| file.path == MANIFEST).map_or("", |file| file.text.as_str());
    let targets = files.iter().filter_map(|file| file.path.strip_prefix(FOLDER)?.strip_suffix(".rs"));
    let missing = targets.filter(|target| !manifest.contains(&format!("path = \"fuzz_targets/{target}.rs\"")));
    missing
        .map(|target| Finding::error(MANIFEST, 0, format!("no [[bin]] for the fuzz target `{target}`; add one")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_stand_in_the_manifest() {
        let manifest = TextFile::new(MANIFEST, "[[bin]]\nname = \"socks5\"\npath = \"fuzz_targets/socks5.rs\"\n");
        let target = |name: &str| TextFile::new(&format!("{FOLDER}{name}.rs"), "");
        assert_eq!(check(&[manifest.clone(), target("socks5")]), []);
        assert_eq!(check(&[manifest, target("socks5"), target("leg_header")]).len(), 1);
    }
}
