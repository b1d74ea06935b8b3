//! What cargo says about the members of the workspace.

use std::path::Path;
use std::process::Command;

use anyhow::Context;
use serde_json::Value;

/// One crate of the workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    /// Its package name.
    pub(crate) name: String,
    /// Its folder from the workspace root.
    pub(crate) folder: String,
    /// Whether it has a library.
    pub(crate) has_library: bool,
    /// Its direct dependencies of every kind.
    pub(crate) dependencies: Vec<Dependency>,
}

/// One direct dependency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dependency {
    /// The package's name.
    pub(crate) name: String,
    /// Whether it comes from a registry and not from a folder of this repository.
    pub(crate) external: bool,
    /// Whether only tests and examples use it.
    pub(crate) development: bool,
    /// Features that are asked for.
    pub(crate) features: Vec<String>,
}

/// Asks cargo for the members of the workspace at `root`, and for the fuzz targets' crate, which stands outside it.
pub(crate) fn members(root: &Path) -> anyhow::Result<Vec<Member>> {
    let mut members = parse(&query(root, "Cargo.toml")?, root)?;
    if root.join("fuzz/Cargo.toml").exists() {
        members.extend(parse(&query(root, "fuzz/Cargo.toml")?, root)?);
    }
    Ok(members)
}

fn query(root: &Path, manifest: &str) -> anyhow::Result<Value> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1", "--manifest-path"])
        .arg(root.join(manifest))
        .output()
        .context("cannot start cargo metadata")?;
    anyhow::ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).context("cargo metadata printed no JSON")
}

fn parse(metadata: &Value, root: &Path) -> anyhow::Result<Vec<Member>> {
    let packages = metadata["packages"].as_array().context("cargo metadata lists no packages")?;
    packages.iter().map(|package| parse_member(package, root)).collect()
}

fn parse_member(package: &Value, root: &Path) -> anyhow::Result<Member> {
    let manifest = package["manifest_path"].as_str().context("a package without manifest path")?;
    let folder = Path::new(manifest).parent().context("a manifest without folder")?;
    let folder = folder.strip_prefix(root).unwrap_or(folder);
    let dependencies = package["dependencies"].as_array().context("a package without dependency list")?;
    let targets = package["targets"].as_array().context("a package without targets")?;
    Ok(Member {
        name: text(&package["name"])?,
        folder: folder.to_string_lossy().into_owned(),
        has_library: targets.iter().any(|target| target["kind"].as_array().is_some_and(|kinds| is_library(kinds))),
        dependencies: dependencies.iter().map(parse_dependency).collect::<anyhow::Result<_>>()?,
    })
}

fn parse_dependency(dependency: &Value) -> anyhow::Result<Dependency> {
    let features = dependency["features"].as_array().map(Vec::as_slice).unwrap_or_default();
    Ok(Dependency {
        name: text(&dependency["name"])?,
        external: dependency["path"].is_null(),
        development: dependency["kind"] == "dev",
        features: features.iter().map(text).collect::<anyhow::Result<_>>()?,
    })
}

fn is_library(kinds: &[Value]) -> bool {
    kinds.iter().any(|kind| kind == "lib" || kind == "cdylib")
}

fn text(value: &Value) -> anyhow::Result<String> {
    value.as_str().map(str::to_owned).context("cargo metadata: a name is missing")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_cargo_prints() {
        let metadata = serde_json::json!({ "packages": [{
            "name": "session", "manifest_path": "/r/crates/core/session/Cargo.toml",
            "targets": [{ "kind": ["lib"] }, { "kind": ["test"] }],
            "dependencies": [
                { "name": "wire", "path": "/r/crates/core/wire", "kind": null, "features": ["all"] },
                { "name": "proptest", "kind": "dev" },
            ],
        }] });
        let members = parse(&metadata, Path::new("/r")).expect("the text above is complete");
        let dependencies = vec![
            Dependency { name: "wire".into(), external: false, development: false, features: vec!["all".into()] },
            Dependency { name: "proptest".into(), external: true, development: true, features: Vec::new() },
        ];
        let folder = "crates/core/session".into();
        assert_eq!(members, [Member { name: "session".into(), folder, has_library: true, dependencies }]);
    }
}
