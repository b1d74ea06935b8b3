//! `hushwire cluster run`.

use super::control::{Control, Names};
use super::file::NodeFile;
use super::member::{self, MemberFile};
use super::refresh::keep_members_fresh;
use crate::args::cluster::ClusterRunArgs;
use crate::commands::status::runtime;
use crate::failure::{Code, Failure, Outcome};
use crate::logging;
use admin::server::{BindError as AdminError, Server};
use cluster_node::credentials::{CredentialStore, FilesError, LOOK_EVERY};
use cluster_node::disk::DiskError;
use cluster_node::driver::Stopped;
use cluster_node::folder::FolderError;
use cluster_node::node::{Beginning, Node, Settings, StartError};
use cluster_node::transport::BindError;
use config::{Log, LogFormat, LogLevel};
use directory_node::{DirectoryNode, SharedDirectory};
use replicated_log::Tuning;
use std::path::Path;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

pub(crate) fn run(args: &ClusterRunArgs) -> Outcome {
    logging::start(&Log { level: LogLevel::Info, format: LogFormat::Text });
    let file = NodeFile::load(&args.file)?;
    let beginning = match (args.found, args.join) {
        (true, _) => Beginning::Founder,
        (false, true) => Beginning::Newcomer,
        (false, false) => Beginning::Earlier,
    };
    let runtime = runtime()?;
    let outcome = runtime.block_on(serve(&args.file, file, beginning, args.leash));
    // A program at the pipe may be in the middle of reading files.
    runtime.shutdown_background();
    outcome
}

async fn serve(path: &Path, file: NodeFile, beginning: Beginning, is_leashed: bool) -> Outcome {
    let no_signals = |error| Failure::new(Code::System, format!("no signals: {error}"));
    let mut interrupt = signal(SignalKind::interrupt()).map_err(no_signals)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(no_signals)?;
    let credentials = CredentialStore::new(file.credentials.load().map_err(|error| unusable(&error))?);
    let admin = Server::bind(&file.admin).map_err(|error| admin_socket(&error))?;
    let (stop, mut stopped) = mpsc::channel(1);
    if is_leashed {
        end_with_input(stop.clone());
    }
    let names = Names::default();
    names.learn(&file.members);
    let (own, pipe) = (file.transport.own, file.pipe.display().to_string());
    let directory = file.directory.as_ref().map(MemberFile::shared);
    let (applications, live) = directory.as_ref().map(SharedDirectory::applications).unwrap_or_default();
    let member = file.directory.zip(directory).map(|(file, shared)| file.open(shared, beginning)).transpose()?;
    let settings = Settings {
        transport: file.transport,
        credentials: credentials.clone(),
        members: file.members,
        folder: file.folder,
        beginning,
        tuning: Tuning::default(),
        pipe: file.pipe,
        pipe_users: file.pipe_users,
        applications,
        live,
    };
    let mut node = Node::start(settings).map_err(|error| not_started(&error))?;
    let mut member = member::start(node.handle().log.clone(), member)?;
    tracing::info!(%pipe, "a node of a cluster runs");
    let control = Control::new(node.handle().clone(), own, credentials.clone(), pipe, names.clone(), stop);
    let control = control.with_counts(member.as_ref().map(DirectoryNode::counts));
    let fresh = keep_members_fresh(path.to_owned(), file.revoked, node.handle().clone(), names);
    let ended = tokio::select! {
        why = node.ended() => Some(ended_by_itself(&why)),
        why = member::ended(&mut member) => Some(member::failed(&why)),
        _ = interrupt.recv() => None,
        _ = terminate.recv() => None,
        _ = stopped.recv() => None,
        () = admin.serve_later(move |request| control.clone().answer(request)) => None,
        // Both return only if the system passes no signals on.
        _ = fresh => None,
        _ = file.credentials.keep_fresh(credentials, LOOK_EVERY) => None,
    };
    drop(member);
    match ended {
        Some(failure) => Err(failure),
        None => node.stop().await.map_err(|why| ended_by_itself(&why)),
    }
}

/// Ends the node when standard input ends: whoever holds the other end of that pipe is gone.
fn end_with_input(stop: mpsc::Sender<()>) {
    std::thread::spawn(move || {
        // An input that cannot be read is one that has ended.
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        let _ = stop.try_send(());
    });
}

pub(super) fn unusable(error: &FilesError) -> Failure {
    match error {
        FilesError::Read { path, source } => {
            Failure::io(format_args!("cannot read {}", path.display()), source).remedy("check the path")
        }
        FilesError::Unusable { .. } => Failure::new(Code::Data, error.to_string())
            .remedy("`hushwire pki show FILE` says what a file holds; docs/keys.md how they are made"),
    }
}

fn admin_socket(error: &AdminError) -> Failure {
    match error {
        AdminError::InUse(_) => {
            Failure::from_error(Code::System, error).remedy("ask it with `hushwire cluster status`")
        }
        AdminError::NotASocket(_) => Failure::from_error(Code::CannotCreate, error).remedy("set admin_socket"),
        AdminError::System { source, .. } => {
            Failure::io("cannot open the admin socket", source).remedy("set admin_socket")
        }
    }
}

fn not_started(error: &StartError) -> Failure {
    // These sentences bring their causes along.
    let failure = |code| Failure::new(code, error.to_string());
    match error {
        StartError::Folder(FolderError::Empty(_)) => failure(Code::NoInput).remedy(
            "give --found on every member of a cluster that does not exist yet, or --join to come into one that does",
        ),
        StartError::Folder(FolderError::Used(_)) => {
            failure(Code::CannotCreate).remedy("start it without --found and --join")
        }
        StartError::Folder(FolderError::Disk(error)) => disk(error),
        StartError::Folder(FolderError::Open(_)) => failure(Code::CannotCreate),
        StartError::Folder(_) | StartError::Driver(_) => failure(Code::Data).remedy(
            "check the disk; if it is gone, `hushwire cluster member remove` this node and let it join with new keys",
        ),
        StartError::Bind(BindError::Listen { .. }) => failure(Code::System).remedy("set another address to listen on"),
        StartError::Bind(_) => {
            failure(Code::Configuration).remedy("compare the list of members with `hushwire pki show CERTIFICATE`")
        }
        StartError::Pipe(_) => {
            failure(Code::CannotCreate).remedy("set another path as `pipe`, in a folder that exists")
        }
        StartError::Members(_) => failure(Code::Configuration).remedy("list 2 to 15 members"),
        StartError::Random => failure(Code::System).remedy("try again"),
    }
}

fn disk(error: &DiskError) -> Failure {
    Failure::new(Code::InputOutput, error.to_string()).remedy(error.remedy())
}

fn ended_by_itself(why: &Stopped) -> Failure {
    match why {
        Stopped::Folder(FolderError::Disk(error)) => disk(error),
        Stopped::Folder(_) | Stopped::Fatal(_) => Failure::new(Code::Data, why.to_string()),
        Stopped::Asked | Stopped::Panicked => Failure::new(Code::Software, why.to_string()),
    }
}
