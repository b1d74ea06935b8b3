//! The file of a node: ours, or the original program's.

use super::member::MemberFile;
use crate::failure::{Code, Failure};
use crate::settings;
use cluster_node::credentials::{CredentialFiles, KeptKey};
use cluster_node::member::{Member, MemberName, cluster_of_names, parse_revoked, without_revoked};
use cluster_node::pki::CertificateInfo;
use cluster_node::transport::Settings;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;
use zeroize::Zeroizing;

/// A connection between nodes of the original's file ends when nothing came for so long.
const PX_IDLE_TIMEOUT: Duration = Duration::from_secs(10);

/// What a node's file says.
pub(super) struct NodeFile {
    pub(super) transport: Settings,
    pub(super) credentials: CredentialFiles,
    pub(super) members: Vec<Member>,
    /// Looked at anew together with the file.
    pub(super) revoked: Option<PathBuf>,
    pub(super) folder: PathBuf,
    pub(super) pipe: PathBuf,
    pub(super) pipe_users: Vec<u32>,
    pub(super) admin: PathBuf,
    /// What it does as a member of a directory.
    pub(super) directory: Option<MemberFile>,
}

impl NodeFile {
    /// Reads a file, and the keys that it names.
    pub(super) fn load(path: &Path) -> Result<Self, Failure> {
        if is_json(path) { Self::of_original(path) } else { Self::of_ours(path) }
    }

    /// The members that are let in, as the file says them at the moment.
    pub(super) fn load_members(path: &Path) -> Result<Vec<Member>, Failure> {
        Ok(Self::load(path)?.members)
    }

    fn of_ours(path: &Path) -> Result<Self, Failure> {
        let config = settings::loaded(config::load_cluster(path))?;
        let secret = settings::keys(&config.key_file)?.node_secret;
        let own = secret.node_id();
        let directory = config.directory.map(|directory| MemberFile::load(directory, secret.clone())).transpose()?;
        let cluster = directory.as_ref().map_or(config.cluster, |directory| directory.cluster(config.cluster));
        let key = KeptKey::Node(secret);
        let revoked = match &config.revoked_file {
            None => Vec::new(),
            Some(file) => {
                let text = std::fs::read_to_string(file);
                let text = text.map_err(|error| Failure::io(format_args!("cannot read {}", file.display()), &error))?;
                parse_revoked(&text).map_err(|line| {
                    Failure::new(Code::Data, format!("{}, line {line}: not a node id", file.display()))
                        .remedy("copy the file again from the root's folder")
                })?
            }
        };
        if revoked.contains(&own) {
            return Err(Failure::new(Code::Configuration, format!("this node, {own}, is revoked"))
                .remedy("make new keys with `hushwire keys new`, and let it join as another node"));
        }
        if !config.members.iter().any(|member| member.id == own) {
            return Err(Failure::new(
                Code::Configuration,
                format!("{} has no [[members]] table with this node's id, {own}", path.display()),
            )
            .remedy("add the table that `hushwire pki show` prints for its certificate"));
        }
        Ok(Self {
            transport: Settings {
                own,
                cluster,
                listen: config.listen,
                retry_delay: config.retry_delay,
                idle_timeout: config.idle_timeout,
                reset_secret: Settings::reset_secret(&key.lend()),
            },
            credentials: CredentialFiles { certificate: config.certificate_file, roots: config.root_file, key },
            members: without_revoked(config.members, &revoked),
            revoked: config.revoked_file,
            folder: config.data_dir,
            pipe: config.pipe,
            pipe_users: config.pipe_users,
            admin: config.admin_socket,
            directory,
        })
    }

    fn of_original(path: &Path) -> Result<Self, Failure> {
        let px = settings::loaded(config::load_px(path))?;
        let name = own_name(&px.certificate_file)?;
        let members = px.members(&name).ok_or_else(|| {
            let shown = path.display();
            Failure::new(Code::Configuration, format!("{shown}: two servers have the same name or id as {name}"))
                .remedy("give each server another one; this node's name is that in its certificate")
        })?;
        let members: Vec<Member> = members.into_iter().map(|(_, member)| member).collect();
        let own = members.iter().find(|member| member.name == name).map(|member| member.id);
        let own = own.ok_or_else(|| Failure::new(Code::Software, "the members lack this node"))?;
        let key = config::read_secret_file(&px.key_file).map_err(|error| settings::secret(&error))?;
        let key = KeptKey::Pem(Zeroizing::new(key));
        Ok(Self {
            transport: Settings {
                own,
                cluster: cluster_of_names(members.iter().map(|member| &member.name)),
                listen: resolved(&px.listen.to_string())?,
                retry_delay: px.retry_delay,
                idle_timeout: PX_IDLE_TIMEOUT,
                reset_secret: Settings::reset_secret(&key.lend()),
            },
            credentials: CredentialFiles { certificate: px.certificate_file, roots: px.root_file, key },
            members,
            revoked: None,
            folder: beside(path, "-log"),
            pipe: beside(path, ".pipe"),
            pipe_users: Vec::new(),
            admin: beside(path, ".admin"),
            directory: None,
        })
    }
}

/// Where a node's admin socket is.
pub(super) fn admin_socket(path: &Path) -> Result<PathBuf, Failure> {
    if is_json(path) {
        return Ok(beside(path, ".admin"));
    }
    settings::loaded(config::load_cluster(path)).map(|config| config.admin_socket)
}

/// A file that cannot be read is said to be so by whoever reads it next.
pub(super) fn is_json(path: &Path) -> bool {
    std::fs::read(path).is_ok_and(|text| text.trim_ascii_start().starts_with(b"{"))
}

/// `n1.json` and `-log` make `n1-log`.
fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push(end);
    path.with_file_name(name)
}

fn own_name(certificate: &Path) -> Result<MemberName, Failure> {
    let shown = certificate.display();
    let text = std::fs::read_to_string(certificate)
        .map_err(|error| Failure::io(format_args!("cannot read {shown}"), &error).remedy("check the path"))?;
    let info = CertificateInfo::from_pem(&text)
        .map_err(|error| Failure::new(Code::Data, format!("{shown} cannot be used: {error}")))?;
    info.names.iter().find_map(|name| name.parse().ok()).ok_or_else(|| {
        Failure::new(Code::Data, format!("{shown} has no DNS name, so nobody can know the node by it"))
            .remedy("make one whose subject alternative name is what the other nodes call `server_name`")
    })
}

fn resolved(address: &str) -> Result<SocketAddr, Failure> {
    let found = address.to_socket_addrs().map(|mut found| found.next());
    found.ok().flatten().ok_or_else(|| {
        Failure::new(Code::Configuration, format!("the address {address} that this node listens on is not known here"))
            .remedy("write an address of this machine for `me.addr`")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_the_originals_node_stand_beside_its_file() {
        assert_eq!(beside(Path::new("/etc/px/n1.json"), "-log"), Path::new("/etc/px/n1-log"));
        assert_eq!(beside(Path::new("n1.json"), ".pipe"), Path::new("n1.pipe"));
    }

    #[test]
    fn an_address_is_taken_as_it_is() {
        assert!(resolved("127.0.0.1:4433").is_ok_and(|address| address.port() == 4433));
        assert!(resolved("no such host:1").is_err());
    }
}
