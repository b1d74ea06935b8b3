//! Folders are layers: a crate uses crates of its own folder, without circles, and of the folders before it. The list
//! of members shows that order from top to bottom.

use std::collections::BTreeMap;

use super::Finding;
use super::metadata::Member;
use super::tree::TextFile;

/// The layers, lowest first: the folders below `crates/`.
const LAYERS: [&str; 5] = ["core", "os", "net", "product", "testing"];
/// Crates that stand outside the layers and that nobody uses.
const OUTSIDE: [&str; 2] = ["xtask", "fuzz"];

/// Features that make what must be random repeatable.
const TEST_FEATURES: [&str; 1] = ["seeded-noise"];

/// Checks the order of layers and members, and that each crate introduces itself.
pub(crate) fn check(files: &[TextFile], members: &[Member]) -> Vec<Finding> {
    let folders: BTreeMap<&str, &str> =
        members.iter().map(|member| (member.name.as_str(), member.folder.as_str())).collect();
    let mut findings = Vec::new();
    for member in members {
        findings.extend(layer_order(member, &folders));
        findings.extend(test_features(member));
        findings.extend(introduction(files, member));
    }
    findings.extend(member_order(files, members, &folders));
    findings
}

fn layer_order(member: &Member, folders: &BTreeMap<&str, &str>) -> Vec<Finding> {
    let manifest = format!("{}/Cargo.toml", member.folder);
    if OUTSIDE.contains(&member.folder.as_str()) {
        return Vec::new();
    }
    let Some(own) = layer(&member.folder) else {
        let message = format!("the crate stands in no layer; its folder is crates/{{{}}}/NAME", LAYERS.join(","));
        return vec![Finding::error(&manifest, 0, message)];
    };
    let mut findings = Vec::new();
    for dependency in member.dependencies.iter().filter(|dependency| !dependency.external) {
        let Some(folder) = folders.get(dependency.name.as_str()) else { continue };
        match layer(folder) {
            Some(other) if other <= own => {}
            Some(other) => {
                let (own, other) = (LAYERS[own], LAYERS[other]);
                let message = format!("a crate of `{own}` uses `{}`, which is of the later `{other}`", dependency.name);
                findings.push(Finding::error(&manifest, 0, message));
            }
            None => findings.push(Finding::error(&manifest, 0, format!("nobody uses `{}`", dependency.name))),
        }
    }
    findings
}

/// Features that only tests may enable: with them a node could be built whose noise somebody knows.
fn test_features(member: &Member) -> Vec<Finding> {
    let for_tests = layer(&member.folder).is_some_and(|own| LAYERS[own] == "testing");
    let enabled = member.dependencies.iter().filter(|dependency| !dependency.development && !for_tests);
    let enabled = enabled.flat_map(|dependency| &dependency.features);
    let forbidden = enabled.filter(|feature| TEST_FEATURES.contains(&feature.as_str()));
    let manifest = format!("{}/Cargo.toml", member.folder);
    forbidden.map(|feature| Finding::error(&manifest, 0, format!("only tests may enable `{feature}`"))).collect()
}

fn layer(folder: &str) -> Option<usize> {
    let name = folder.strip_prefix("crates/")?.split('/').next()?;
    LAYERS.iter().position(|layer| *layer == name)
}

/// The member list of the root manifest names a crate below all that it uses, so a circle cannot be listed either.
fn member_order(files: &[TextFile], members: &[Member], folders: &BTreeMap<&str, &str>) -> Vec<Finding> {
    let Some(manifest) = files.iter().find(|file| file.path == "Cargo.toml") else {
        return vec![Finding::error("Cargo.toml", 0, "the root manifest is missing")];
    };
    let listed = listed_members(&manifest.text);
    let place = |folder: &str| listed.iter().position(|(_, listed)| listed == folder);
    let mut findings = Vec::new();
    for member in members {
        let Some(own) = place(&member.folder) else { continue };
        for dependency in member.dependencies.iter().filter(|dependency| !dependency.external) {
            let folder = folders.get(dependency.name.as_str()).copied().unwrap_or_default();
            if place(folder).is_some_and(|other| other > own) {
                let message =
                    format!("`{}` stands above `{}`, which it uses; move it down", member.name, dependency.name);
                findings.push(Finding::error("Cargo.toml", listed[own].0, message));
            }
        }
    }
    findings
}

/// The entries of `members = [...]` with their lines.
fn listed_members(manifest: &str) -> Vec<(usize, String)> {
    let numbered = manifest.lines().enumerate().skip_while(|(_, line)| !line.starts_with("members"));
    let entries = numbered.take_while(|(_, line)| !line.starts_with(']'));
    entries.filter_map(|(index, line)| Some((index + 1, line.split('"').nth(1)?.to_owned()))).collect()
}

/// Each crate has a README, and a library shows it as its front page.
fn introduction(files: &[TextFile], member: &Member) -> Vec<Finding> {
    let has = |name: &str| files.iter().find(|file| file.path == format!("{}/{name}", member.folder));
    let mut findings = Vec::new();
    if has("README.md").is_none() {
        findings.push(Finding::error(&member.folder, 0, "the crate has no README.md"));
    }
    if let Some(library) = has("src/lib.rs")
        && member.has_library
        && !library.text.contains("#![doc = include_str!(\"../README.md\")]")
    {
        findings.push(Finding::error(&library.path, 1, "the README is not the crate's front page: include it"));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::metadata::Dependency;
    use super::*;

    fn member(folder: &str, uses: &[&str]) -> Member {
        let name = folder.rsplit('/').next().unwrap_or(folder).to_owned();
        let dependency = |name: &&str| Dependency {
            name: (*name).to_owned(),
            external: false,
            development: false,
            features: Vec::new(),
        };
        let dependencies = uses.iter().map(dependency).collect();
        Member { name, folder: folder.to_owned(), has_library: true, dependencies }
    }

    fn files(members: &[&str]) -> Vec<TextFile> {
        let list: String = members.iter().map(|folder| format!("    \"{folder}\",\n")).collect();
        let mut files = vec![TextFile::new("Cargo.toml", &format!("[workspace]\nmembers = [\n{list}]\n"))];
        for folder in members {
            files.push(TextFile::new(&format!("{folder}/README.md"), "# x"));
            files.push(TextFile::new(&format!("{folder}/src/lib.rs"), "#![doc = include_str!(\"../README.md\")]"));
        }
        files
    }

    fn messages(order: &[&str], members: &[Member]) -> Vec<String> {
        check(&files(order), members).into_iter().map(|found| found.to_string()).collect()
    }

    #[test]
    fn downward_uses_pass() {
        let order = ["crates/core/wire", "crates/core/link", "crates/net/relay", "xtask"];
        let members = [
            member(order[0], &[]),
            member(order[1], &["wire"]),
            member(order[2], &["link", "wire"]),
            member(order[3], &[]),
        ];
        assert_eq!(messages(&order, &members), Vec::<String>::new());
    }

    #[test]
    fn seeded_noise_is_for_tests() {
        let enables = |folder: &str, development| {
            let mut member = member(folder, &["wire"]);
            member.dependencies[0].features = vec!["seeded-noise".to_owned()];
            member.dependencies[0].development = development;
            test_features(&member).len()
        };
        assert_eq!(enables("crates/product/cli", false), 1);
        assert_eq!(enables("crates/product/cli", true), 0);
        assert_eq!(enables("crates/testing/model-tests", false), 0);
    }

    #[test]
    fn upward_uses_fail() {
        let order = ["crates/net/relay", "crates/core/link"];
        let found = messages(&order, &[member(order[0], &[]), member(order[1], &["relay"])]);
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("uses `relay`, which is of the later `net`"), "{found:?}");
    }

    #[test]
    fn unknown_folders_and_uses_of_chores_fail() {
        let order = ["crates/misc/a", "xtask", "crates/core/b"];
        let found = messages(&order, &[member(order[0], &[]), member(order[1], &[]), member(order[2], &["xtask"])]);
        assert!(found.iter().any(|found| found.contains("stands in no layer")), "{found:?}");
        assert!(found.iter().any(|found| found.contains("nobody uses `xtask`")), "{found:?}");
    }

    #[test]
    fn circles_and_wrong_order_fail() {
        let order = ["crates/core/a", "crates/core/b"];
        let found = messages(&order, &[member(order[0], &["b"]), member(order[1], &["a"])]);
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("Cargo.toml:3:") && found[0].contains("`a` stands above `b`"), "{found:?}");
    }

    #[test]
    fn crates_introduce_themselves() {
        let mut files = files(&["crates/core/a"]);
        files.retain(|file| !file.path.ends_with("README.md"));
        files.iter_mut().filter(|file| file.path.ends_with("lib.rs")).for_each(|file| file.text = "//! a".into());
        assert_eq!(check(&files, &[member("crates/core/a", &[])]).len(), 2);
    }
}
