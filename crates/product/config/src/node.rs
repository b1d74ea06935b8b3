//! The file of a node that has several roles, and what changes when it is read again.

use crate::cluster::{Cluster, read_cluster};
use crate::diagnostic::{Diagnostics, Problem};
use crate::mirror::{Mirror, read_mirror};
use crate::part::NodePart;
use crate::reader::{Section, with_document};
use crate::relay::{Relay, read_relay};
use crate::service::{Service, read_service};
use crate::{Config, LoadError, Log, diagnostic::Report, load_with, read_config, sections, value};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Where commands ask the node, beside the file.
const ADMIN: &str = "node.admin";

/// What a node of several roles is told: everything that its parts are told, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeFile {
    /// The admin socket of the node as a whole.
    pub admin_socket: PathBuf,
    /// What the node itself logs; its parts have logs of their own.
    pub log: Log,
    /// `[cluster]`.
    pub cluster: Option<Cluster>,
    /// `[mirror]`.
    pub mirror: Option<Mirror>,
    /// `[relay]`.
    pub relay: Option<Relay>,
    /// `[exit]`.
    pub exit: Option<Box<Config>>,
    /// `[entry]`.
    pub entry: Option<Box<Config>>,
    /// `[service]`.
    pub service: Option<Box<Service>>,
    /// What stands in the table of each part.
    tables: BTreeMap<NodePart, toml::Table>,
}

impl NodeFile {
    /// The parts that it has, in the order in which they are started.
    pub fn parts(&self) -> impl Iterator<Item = NodePart> + '_ {
        NodePart::ALL.into_iter().filter(|part| self.tables.contains_key(part))
    }

    /// Keys of a part whose values are other ones than in `before`, in alphabetical order; none if either lacks the part.
    pub fn changed_keys(&self, before: &Self, part: NodePart) -> Vec<String> {
        let (Some(new), Some(old)) = (self.tables.get(&part), before.tables.get(&part)) else { return Vec::new() };
        let mut keys: Vec<&String> = new.keys().chain(old.keys()).collect();
        keys.sort_unstable();
        keys.dedup();
        keys.into_iter().filter(|key| new.get(*key) != old.get(*key)).cloned().collect()
    }
}

/// Reads the file of a node of several roles. Relative paths in it are taken from its folder.
///
/// # Errors
/// When it cannot be read or used.
pub fn load_node(path: &Path) -> Result<NodeFile, LoadError> {
    load_with(path, parse_node)
}

/// Parses a file's text. `folder` is what relative paths are taken from.
///
/// # Errors
/// All problems of the file, in whichever part.
pub fn parse_node(text: &str, folder: &Path) -> Result<NodeFile, Diagnostics> {
    with_document(text, |root, report| read_node(root, text, folder, report))
}

fn read_node(mut root: Section<'_>, text: &str, folder: &Path, report: &mut Report) -> Option<NodeFile> {
    let admin_socket = root.or(report, "admin_socket", folder.join(ADMIN), value::socket_path(folder));
    let log = sections::log(&mut root, report);
    let cluster = read_part(&mut root, report, NodePart::Cluster, |part, report| read_cluster(part, folder, report));
    let mirror = read_part(&mut root, report, NodePart::Mirror, |part, report| read_mirror(part, folder, report));
    let relay = read_part(&mut root, report, NodePart::Relay, |part, report| read_relay(part, folder, report));
    let mut node = |name, report: &mut Report| {
        read_part(&mut root, report, name, |part, report| read_config(part, folder, report))
    };
    let (exit, entry) = (node(NodePart::Exit, report), node(NodePart::Entry, report));
    let service = read_part(&mut root, report, NodePart::Service, |part, report| read_service(part, folder, report));
    if !NodePart::ALL.iter().any(|part| root.has(part.name())) {
        report.add(String::new(), root.place_of(""), Problem::NoPart);
    }
    report.role = None;
    root.finish(report);
    // What was parsed once is parsed again.
    let mut whole = text.parse::<toml::Table>().ok()?;
    let table = |part: NodePart| match whole.remove(part.name()) {
        Some(toml::Value::Table(table)) => Some((part, table)),
        _ => None,
    };
    let tables = NodePart::ALL.into_iter().filter_map(table).collect();
    Some(NodeFile {
        admin_socket,
        log,
        cluster,
        mirror,
        relay,
        exit: exit.map(Box::new),
        entry: entry.map(Box::new),
        service: service.map(Box::new),
        tables,
    })
}

fn read_part<T>(
    root: &mut Section<'_>,
    report: &mut Report,
    part: NodePart,
    read: impl FnOnce(Section<'_>, &mut Report) -> Option<T>,
) -> Option<T> {
    if !root.has(part.name()) {
        return None;
    }
    let section = root.part(report, part)?;
    read(section, report)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EXAMPLE_NODE, Role, load};

    fn parsed(text: &str) -> NodeFile {
        parse_node(text, Path::new("/etc"))
            .unwrap_or_else(|problems| panic!("{}", problems.render("node.toml", text, false)))
    }

    #[test]
    fn the_example_has_parts_that_are_read_as_files_of_their_roles() {
        let node = parsed(EXAMPLE_NODE);
        assert_eq!(node.parts().collect::<Vec<_>>(), [NodePart::Exit, NodePart::Entry]);
        assert_eq!(node.admin_socket, Path::new("/etc/node.admin"));
        let (exit, entry) = (node.exit.expect("an exit"), node.entry.expect("an entry"));
        assert!(matches!((&exit.role, &entry.role), (Role::Exit(_), Role::Entry(_))));
        assert_eq!(exit.admin.socket, Path::new("/etc/exit.admin"), "as in a file of its own");
        let text = "[mirror]\ninvitation_file = \"i\"\n[relay]\nkey_file = \"k\"\nonion_key_file = \"o\"\nnetwork_file = \"n\"\nlisten = \"0.0.0.0:1\"\n";
        let node = parsed(text);
        assert_eq!(node.relay.and_then(|relay| relay.admin_socket), Some("/etc/relay.admin".into()));
        assert_eq!(node.mirror.and_then(|mirror| mirror.admin_socket), Some("/etc/mirror.admin".into()));
    }

    #[test]
    fn a_part_is_loaded_by_its_name_and_another_ones_mistake_does_not_matter() {
        let folder = std::env::temp_dir().join(format!("hushwire-part-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let file = folder.join("node.toml");
        std::fs::write(&file, EXAMPLE_NODE.replace("legs = 2", "legs = 99")).expect("a file");
        let part = |name: &str| folder.join(format!("node.toml#{name}"));
        assert!(load(&part("exit")).is_ok());
        assert!(matches!(load(&part("entry")), Err(LoadError::Invalid { .. })));
        assert!(matches!(crate::load_relay(&part("relay")), Err(LoadError::Invalid { .. })), "there is none");
        assert!(matches!(load_node(&file), Err(LoadError::Invalid { .. })));
        std::fs::remove_dir_all(&folder).expect("it goes away");
    }

    #[test]
    fn what_is_wrong_is_said_at_its_place() {
        let wrong = EXAMPLE_NODE.replace("legs = 2", "legs = 99").replace("[exit.network]", "[exit.netwrok]");
        let problems = parse_node(&wrong, Path::new("")).expect_err("two mistakes");
        let shown = problems.render("node.toml", &wrong, false);
        assert!(shown.contains("legs") && shown.contains("netwrok"), "{shown}");
        let empty = parse_node("[log]\n", Path::new("")).expect_err("no part");
        assert!(empty.iter().all(|one| one.problem == Problem::NoPart), "{}", empty.render("n", "[log]\n", false));
        let twice = EXAMPLE_NODE.replace("\n[exit]\n", "\n[exit]\nrole = \"entry\"\n");
        assert!(parse_node(&twice, Path::new("")).is_err(), "a part is what it is called");
    }

    #[test]
    fn changes_are_told_by_key() {
        let before = parsed(EXAMPLE_NODE);
        let after = parsed(
            &EXAMPLE_NODE.replace("legs = 2", "legs = 3").replace("\n[entry]\n", "\n[entry]\nsession_timeout_s = 9\n"),
        );
        assert_eq!(after.changed_keys(&before, NodePart::Entry), ["network", "session_timeout_s"]);
        assert!(after.changed_keys(&before, NodePart::Exit).is_empty());
        assert!(after.changed_keys(&before, NodePart::Relay).is_empty());
    }
}
