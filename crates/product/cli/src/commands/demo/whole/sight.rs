//! What the nodes say about themselves, as far as they answer.

use super::nodes::Nodes;
use crate::settings;
use admin::cluster::{ClusterAnswer, ClusterRequest, ClusterStatus};
use admin::status::Status;
use config::NodeFile;
use directory_node::ServiceClient;
use local_network::Kind;
use relay_directory::{MembersStanding, ServiceAnswer, ServiceRequest, Standing};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a node may take to answer before the next line is shown without it.
const PATIENCE: Duration = Duration::from_millis(700);

/// Answers, by the names of nodes.
#[derive(Debug, Default)]
pub(super) struct Sight {
    /// Of members, as nodes of a cluster.
    pub(super) clusters: BTreeMap<String, ClusterStatus>,
    /// Of entries and exits.
    pub(super) statuses: BTreeMap<String, Status>,
    /// How the directory stands, as the first member says that answers.
    pub(super) directory: Option<(Standing, MembersStanding)>,
}

/// Sockets of a node.
#[derive(Debug)]
enum Sockets {
    Member { admin: PathBuf, directory: PathBuf },
    End(PathBuf),
}

/// Where nodes are asked.
#[derive(Debug, Default)]
pub(super) struct Eyes(BTreeMap<String, Sockets>);

impl Eyes {
    /// Learns the sockets from the nodes' files. A file that cannot be used belongs to a node that says so itself.
    pub(super) fn open(folder: &Path, nodes: &Nodes) -> Self {
        let mut found = BTreeMap::new();
        for machine in nodes.iter() {
            let Ok(file) = settings::loaded(config::load_node(&folder.join(machine.about.file()))) else { continue };
            if let Some(sockets) = sockets(machine.about.kind, &file) {
                found.insert(machine.about.name.clone(), sockets);
            }
        }
        Self(found)
    }

    /// Asks all of them.
    pub(super) async fn look(&self) -> Sight {
        let mut sight = Sight::default();
        for (name, sockets) in &self.0 {
            match sockets {
                Sockets::Member { admin, directory } => {
                    let status = ClusterRequest::Status;
                    if let Some(ClusterAnswer::Status { status }) =
                        patiently(admin::client::cluster(admin, status)).await
                    {
                        sight.clusters.insert(name.clone(), *status);
                    }
                    if sight.directory.is_none() {
                        sight.directory = standing(directory.clone()).await;
                    }
                }
                Sockets::End(socket) => {
                    if let Some(status) = patiently(admin::client::status(socket)).await {
                        sight.statuses.insert(name.clone(), status);
                    }
                }
            }
        }
        sight
    }
}

fn sockets(kind: Kind, file: &NodeFile) -> Option<Sockets> {
    match kind {
        Kind::Member => {
            let cluster = file.cluster.as_ref()?;
            let (admin, directory) = (cluster.admin_socket.clone(), cluster.directory.as_ref()?.socket.clone());
            Some(Sockets::Member { admin, directory })
        }
        Kind::Relay => None,
        Kind::Service => Some(Sockets::End(file.service.as_ref()?.admin.socket.clone())),
        Kind::Exit | Kind::Entry => {
            let config = file.exit.as_ref().or(file.entry.as_ref())?;
            Some(Sockets::End(config.admin.socket.clone()))
        }
    }
}

async fn patiently<T, E>(answer: impl Future<Output = Result<T, E>>) -> Option<T> {
    tokio::time::timeout(PATIENCE, answer).await.ok()?.ok()
}

async fn standing(socket: PathBuf) -> Option<(Standing, MembersStanding)> {
    let asking = tokio::task::spawn_blocking(move || {
        let mut member = ServiceClient::connect(&socket).ok()?;
        let ServiceAnswer::Standing(standing) = member.ask(&ServiceRequest::Standing).ok()? else { return None };
        let ServiceAnswer::Members(members) = member.ask(&ServiceRequest::Members).ok()? else { return None };
        Some((standing, members))
    });
    patiently(asking).await?
}
