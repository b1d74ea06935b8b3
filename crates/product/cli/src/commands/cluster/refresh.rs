//! Reading the list of members anew while a node runs.

use super::control::Names;
use super::file::NodeFile;
use cluster_node::credentials::LOOK_EVERY;
use cluster_node::node::Handle;
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use tokio::signal::unix::{SignalKind, signal};

/// Puts the list of the file, without those who are revoked, in force whenever one of the two files has changed, or the process
/// is told to (SIGHUP). A list that cannot be used is said in the log, and the one before stays. Returns only if the system
/// passes no signals on.
pub(super) async fn keep_members_fresh(
    file: PathBuf,
    revoked: Option<PathBuf>,
    node: Handle,
    names: Names,
) -> std::io::Result<()> {
    let mut told = signal(SignalKind::hangup())?;
    let stamp = || [Some(file.as_path()), revoked.as_deref()].map(|path| path.and_then(stamp));
    let mut seen = stamp();
    loop {
        let is_told = tokio::select! {
            signal = told.recv() => signal.is_some(),
            () = tokio::time::sleep(LOOK_EVERY) => false,
        };
        let found = stamp();
        if found == seen && !is_told {
            continue;
        }
        // A file that is half written is looked at again when it changes.
        seen = found;
        match NodeFile::load_members(&file) {
            Ok(members) => match node.set_members(&members) {
                Ok(()) => {
                    names.learn(&members);
                    tracing::info!(members = members.len(), "the list of members was read anew");
                }
                Err(error) => {
                    tracing::warn!(%error, "the list of members cannot be used; the one before stays in force")
                }
            },
            Err(failure) => {
                tracing::warn!(
                    why = failure.sentence(),
                    "the list of members cannot be read; the one before stays in force"
                );
            }
        }
    }
}

fn stamp(path: &Path) -> Option<(SystemTime, u64)> {
    let about = std::fs::metadata(path).ok()?;
    Some((about.modified().ok()?, about.len()))
}
