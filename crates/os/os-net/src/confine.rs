//! Dropping what a process does not need: privileges, files, system calls.
//!
//! Each part is applied for itself. Where the kernel lacks one the process goes on with the others, and the
//! [`Confinement`] says so, for `status` and the log. To be called early, while the process has one thread: some parts
//! hold for the calling thread and those that it starts later.

mod files;
mod system_calls;

use std::path::PathBuf;

use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Resource, Rlimit};
use rustix::thread::{CapabilitySet, CapabilitySets};
use serde::{Deserialize, Serialize};

/// What a process still needs. Everything else is dropped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Needs {
    /// Files that it may open.
    pub files: Files,
    /// Kinds of socket that it may make.
    pub sockets: Sockets,
    /// Whether it accepts connections on listening sockets that it was given.
    pub accepts: bool,
    /// Highest real-time priority that its threads may take.
    pub real_time_priority: Option<u8>,
}

/// Files that a process may open. What it has open already is not concerned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Files {
    /// None at all.
    None,
    /// These, with everything below them, for reading. Paths that do not exist are left out.
    Read(Vec<PathBuf>),
}

/// Kinds of socket that a process may make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sockets {
    /// UDP only.
    Udp,
    /// UDP and TCP, outgoing connections included.
    UdpAndTcp,
}

impl Needs {
    /// `ShapedClient` and `ShapedServer`: no files, no TCP. Their keys come over the process channel.
    pub fn shaped(real_time_priority: Option<u8>) -> Self {
        Self { files: Files::None, sockets: Sockets::Udp, accepts: false, real_time_priority }
    }

    /// `UnshapedServer`: accepts on the listeners that it was given, opens UDP sockets for associations, connects
    /// nowhere.
    pub fn ingress() -> Self {
        Self { files: Files::None, sockets: Sockets::Udp, accepts: true, real_time_priority: None }
    }

    /// `UnshapedClient`: connects to servers and reads what the system's name resolution reads.
    pub fn egress() -> Self {
        let paths = RESOLVER_PATHS.map(PathBuf::from).to_vec();
        Self { files: Files::Read(paths), sockets: Sockets::UdpAndTcp, accepts: false, real_time_priority: None }
    }
}

/// What `getaddrinfo` reads: its configuration, its modules, time zones for none of it.
const RESOLVER_PATHS: [&str; 13] = [
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/host.conf",
    "/etc/nsswitch.conf",
    "/etc/gai.conf",
    "/etc/services",
    "/etc/protocols",
    "/etc/ld.so.cache",
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/run/systemd/resolve",
];

/// How one part went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PartState {
    /// In force.
    On,
    /// In force but for what this kernel does not know, or what the process still needs.
    Partly,
    /// Not in force, and why.
    NotAvailable(String),
}

/// One part of a confinement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// What it is about, for people.
    pub name: String,
    /// How it went.
    pub state: PartState,
}

/// What is in force after [`apply`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Confinement {
    /// All parts in a fixed order.
    pub parts: Vec<Part>,
}

impl Confinement {
    /// Whether every part is in force wholly.
    pub fn is_complete(&self) -> bool {
        self.parts.iter().all(|part| part.state == PartState::On)
    }

    /// One line for people, such as `all on`, or what is missing and why.
    pub fn summary(&self) -> String {
        let missing: Vec<String> = self
            .parts
            .iter()
            .filter_map(|part| match &part.state {
                PartState::On => None,
                PartState::Partly => Some(format!("{} only in part", part.name)),
                PartState::NotAvailable(why) => Some(format!("no {}: {why}", part.name)),
            })
            .collect();
        if missing.is_empty() { "all on".to_owned() } else { missing.join("; ") }
    }

    fn note(&mut self, name: &str, state: Result<PartState, String>) {
        let state = state.unwrap_or_else(PartState::NotAvailable);
        self.parts.push(Part { name: name.to_owned(), state });
    }
}

/// Drops everything but `needs` for good, and says what is in force.
pub fn apply(needs: &Needs) -> Confinement {
    let mut confinement = Confinement::default();
    confinement.note("core dumps off", forbid_core_dumps().map_err(in_words));
    let limit = allow_real_time(needs.real_time_priority);
    let privileges = rustix::thread::set_no_new_privs(true).map(|()| PartState::On);
    confinement.note("new privileges off", privileges.map_err(in_words));
    confinement.note("file limits (landlock)", files::restrict(needs));
    let capabilities = limit.and_then(drop_capabilities);
    confinement.note("capabilities dropped", capabilities.map_err(in_words));
    // Last, because it forbids some of the calls above.
    confinement.note("system call limits (seccomp)", system_calls::restrict(needs));
    confinement
}

fn in_words(errno: Errno) -> String {
    std::io::Error::from(errno).to_string()
}

/// No core file and no reading of this process's memory by others of the same user.
fn forbid_core_dumps() -> Result<PartState, Errno> {
    rustix::process::setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(PartState::On)
}

/// Raises the limit while there is a capability to do it with, so that threads can take the priority afterwards.
/// Returns the capability that is to be kept because the limit cannot be raised.
fn allow_real_time(priority: Option<u8>) -> Result<CapabilitySet, Errno> {
    let Some(priority) = priority.map(u64::from) else { return Ok(CapabilitySet::empty()) };
    let present = rustix::process::getrlimit(Resource::Rtprio);
    if present.current.is_none_or(|limit| limit >= priority) {
        return Ok(CapabilitySet::empty());
    }
    let maximum = present.maximum.map(|limit| limit.max(priority));
    match rustix::process::setrlimit(Resource::Rtprio, Rlimit { current: Some(priority), maximum }) {
        Ok(()) => Ok(CapabilitySet::empty()),
        // Without either right the priority is refused later, where it is asked for, with its own words.
        Err(Errno::PERM) => Ok(rustix::thread::capabilities(None)?.permitted & CapabilitySet::SYS_NICE),
        Err(errno) => Err(errno),
    }
}

fn drop_capabilities(keep: CapabilitySet) -> Result<PartState, Errno> {
    // Needs no capability; unknown before Linux 4.3, which has no ambient set to clear.
    let _ = rustix::thread::clear_ambient_capability_set();
    let inheritable = CapabilitySet::empty();
    rustix::thread::set_capabilities(None, CapabilitySets { effective: keep, permitted: keep, inheritable })?;
    Ok(if keep.is_empty() { PartState::On } else { PartState::Partly })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_names_what_is_missing() {
        let mut confinement = Confinement::default();
        confinement.note("one", Ok(PartState::On));
        assert_eq!((confinement.is_complete(), confinement.summary()), (true, "all on".to_owned()));
        confinement.note("two", Ok(PartState::Partly));
        confinement.note("three", Err("the kernel has none".to_owned()));
        assert!(!confinement.is_complete());
        assert_eq!(confinement.summary(), "two only in part; no three: the kernel has none");
    }
}
