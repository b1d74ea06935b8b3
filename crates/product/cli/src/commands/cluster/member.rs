//! A node of a cluster as a member of a network's directory.

use crate::commands::network::read_charter;
use crate::failure::{Code, Failure};
use cluster_node::driver::Running;
use cluster_node::node::Beginning;
use directory_node::{
    BeginningError, DirectoryNode, Settings, SharedDirectory, StartError, StateFiles, StateFilesError, Stopped, begin,
    cluster_of,
};
use identity::{NodeId, NodeSecret};
use network_document::{Charter, Electorate, TermFile};
use relay_directory::Directory;
use std::path::PathBuf;
use std::sync::Arc;

/// What the `[directory]` table of a node's file says, and the files that it names.
pub(super) struct MemberFile {
    secret: NodeSecret,
    charter: Arc<Charter>,
    term: Option<TermFile>,
    first: Directory,
    state_dir: PathBuf,
    socket: PathBuf,
}

impl MemberFile {
    pub(super) fn load(directory: config::Directory, secret: NodeSecret) -> Result<Self, Failure> {
        let charter = Arc::new(read_charter(&directory.charter_file)?);
        let term = directory.term.map(|(file, state)| -> Result<(TermFile, Vec<u8>), Failure> {
            let read = |path: &PathBuf| {
                std::fs::read(path).map_err(|error| Failure::io(format_args!("cannot read {}", path.display()), &error))
            };
            let parsed = TermFile::parse(&read(&file)?)
                .map_err(|error| Failure::new(Code::Data, format!("{}, {error}", file.display())))?;
            Ok((parsed, read(&state)?))
        });
        let term = term.transpose()?;
        let begun = begin(Arc::clone(&charter), term.as_ref().map(|(file, state)| (file, state.as_slice())));
        let first = begun.map_err(|error| {
            let remedy = match &error {
                BeginningError::NoDirectory => {
                    "name the charter of a network with a directory as `directory.charter_file`"
                }
                BeginningError::State(_) | BeginningError::Term(_) => {
                    "name the term's file and the very state that `hushwire directory term` was given"
                }
            };
            Failure::new(Code::Configuration, error.to_string()).remedy(remedy)
        })?;
        let (state_dir, socket) = (directory.state_dir, directory.socket);
        Ok(Self { secret, charter, term: term.map(|(file, _)| file), first, state_dir, socket })
    }

    /// The name of the cluster whose log has the directory.
    pub(super) fn cluster(&self, cluster: [u8; 32]) -> [u8; 32] {
        cluster_of(cluster, &self.charter, self.term.as_ref())
    }

    fn own(&self) -> NodeId {
        self.secret.node_id()
    }

    fn electorate(&self) -> &Electorate {
        self.first.electorate()
    }

    /// What `check` says.
    pub(super) fn lines(&self) -> Vec<(&'static str, String)> {
        let electorate = self.electorate();
        let (members, liars, quorum) = (electorate.members().len(), electorate.liars(), electorate.quorum());
        let is_member = if electorate.contains(&self.own()) {
            "this node is one of them".to_owned()
        } else {
            format!(
                "this node, {}, is none of them: it signs nothing until `hushwire directory members` makes it one",
                self.own()
            )
        };
        let liars = match liars {
            0 => "none may lie (three members tolerate no liar, four tolerate one)".to_owned(),
            liars => format!("{liars} may lie"),
        };
        vec![
            ("network", format!("`{}`, {}", self.charter.name(), self.charter.network_id())),
            (
                "directory",
                format!("{members} members of term {}, {quorum} sign, {liars}; {is_member}", electorate.term()),
            ),
            ("promise", self.state_dir.display().to_string()),
            ("socket", self.socket.display().to_string()),
        ]
    }

    /// The directory that the log is to drive.
    pub(super) fn shared(&self) -> SharedDirectory {
        SharedDirectory::new(self.first.clone())
    }

    /// The promise: of a node that ran before it has to be there.
    pub(super) fn open(self, directory: SharedDirectory, beginning: Beginning) -> Result<Settings, Failure> {
        let opened = match beginning {
            Beginning::Earlier => StateFiles::open(&self.state_dir),
            Beginning::Founder | Beginning::Newcomer => StateFiles::create(&self.state_dir),
        };
        let files = opened.map_err(|error| files(&error))?;
        Ok(Settings { directory, secret: self.secret, files, socket: self.socket })
    }
}

fn files(error: &StateFilesError) -> Failure {
    match error {
        StateFilesError::System { error: cause, .. } => {
            Failure::io(error, cause).remedy("set `directory.state_dir` to a folder of the node's user")
        }
        StateFilesError::Lost(_) | StateFilesError::Unusable(_) => Failure::new(Code::Data, error.to_string())
            .remedy("docs/directory.md says how a member that lost its promise is replaced"),
        StateFilesError::Task => Failure::new(Code::Software, error.to_string()),
    }
}

/// Starts what a member does around its node; nothing for a node that is none.
pub(super) fn start(log: Running, settings: Option<Settings>) -> Result<Option<DirectoryNode>, Failure> {
    let started = settings.map(|settings| DirectoryNode::start(log, settings)).transpose();
    started.map_err(|error| match error {
        StartError::Socket(error) => Failure::new(Code::CannotCreate, error.to_string())
            .remedy("set another path as `directory.socket`, in a folder that exists"),
    })
}

/// Waits until a member ends by itself; for ever without one.
pub(super) async fn ended(member: &mut Option<DirectoryNode>) -> Stopped {
    match member {
        Some(member) => member.ended().await,
        None => std::future::pending().await,
    }
}

/// Why the whole node ends with it: a member that cannot sign is better seen to be dead.
pub(super) fn failed(why: &Stopped) -> Failure {
    match why {
        Stopped::Files(error) => files(error),
        Stopped::Panicked => Failure::new(Code::Software, why.to_string()),
    }
}
