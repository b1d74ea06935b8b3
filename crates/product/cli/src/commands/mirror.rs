//! `hushwire mirror`: keeps a network's newest document on this machine, answers for it, and announces this machine's relay.

mod control;
mod tunnels;

use crate::args::node::MirrorArgs;
use crate::commands::status::runtime;
use crate::failure::{Code, Failure, Outcome};
use crate::local::stop::{StopSignals, input_end};
use crate::logging;
use crate::settings;
use crate::terminal;
use admin::server::Server;
use config::{Announce, Log, LogFormat, LogLevel, Mirror as MirrorFile};
use control::Control;
use directory_mirror::{
    Clock, Mirror, MirrorConfig, MirrorFiles, MirrorStatus, Outcome as Said, Profile, Publisher, PublisherConfig,
    PublisherStatus, SOURCES_TRIED_MAX, Sources, StartError,
};
use directory_stream::{Open, UnixSource};
use network_document::Invitation;
use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::watch;
use tunnels::{Network, Tunnels};

/// What `check` looks for to know a mirror's file.
const OWN_KEY: &str = "invitation_file";

pub(crate) fn run(args: &MirrorArgs) -> Outcome {
    logging::start(&Log { level: LogLevel::Info, format: LogFormat::Text });
    let file = settings::loaded(config::load_mirror(&args.config))?;
    let invitation = invitation(&file.invitation_file)?;
    let runtime = runtime()?;
    let outcome = runtime.block_on(serve(file, invitation, args.leash));
    runtime.shutdown_background();
    outcome
}

async fn serve(file: MirrorFile, invitation: Invitation, is_leashed: bool) -> Outcome {
    let mut signals = StopSignals::new()?;
    let mut let_go = input_end(is_leashed);
    let admin = file.admin_socket.as_deref().map(Server::bind).transpose();
    let admin = admin.map_err(|error| super::run::admin_socket(&error))?;
    let (network, charter) = (invitation.network_id(), invitation.charter().clone());
    // Whom to ask depends on what the mirror knows, and the mirror on whom to ask.
    let (tell_known, known) = watch::channel(None);
    let members = members(&file, invitation.clone(), known.clone());
    let sources = sources(&file, invitation, known);
    let files = MirrorFiles {
        cache: file.cache_file.clone(),
        network: Some(file.network_file.clone()),
        evidence: file.evidence_dir.clone(),
    };
    let config = MirrorConfig { network, sources: sources.clone(), files, clock: Clock::system() };
    let mirror = Mirror::start(config).map_err(|error| not_started(&error))?;
    let mut documents = mirror.documents();
    let publisher = match &file.announce {
        Some(announce) => Some(publisher(announce, network, &mirror, sources.clone())?),
        None => None,
    };
    if let Some(socket) = &file.socket {
        let listener = directory_stream::listen(socket).map_err(|error| {
            Failure::from_error(Code::CannotCreate, &error).remedy("choose another `socket`, in a folder that exists")
        })?;
        tokio::spawn(directory_stream::serve(listener, Arc::new(mirror.service(members))));
    }
    tokio::spawn(tell_of_mirror(mirror.status()));
    if let Some(publisher) = &publisher {
        tokio::spawn(tell_of_publisher(publisher.status()));
    }
    let control = Control {
        charter,
        tunnels: file.sources.is_empty(),
        begun: Instant::now(),
        mirror: mirror.status(),
        publisher: publisher.as_ref().map(Publisher::status),
    };
    tokio::spawn(control::serve(admin, control));
    loop {
        tokio::select! {
            () = signals.wait() => return Ok(()),
            Ok(()) = &mut let_go, if is_leashed => return Ok(()),
            Ok(()) = documents.changed() => {
                // Nobody may be left who wants to know.
                let _ = tell_known.send(documents.borrow_and_update().clone());
            }
        }
    }
}

/// Whom to ask: sockets of this machine if there are any, else tunnels to those in the invitation, and later to any directory node.
fn sources(file: &MirrorFile, invitation: Invitation, known: Network) -> Sources {
    let sockets = file.sources.iter().map(|path| Arc::new(UnixSource::new(path)) as Arc<dyn Open>);
    let mut sources: Vec<Arc<dyn Open>> = sockets.collect();
    if sources.is_empty() {
        sources.push(Arc::new(Tunnels::new(invitation, known, file.entry.as_deref())));
    }
    Sources::new(sources)
}

/// To whom others' commands and records are passed on: the same sockets, else tunnels to members.
fn members(file: &MirrorFile, invitation: Invitation, known: Network) -> Sources {
    if file.sources.is_empty() {
        if file.entry.is_some() {
            // Whoever has an entry is to stay hidden: nothing of others is carried to members over one hop.
            return Sources::new([]);
        }
        // Each attempt draws a member anew.
        let tunnels = Arc::new(Tunnels::to_members(invitation, known));
        return Sources::new((0..SOURCES_TRIED_MAX).map(|_| Arc::clone(&tunnels) as Arc<dyn Open>));
    }
    sources(file, invitation, known)
}

fn publisher(
    announce: &Announce,
    network: network_document::NetworkId,
    mirror: &Mirror,
    members: Sources,
) -> Result<Publisher, Failure> {
    let keys = settings::keys(&announce.key_file)?;
    let profile = Profile {
        link_key: keys.link_secret.link_key(),
        next_link_key: None,
        door_key: keys.door_key.clone(),
        next_door_key: None,
        addresses: announce.addresses.clone(),
        hop_ports: announce.hop_ports.clone(),
        roles: announce.roles,
        operator: announce.operator.clone(),
        bandwidth: announce.rate,
        exit_ports: announce.exit_ports.clone(),
    };
    let config = PublisherConfig {
        network,
        secret: keys.node_secret.clone(),
        profile,
        onion_keys: announce.onion_key_file.clone(),
        members,
        documents: mirror.documents(),
        clock: Clock::system(),
    };
    Publisher::start(config).map_err(|error| {
        Failure::from_error(Code::Data, &error).remedy("name another `onion_key_file`; one that is not there is made")
    })
}

/// An invitation, from its file.
pub(crate) fn invitation(path: &Path) -> Result<Invitation, Failure> {
    let text = config::read_secret_file(path).map_err(|error| settings::secret(&error))?;
    text.parse().map_err(|error: network_document::InvitationError| {
        Failure::new(Code::Data, format!("{}: {error}", path.display()))
            .remedy("copy the whole line that `hushwire invite` printed")
    })
}

fn not_started(error: &StartError) -> Failure {
    match error {
        StartError::OtherNetwork(_) => Failure::from_error(Code::Configuration, error),
        StartError::File(_) => Failure::from_error(Code::InputOutput, error),
        StartError::NoSources => Failure::from_error(Code::Software, error),
    }
}

/// Says what has changed, and nothing twice.
async fn tell_of_mirror(mut status: watch::Receiver<MirrorStatus>) {
    let mut before = MirrorStatus::default();
    while status.changed().await.is_ok() {
        let now = status.borrow_and_update().clone();
        if now.held != before.held
            && let Some(held) = &now.held
        {
            tracing::info!(index = held.name.index, relays = held.relays, "the network's newest document");
        }
        if now.error != before.error
            && let Some(error) = &now.error
        {
            tracing::warn!("{error}");
        }
        before = now;
    }
}

/// Says what became of the relay's words.
async fn tell_of_publisher(mut status: watch::Receiver<PublisherStatus>) {
    let mut before = Said::Waiting;
    while status.changed().await.is_ok() {
        let now = status.borrow_and_update().outcome.clone();
        if now != before {
            match &now {
                Said::Waiting => {}
                Said::Said => tracing::info!("the directory knows how this relay is reached"),
                Said::Refused(_, why) => tracing::warn!("the directory does not take this relay: {why}"),
                Said::Unreached(why) => tracing::warn!("this relay cannot be announced yet: {why}"),
                Said::Invalid(why) | Said::Keys(why) => tracing::error!("this relay cannot be announced: {why}"),
            }
        }
        before = now;
    }
}

/// Looks at lines, for a file with a slip of the pen is no document.
pub(super) fn is_file_of_mirror(path: &Path) -> bool {
    let begins =
        |line: &str| line.trim_start().strip_prefix(OWN_KEY).is_some_and(|rest| rest.trim_start().starts_with('='));
    std::fs::read_to_string(path).is_ok_and(|text| text.lines().any(begins))
}

/// What is wrong with a mirror's file, or what it will do.
pub(super) fn check(path: &Path) -> Outcome {
    let file = settings::loaded(config::load_mirror(path))?;
    let invitation = invitation(&file.invitation_file)?;
    let charter = invitation.charter();
    let mut text = format!("{} is good: a mirror of `{}`.\n", path.display(), charter.name());
    // Writing to a string does not fail.
    let _ = writeln!(text, "  writes    {}", file.network_file.display());
    let asks = match (file.sources.len(), &file.entry) {
        (0, None) => format!("over tunnels, at first to one of {}", invitation.contacts().len()),
        (0, Some(entry)) => format!("one of {} at first, then {}", invitation.contacts().len(), entry.display()),
        (count, _) => format!("{count} sockets of this machine"),
    };
    let _ = writeln!(text, "  asks      {asks}");
    if let Some(socket) = &file.socket {
        let _ = writeln!(text, "  answers   {}", socket.display());
    }
    if let Some(announce) = &file.announce {
        let keys = settings::keys(&announce.key_file)?;
        let _ = writeln!(text, "  announces {}", keys.node_secret.node_id());
        let _ = writeln!(text, "            {}; run by {}", announce.roles, announce.operator);
    }
    terminal::say(&text);
    Ok(())
}
