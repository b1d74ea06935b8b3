//! The files of a demo: a folder for each node, with its configuration, keys and certificate.

use crate::budget::unix_s;
use crate::failure::{Code, Failure};
use crate::local::folder::Folder;
use crate::local::ports;
use crate::settings;
use crate::template::{Template, quoted};
use cluster_node::member::MemberName;
use cluster_node::pki::{NODE_DAYS, PkiError, ROOT_DAYS, Root};
use config::EXAMPLE_CLUSTER;
use identity::{KeyFile, NodeId};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs::DirBuilder;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Names in a node's folder, as the example file has them.
const CONFIG: &str = "cluster.toml";
const KEYS: &str = "node.keys";
const CERTIFICATE: &str = "node.crt";
const ROOT: &str = "root.crt";

/// Where the nodes of a demo live.
#[derive(Debug)]
pub(super) struct Home {
    path: PathBuf,
    count: usize,
    is_kept: bool,
    /// Goes away with the value.
    _temporary: Option<Folder>,
}

impl Home {
    /// The folder of a demo that was kept, or a new one.
    pub(super) fn open(keep: Option<&Path>, count: usize) -> Result<Self, Failure> {
        let Some(path) = keep else {
            let folder = Folder::new()?;
            write_files(folder.path(), count)?;
            return Ok(Self { path: folder.path().to_owned(), count, is_kept: false, _temporary: Some(folder) });
        };
        let kept = (0..).take_while(|index| node_folder(path, *index).join(CONFIG).is_file()).count();
        if kept == 0 {
            if std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some()) {
                let sentence = format!("{} is not empty and holds no demo", path.display());
                return Err(Failure::new(Code::CannotCreate, sentence).remedy("name another folder"));
            }
            make_folder(path)?;
            write_files(path, count)?;
        }
        // Processes of this program are started in it.
        let path = path.canonicalize().map_err(|error| Failure::io(path.display(), &error))?;
        let count = if kept == 0 { count } else { kept };
        Ok(Self { path, count, is_kept: kept > 0, _temporary: None })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Where they come from, for a sentence.
    pub(super) fn state(&self) -> &'static str {
        if self.is_kept { "as they were kept" } else { "with fresh keys and certificates" }
    }

    /// Every node's name, folder and configuration file.
    pub(super) fn nodes(&self) -> impl Iterator<Item = (String, PathBuf, PathBuf)> + '_ {
        (0..self.count).map(|index| {
            let folder = node_folder(&self.path, index);
            let config = folder.join(CONFIG);
            (name(index), folder, config)
        })
    }
}

fn name(index: usize) -> String {
    format!("n{}", index + 1)
}

fn node_folder(path: &Path, index: usize) -> PathBuf {
    path.join(name(index))
}

struct Planned {
    name: MemberName,
    keys: KeyFile,
    id: NodeId,
    address: SocketAddr,
}

fn write_files(path: &Path, count: usize) -> Result<(), Failure> {
    let mut ports = BTreeSet::new();
    while ports.len() < count {
        ports.insert(ports::free_udp()?);
    }
    let mut planned = Vec::with_capacity(count);
    for (index, port) in ports.into_iter().enumerate() {
        let keys = settings::new_keys()?;
        let name = name(index).parse().map_err(|_| Failure::new(Code::Software, "a node's name is none"))?;
        let id = keys.node_secret.node_id();
        planned.push(Planned { name, keys, id, address: (Ipv4Addr::LOCALHOST, port).into() });
    }
    // Its key is nowhere when this returns: nobody can become a member of a demo later.
    let root = Root::generate("demo", &[], unix_s(), ROOT_DAYS).map_err(|error| refused(&error))?;
    let cluster: [u8; 32] = settings::random()?;
    for (index, node) in planned.iter().enumerate() {
        let folder = node_folder(path, index);
        make_folder(&folder)?;
        let issued = root.issue(node.id, &node.name, unix_s(), NODE_DAYS).map_err(|error| refused(&error))?;
        let files = [
            (KEYS, node.keys.reveal().to_string()),
            (CERTIFICATE, issued.certificate),
            (ROOT, root.certificate().to_owned()),
            (CONFIG, configuration(&cluster, node, &planned)?),
        ];
        for (name, content) in &files {
            config::create_secret_file(&folder.join(name), content).map_err(|error| settings::secret(&error))?;
        }
    }
    Ok(())
}

fn configuration(cluster: &[u8; 32], node: &Planned, all: &[Planned]) -> Result<String, Failure> {
    let lacks = || Failure::new(Code::Software, "the example file lacks a key");
    let mut file = Template::new(EXAMPLE_CLUSTER.split("[[members]]").next().ok_or_else(lacks)?);
    let digits: String = cluster.iter().map(|byte| format!("{byte:02x}")).collect();
    let set = [
        file.set("", "cluster", &quoted(&digits)),
        file.set("", "key_file", &quoted(KEYS)),
        file.set("", "certificate_file", &quoted(CERTIFICATE)),
        file.set("", "root_file", &quoted(ROOT)),
        file.set("", "listen", &quoted(&node.address.to_string())),
    ];
    if !set.into_iter().all(|set| set) {
        return Err(lacks());
    }
    let mut text = file.text();
    for member in all {
        let (id, name, address) = (member.id, &member.name, member.address);
        // Writing to a string does not fail.
        let _ = write!(text, "\n[[members]]\nnode_id = \"{id}\"\nname = \"{name}\"\naddress = \"{address}\"\n");
    }
    Ok(text)
}

fn make_folder(path: &Path) -> Result<(), Failure> {
    DirBuilder::new()
        .mode(0o700)
        .recursive(true)
        .create(path)
        .map_err(|error| Failure::io(format_args!("cannot make {}", path.display()), &error))
}

fn refused(error: &PkiError) -> Failure {
    Failure::from_error(Code::System, error).remedy("set the clock, and try again")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_a_demo_are_good_and_are_found_again() {
        let home = Home::open(None, 3).expect("a folder for temporary files");
        let mut listens = std::collections::BTreeSet::new();
        for (_, folder, config) in home.nodes() {
            let parsed = config::load_cluster(&config).expect("a good file");
            assert_eq!(parsed.members.len(), 3);
            let own = config::read_keys(&parsed.key_file).expect("good keys").node_secret.node_id();
            let here = parsed.members.iter().find(|member| member.id == own).expect("its own table");
            assert_eq!(here.address.to_string(), parsed.listen.to_string());
            assert!(parsed.pipe.starts_with(&folder) && listens.insert(parsed.listen));
        }
        let again = Home::open(Some(home.path()), 5).expect("a demo that was kept");
        assert_eq!((again.count(), again.is_kept), (3, true), "what is there counts");
        let other = home.path().join("n1");
        let refused = Home::open(Some(&other), 3).expect_err("its folder holds other files");
        assert!(refused.sentence().contains("holds no demo"));
    }
}
