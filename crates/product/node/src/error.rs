//! Why a node does not start or does not go on.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use rustix::io::Errno;
use thiserror::Error;

/// Why a node ended although nobody stopped it. Each text is one sentence: what failed, where, why, what to do.
#[derive(Debug, Error)]
pub enum NodeError {
    /// The shared memory cannot be made.
    #[error(
        "cannot make the shared memory for {max_flows} flows with queues of {queue_size} bytes: {source}{}",
        remedy(source, "lower max_flows or queue_size")
    )]
    Segments {
        /// Queue pairs that were asked for.
        max_flows: u16,
        /// Bytes of each ring that were asked for.
        queue_size: u32,
        /// What the system said.
        source: io::Error,
    },
    /// The network's document cannot be put into memory for the shaped process.
    #[error("no memory for the network's document: {0}")]
    Document(#[from] shm_ring::SegmentError),
    /// A UDP socket cannot be bound to an interface.
    #[error(
        "cannot open a UDP socket of the network interface {interface}: {source}{}",
        remedy(source, "`ip link` shows which there are")
    )]
    Interface {
        /// Its name.
        interface: String,
        /// What the system said.
        source: io::Error,
    },
    /// The UDP socket cannot be bound.
    #[error("cannot open the UDP socket {address}: {source}{}", remedy(source, "choose another address or port"))]
    Udp {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A TCP listener cannot be opened.
    #[error("cannot listen on TCP {address}: {source}{}", remedy(source, "choose another address or port"))]
    Tcp {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A unix listener cannot be opened.
    #[error("cannot listen on the socket {}: {source}{}", path.display(), remedy(source, "choose another path"))]
    Unix {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The replay file cannot be opened or rewritten.
    #[error(
        "cannot use the file of past handshakes {}: {source}{}",
        path.display(),
        remedy(source, "name another replay_file")
    )]
    Replay {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A process cannot be started.
    #[error("cannot start the process {name}: {source}{}", remedy(source, "start the node again"))]
    Spawn {
        /// The process's role.
        name: String,
        /// What the system said.
        source: io::Error,
    },
    /// A process cannot be told what it is to do.
    #[error("cannot hand over to the process {name}: {source}")]
    HandOver {
        /// The process's role.
        name: String,
        /// Why.
        source: os_net::process_channel::SendError,
    },
    /// The plan names no place for the generation in a boot message: a programming error of whoever made the plan.
    #[error("the boot message of {0} has no place for a generation")]
    Plan(String),
    /// A process gave up before it served for the first time.
    #[error("{name} did not start: {sentence}")]
    Process {
        /// The process's role.
        name: String,
        /// What it said.
        sentence: String,
    },
    /// The supervisor's own runtime cannot be set up.
    #[error("cannot set up the supervisor: {source}{}", remedy(source, "start the node again"))]
    Runtime {
        /// What the system said.
        source: io::Error,
    },
}

/// What a person can do about an answer of the system; nothing where the answer says it itself.
fn remedy(source: &io::Error, otherwise: &str) -> String {
    if source.get_ref().is_some_and(|said| said.to_string().contains("; ")) {
        return String::new();
    }
    let known = match Errno::from_io_error(source) {
        Some(Errno::MFILE) => "raise the limit of open files (ulimit -n, LimitNOFILE=)",
        Some(Errno::NFILE) => "the system as a whole has too many open files",
        Some(Errno::NOMEM) => "free memory or raise the limit (ulimit -v, MemoryMax=)",
        Some(Errno::FBIG) => "raise the limit of file size (ulimit -f, LimitFSIZE=)",
        Some(Errno::NOSPC | Errno::DQUOT) => "free some room",
        Some(Errno::AGAIN) => "raise the limit of processes (ulimit -u, TasksMax=)",
        Some(Errno::ADDRINUSE) => "another program has it: stop that one or choose another",
        Some(Errno::ACCESS | Errno::PERM) => "run as a user who may do that",
        _ => otherwise,
    };
    format!("; {known}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_sentence_that_says_what_to_do() {
        let source = io::Error::from(Errno::MFILE);
        let error = NodeError::Segments { max_flows: 1024, queue_size: 262_144, source };
        let text = error.to_string();
        assert!(text.starts_with("cannot make the shared memory for 1024 flows"), "{text}");
        assert!(text.ends_with("; raise the limit of open files (ulimit -n, LimitNOFILE=)"), "{text}");
        assert!(!text.contains('\n'));
        let source = io::Error::from(Errno::ADDRINUSE);
        let text = NodeError::Udp { address: ([127, 0, 0, 1], 4400).into(), source }.to_string();
        assert!(text.contains("127.0.0.1:4400") && text.contains("another program has it"), "{text}");
        let source = io::Error::other("no memory; raise the limit");
        let text = NodeError::Segments { max_flows: 16, queue_size: 4096, source }.to_string();
        assert!(text.ends_with(": no memory; raise the limit"), "{text}");
    }
}
