//! Parts of a node's file: each is what a role's own file would be, as a table.

use crate::diagnostic::{Diagnostics, Report};
use crate::reader::{Section, with_document};
use std::path::{Path, PathBuf};

/// A part of a node's file. Each runs as a program of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NodePart {
    /// A member of the directory, or of another cluster: `[cluster]`.
    Cluster,
    /// Who keeps the network's document on this machine, and announces its relay: `[mirror]`.
    Mirror,
    /// A relay that joins nothing: `[relay]`.
    Relay,
    /// An exit: `[exit]`.
    Exit,
    /// An entry: `[entry]`.
    Entry,
    /// Services that are reached through the network: `[service]`.
    Service,
}

impl NodePart {
    /// All of them, in the order in which they are started: others are reached through those before.
    pub const ALL: [Self; 6] = [Self::Cluster, Self::Mirror, Self::Relay, Self::Exit, Self::Entry, Self::Service];

    /// The name of its table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cluster => "cluster",
            Self::Mirror => "mirror",
            Self::Relay => "relay",
            Self::Exit => "exit",
            Self::Entry => "entry",
            Self::Service => "service",
        }
    }

    /// The part with this table.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|part| part.name() == name)
    }
}

/// A file of a role, or a part of a node's file, which is written `node.toml#exit`. Every command that takes the file of a role
/// takes this.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartPath {
    /// The file.
    pub file: PathBuf,
    /// The part, if it is not the whole file.
    pub part: Option<NodePart>,
}

impl PartPath {
    /// Reads what a command was given. What stands behind the last `#` is a part if it is the name of one; a file's own name
    /// hardly ends so.
    pub fn of(path: &Path) -> Self {
        let split = path.to_str().and_then(|text| text.rsplit_once('#'));
        match split.and_then(|(file, part)| Some((file, NodePart::named(part)?))) {
            Some((file, part)) if !file.is_empty() => Self { file: file.into(), part: Some(part) },
            _ => Self { file: path.to_owned(), part: None },
        }
    }

    /// What a command is given.
    pub fn to_path(&self) -> PathBuf {
        let mut path = self.file.clone().into_os_string();
        if let Some(part) = self.part {
            path.push("#");
            path.push(part.name());
        }
        path.into()
    }
}

/// Parses a node's file and reads one part of it. The other parts may be wrong; they are not looked at.
pub(crate) fn with_part<T>(
    text: &str,
    part: NodePart,
    read: impl FnOnce(Section<'_>, &mut Report) -> Option<T>,
) -> Result<T, Diagnostics> {
    with_document(text, |mut root, report| root.part(report, part).and_then(|section| read(section, report)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_stands_behind_the_last_hash() {
        let of = |text: &str| PartPath::of(Path::new(text));
        assert_eq!(of("a/node.toml#exit"), PartPath { file: "a/node.toml".into(), part: Some(NodePart::Exit) });
        assert_eq!(of("a/node.toml#exit").to_path(), Path::new("a/node.toml#exit"));
        for whole in ["exit.toml", "#exit", "a#b/exit.toml", "node.toml#other"] {
            assert_eq!(of(whole), PartPath { file: whole.into(), part: None });
            assert_eq!(of(whole).to_path(), Path::new(whole));
        }
    }
}
