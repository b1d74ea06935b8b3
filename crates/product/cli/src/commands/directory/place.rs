//! Who is asked about a directory: a member, by its socket or by the file of its node, or the mirror of a node that is none.

use crate::args::directory::SocketArgs;
use crate::commands::check;
use crate::failure::{Code, Failure};
use crate::settings;
use config::PartPath;
use std::path::{Path, PathBuf};

/// The default of `--socket`.
const SOCKET: &str = "directory.socket";

/// Who is asked.
pub(super) enum Place {
    /// The service of a member, and the admin socket of its node if that is known.
    Member { socket: PathBuf, admin: Option<PathBuf> },
    /// The admin socket of a mirror.
    Mirror(PathBuf),
}

/// What the options name.
pub(super) fn place(args: &SocketArgs) -> Result<Place, Failure> {
    let Some(file) = &args.config else {
        return Ok(Place::Member { socket: args.path.clone().unwrap_or_else(|| SOCKET.into()), admin: None });
    };
    if PartPath::of(file).part.is_some() || !check::is_file_of_several(file) {
        let cluster = settings::loaded(config::load_cluster(file))?;
        return of_cluster(cluster).ok_or_else(|| no_member(file));
    }
    let node = settings::loaded(config::load_node(file))?;
    let member = node.cluster.and_then(of_cluster);
    let mirror = node.mirror.and_then(|mirror| mirror.admin_socket).map(Place::Mirror);
    member.or(mirror).ok_or_else(|| no_member(file))
}

fn of_cluster(cluster: config::Cluster) -> Option<Place> {
    let (directory, admin) = (cluster.directory?, Some(cluster.admin_socket));
    Some(Place::Member { socket: directory.socket, admin })
}

/// The socket of a member: a mirror decides nothing and knows no members.
pub(super) fn member(args: &SocketArgs) -> Result<PathBuf, Failure> {
    match place(args)? {
        Place::Member { socket, .. } => Ok(socket),
        Place::Mirror(_) => Err(Failure::new(Code::Unavailable, "this node is no member of the directory").remedy(
            "ask a member with --socket PATH; `hushwire directory status -c FILE` shows what this node's mirror knows",
        )),
    }
}

fn no_member(file: &Path) -> Failure {
    let sentence = format!("{} has neither a member of the directory nor a mirror", file.display());
    Failure::new(Code::Configuration, sentence).remedy("name the socket of a member with --socket PATH")
}
