//! Every direct dependency has a row in `docs/dependencies.md` that says why it is there, and every row a dependency.

use std::collections::{BTreeMap, BTreeSet};

use super::Finding;
use super::metadata::Member;
use super::tree::TextFile;

/// The page with one row a dependency.
const PAGE: &str = "docs/dependencies.md";

/// Compares the page with the manifests.
pub(crate) fn check(files: &[TextFile], members: &[Member]) -> Vec<Finding> {
    let page = files.iter().find(|file| file.path == PAGE).map_or("", |file| file.text.as_str());
    let rows = rows(page);
    let mut used = BTreeMap::new();
    for member in members {
        for dependency in member.dependencies.iter().filter(|dependency| dependency.external) {
            used.entry(dependency.name.as_str()).or_insert(member.folder.as_str());
        }
    }
    let missing = used.iter().filter(|(name, _)| !rows.contains(*name)).map(|(name, user)| {
        Finding::error(PAGE, 0, format!("no row for `{name}`, which {user} uses; add its reason and licence"))
    });
    let stale = rows.iter().filter(|name| !used.contains_key(*name));
    let stale =
        stale.map(|name| Finding::error(PAGE, 0, format!("the row of `{name}` names a crate that nobody uses")));
    missing.chain(stale).collect()
}

/// The names in the first cells of the page's tables, which are in backquotes.
fn rows(page: &str) -> BTreeSet<&str> {
    page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::metadata::Dependency;
    use super::*;

    #[test]
    fn rows_and_dependencies_match() {
        let page = TextFile::new(PAGE, "| crate | why |\n|---|---|\n| `bytes` | buffers |\n| `rand` | seeds |\n");
        let uses = |names: &[&str]| {
            let external = |name: &&str| Dependency {
                name: (*name).to_owned(),
                external: true,
                development: false,
                features: Vec::new(),
            };
            let mut dependencies: Vec<Dependency> = names.iter().map(external).collect();
            dependencies.push(Dependency {
                name: "wire".into(),
                external: false,
                development: false,
                features: Vec::new(),
            });
            [Member { name: "a".into(), folder: "crates/core/a".into(), has_library: true, dependencies }]
        };
        let files = [page];
        assert_eq!(check(&files, &uses(&["bytes", "rand"])), []);
        assert_eq!(check(&files, &uses(&["bytes"])).len(), 1);
        assert_eq!(check(&files, &uses(&["bytes", "rand", "serde"])).len(), 1);
    }
}
