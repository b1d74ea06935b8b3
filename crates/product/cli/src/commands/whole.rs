//! Asking all parts of a node, for one answer.

use crate::commands::check::{Kind, kind};
use crate::commands::status::{not_answered, runtime};
use crate::commands::{directory, node};
use crate::failure::{Code, Failure};
use crate::settings;
use admin::client::{self, AskError};
use admin::cluster::{ClusterAnswer, ClusterRequest, ClusterStatus};
use admin::directory::DirectoryStatus;
use admin::whole::{WHOLE_SCHEMA_VERSION, WholeStatus};
use config::{Config, Role};
use std::path::Path;
use tokio::runtime::Runtime;

/// What is known of the node or role with this file.
///
/// # Errors
/// When the file cannot be used, or nobody answers at all.
pub(crate) fn ask(path: &Path) -> Result<WholeStatus, Failure> {
    let (schema, version) = (WHOLE_SCHEMA_VERSION, env!("CARGO_PKG_VERSION").to_owned());
    let mut asked =
        Asked { whole: WholeStatus { schema, version, ..WholeStatus::default() }, runtime: runtime()?, error: None };
    match kind(path) {
        Kind::Several => asked.parts(path)?,
        Kind::Cluster => asked.cluster(&settings::loaded(config::load_cluster(path))?),
        Kind::Mirror => asked.mirror(&settings::loaded(config::load_mirror(path))?),
        Kind::Relay => asked.relay(&settings::loaded(config::load_relay(path))?),
        Kind::OfPair => asked.node(&settings::load(path)?),
        Kind::Service => asked.service(&settings::loaded(config::load_service(path))?),
    }
    let WholeStatus { node, cluster, mirror, relay, exit, entry, service, .. } = &asked.whole;
    let is_there = node.is_some() || cluster.is_some() || mirror.is_some() || relay.is_some() || service.is_some();
    // Of several parts some may be silent; a role alone may not.
    match asked.error {
        _ if is_there || exit.is_some() || entry.is_some() => Ok(asked.whole),
        Some(error) => Err(not_answered(&error)),
        None => Err(Failure::new(Code::Configuration, format!("{} has no `admin_socket`", path.display()))
            .remedy("set one, or run it as a part of a node's file")),
    }
}

struct Asked {
    whole: WholeStatus,
    runtime: Runtime,
    /// Why the last part that was asked gave no answer.
    error: Option<AskError>,
}

impl Asked {
    fn parts(&mut self, path: &Path) -> Result<(), Failure> {
        let file = settings::loaded(config::load_node(path))?;
        self.whole.node = Some(node::status(&file)?);
        if let Some(cluster) = &file.cluster {
            self.cluster(cluster);
        }
        if let Some(mirror) = &file.mirror {
            self.mirror(mirror);
        }
        if let Some(relay) = &file.relay {
            self.relay(relay);
        }
        [&file.exit, &file.entry].into_iter().flatten().for_each(|part| self.node(part));
        if let Some(service) = &file.service {
            self.service(service);
        }
        Ok(())
    }

    /// The answer of a part; else it is among the silent ones.
    fn noted<T>(&mut self, part: &str, answer: Result<T, AskError>) -> Option<T> {
        match answer {
            Ok(answer) => Some(answer),
            Err(error) => {
                self.whole.silent.push(part.to_owned());
                self.error = Some(error);
                None
            }
        }
    }

    fn cluster(&mut self, file: &config::Cluster) {
        let asked = self.runtime.block_on(cluster_status(&file.admin_socket));
        self.whole.cluster = self.noted("cluster", asked);
        if let Some(member) = &file.directory {
            match directory::of_member(&member.socket) {
                Ok(status) => {
                    let service = self.whole.cluster.as_ref().and_then(|cluster| cluster.service);
                    self.whole.directory = Some(DirectoryStatus { service, ..status });
                }
                Err(_) => self.whole.silent.push("directory".to_owned()),
            }
        }
    }

    fn mirror(&mut self, file: &config::Mirror) {
        let Some(socket) = &file.admin_socket else { return self.whole.silent.push("mirror".to_owned()) };
        let asked = self.runtime.block_on(client::mirror(socket));
        self.whole.mirror = self.noted("mirror", asked);
    }

    fn relay(&mut self, file: &config::Relay) {
        let Some(socket) = &file.admin_socket else { return self.whole.silent.push("relay".to_owned()) };
        let asked = self.runtime.block_on(client::relay(socket));
        self.whole.relay = self.noted("relay", asked);
    }

    fn service(&mut self, file: &config::Service) {
        let asked = self.runtime.block_on(client::status(&file.admin.socket));
        self.whole.service = self.noted("service", asked).map(Box::new);
    }

    fn node(&mut self, config: &Config) {
        let name = match config.role {
            Role::Exit(_) => "exit",
            Role::Entry(_) => "entry",
        };
        let asked = self.runtime.block_on(client::status(&config.admin.socket));
        let status = self.noted(name, asked).map(Box::new);
        match config.role {
            Role::Exit(_) => self.whole.exit = status,
            Role::Entry(_) => self.whole.entry = status,
        }
    }
}

/// What a node of a cluster says at its admin socket.
pub(crate) async fn cluster_status(socket: &Path) -> Result<ClusterStatus, AskError> {
    match client::cluster(socket, ClusterRequest::Status).await? {
        ClusterAnswer::Status { status } => Ok(*status),
        _ => Err(AskError::NotUnderstood(socket.to_owned())),
    }
}
