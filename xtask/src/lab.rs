//! Networks of the lab, by hand.

use std::path::Path;
use std::process::Command;

use anyhow::Context;

/// Keeps the named network until Ctrl-C, or lists the names; `Ok(false)` when that failed. The crate `lab` knows the
/// networks, and nothing here depends on it: this program is built in seconds, the lab in minutes.
pub(crate) fn run(root: &Path, name: Option<&str>) -> anyhow::Result<bool> {
    let mut command = Command::new("cargo");
    command.args(["run", "--quiet", "--package", "lab", "--", "network"]).args(name).current_dir(root);
    let status = command.status().context("cannot start cargo")?;
    Ok(status.success())
}
