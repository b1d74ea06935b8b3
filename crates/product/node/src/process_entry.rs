//! The first thing that a started process runs.

use std::error::Error;
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::time::Duration;

use os_net::confine::{self, Needs};
use os_net::process_channel::{CHILD_DESCRIPTOR, Channel, FromProcess, ReceiveError, ToProcess};
use thiserror::Error;

/// How long a started process waits for its boot message. The supervisor sends it at once.
const BOOT_PATIENCE: Duration = Duration::from_secs(30);

/// A role's life: its boot configuration, its channel, its descriptors. An error is one sentence for a person.
pub type RunRole = fn(serde_json::Value, Channel, Vec<OwnedFd>) -> Result<(), Box<dyn Error>>;

/// What a process can be.
#[derive(Clone, Copy)]
pub struct Role {
    /// Name on the command line.
    pub name: &'static str,
    /// What the role needs, given its boot configuration, if the process is to be confined before it runs. A role
    /// that confines itself at a later point returns `None` and reports it in its own status.
    pub needs: fn(&serde_json::Value) -> Option<Needs>,
    /// The whole life of the process. Descriptors are the queue set, then the role's own.
    pub run: RunRole,
}

#[derive(Debug, Error)]
enum EntryError {
    #[error("{0} is no role of a process")]
    UnknownRole(String),
    #[error("the supervisor sent no boot message in time")]
    NoBoot,
    #[error("the supervisor sent something else than a boot message first")]
    NotBoot,
    #[error(transparent)]
    Receive(#[from] ReceiveError),
}

/// Runs a role until it ends: for the hidden command `process <role>`. Takes over descriptor 3, so it must be called
/// before anything else opens descriptors, and confines the process, so it must be called before threads are started.
///
/// A role that fails says why to the supervisor. Exit codes: 0, the role ended in order; 1, it failed; 2, this process
/// was not started by a supervisor.
pub fn process_main(role: &str, roles: &[Role]) -> ExitCode {
    let channel = match Channel::from_inherited(CHILD_DESCRIPTOR) {
        Ok(channel) => channel,
        Err(error) => {
            tracing::error!(%error, "not a process of a node");
            return ExitCode::from(2);
        }
    };
    // A second handle, because the role takes the channel with it and the last words come after.
    let last_words = channel.try_clone();
    match run(role, roles, channel) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let sentence = error.to_string();
            tracing::error!(role, %sentence, "the process ends");
            if let Ok(channel) = last_words
                && let Err(error) = channel.send(&FromProcess::Fault { sentence }, &[])
            {
                tracing::debug!(%error, "the supervisor is not told");
            }
            ExitCode::FAILURE
        }
    }
}

fn run(name: &str, roles: &[Role], channel: Channel) -> Result<(), Box<dyn Error>> {
    let role = roles.iter().find(|role| role.name == name).ok_or(EntryError::UnknownRole(name.to_owned()))?;
    let first = channel.receive::<ToProcess>(Some(BOOT_PATIENCE)).map_err(EntryError::Receive)?;
    let first = first.ok_or(EntryError::NoBoot)?;
    let ToProcess::Boot { config } = first.message else { return Err(EntryError::NotBoot.into()) };
    if let Some(needs) = (role.needs)(&config) {
        let confinement = confine::apply(&needs);
        if !confinement.is_complete() {
            tracing::warn!(role = name, missing = confinement.summary(), "the process is confined only in part");
        }
        channel.send(&FromProcess::Confined { confinement }, &[])?;
    }
    (role.run)(config, channel, first.descriptors)
}

impl std::fmt::Debug for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Role").field("name", &self.name).finish_non_exhaustive()
    }
}
