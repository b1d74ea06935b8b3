//! A relay's voice: says to the directory how the relay is reached, and keeps its onion keys.

use crate::clock::Clock;
use crate::files::{self, FileError};
use crate::sources::Sources;
use identity::{DoorKey, LinkKey, NodeId, NodeSecret};
use network_document::{
    Announcement, Descriptor, Label, NetworkDocument, NetworkId, OnionKeyFile, OnionKeyFileError, Problem, Roles,
    SignedAnnouncement,
};
use onion::Interval;
use port_hopping::ports::PortSet;
use relay_directory::{CODE_TRY_AGAIN, Command, ServiceRequest, Withdrawal};
use shaping::RateClass;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use task::Task;
use thiserror::Error;
use tokio::sync::watch;
use tokio::task::JoinHandle;

mod outcome;
mod task;

pub(crate) use outcome::plain;
pub use outcome::{Outcome, PublisherStatus};

/// Bytes of a file of onion secrets at most.
const KEY_FILE_BYTES_MAX: usize = 64 * 1024;

/// What a relay says of itself, beside what changes with the time.
#[derive(Clone, PartialEq, Eq)]
pub struct Profile {
    /// The static key of its links.
    pub link_key: LinkKey,
    /// The one that it will change to.
    pub next_link_key: Option<LinkKey>,
    /// What its door wants strangers to know.
    pub door_key: DoorKey,
    /// The one that it will change to.
    pub next_door_key: Option<DoorKey>,
    /// Where its door is, the first one preferred.
    pub addresses: Vec<SocketAddr>,
    /// The ports that its links may hop to; `None` when they stay at the door.
    pub hop_ports: Option<PortSet>,
    /// Its places on circuits.
    pub roles: Roles,
    /// Who runs it.
    pub operator: Label,
    /// What it forwards at most.
    pub bandwidth: RateClass,
    /// The ports that it reaches as an exit; `None` exactly when it is none.
    pub exit_ports: Option<PortSet>,
}

impl fmt::Debug for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Profile(..)")
    }
}

impl Profile {
    /// Signed words: of `interval` and the next one are the keys, from and until when they hold are milliseconds since 1970 UTC.
    ///
    /// # Errors
    /// When a value is not one that an edition may have, or there are no keys of these intervals.
    fn announce(
        &self,
        network: NetworkId,
        secret: &NodeSecret,
        keys: &OnionKeyFile,
        interval: Interval,
        (published_ms, expires_ms): (u64, u64),
    ) -> Result<SignedAnnouncement, Problem> {
        let intervals = [interval, Interval(interval.0.saturating_add(1))];
        let onion_keys = intervals.iter().filter_map(|of| Some((*of, keys.of(*of)?.onion_key())));
        let descriptor = Descriptor {
            node_id: secret.node_id(),
            link_key: self.link_key,
            door_key: self.door_key.clone(),
            onion_keys: onion_keys.collect(),
            addresses: self.addresses.clone(),
            hop_ports: self.hop_ports.clone(),
            roles: self.roles,
            operator: self.operator.clone(),
            bandwidth: self.bandwidth,
        };
        let announcement = Announcement {
            descriptor,
            next_link_key: self.next_link_key,
            next_door_key: self.next_door_key.clone(),
            exit_ports: self.exit_ports.clone(),
            published_ms,
            expires_ms,
        };
        announcement.sign(network, secret)
    }
}

/// What a publisher needs.
#[derive(Debug, Clone)]
pub struct PublisherConfig {
    /// The network.
    pub network: NetworkId,
    /// The relay's own.
    pub secret: NodeSecret,
    /// What it says.
    pub profile: Profile,
    /// The file of its onion secrets, made if there is none.
    pub onion_keys: PathBuf,
    /// Whom to tell: members, or mirrors that pass it on.
    pub members: Sources,
    /// The network's editions: [`crate::Mirror::documents`]. Nothing is said before the first one, which has the clock of intervals.
    pub documents: watch::Receiver<Option<Arc<NetworkDocument>>>,
    /// The time of day.
    pub clock: Clock,
}

/// A publisher cannot start.
#[derive(Debug, Error)]
pub enum PublisherError {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file is no file of onion secrets.
    #[error("{}: {error}", path.display())]
    Keys {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        error: OnionKeyFileError,
    },
}

/// The relay is still in the directory until its words expire.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum WithdrawError {
    /// Nobody was reached, or nobody knows what became of it.
    #[error("the relay could not be withdrawn: {0}; it is out when its announcement expires")]
    Unreached(String),
    /// The directory's word.
    #[error("the directory does not withdraw the relay: {0}")]
    Refused(String),
}

/// A running publisher. It ends with this value, and the relay stays in the directory until its words expire.
#[derive(Debug)]
pub struct Publisher {
    network: NetworkId,
    secret: NodeSecret,
    members: Sources,
    clock: Clock,
    profile: watch::Sender<Profile>,
    status: watch::Receiver<PublisherStatus>,
    keys: watch::Receiver<Arc<OnionKeyFile>>,
    task: JoinHandle<()>,
}

impl Publisher {
    /// Reads the onion secrets and begins. In a tokio runtime with time.
    ///
    /// # Errors
    /// [`PublisherError`].
    pub fn start(config: PublisherConfig) -> Result<Self, PublisherError> {
        let path = &config.onion_keys;
        let keys = match files::read(path, KEY_FILE_BYTES_MAX)? {
            None => OnionKeyFile::default(),
            Some(bytes) => {
                let text = String::from_utf8_lossy(&bytes);
                OnionKeyFile::parse(&text).map_err(|error| PublisherError::Keys { path: path.clone(), error })?
            }
        };
        let (network, secret) = (config.network, config.secret.clone());
        let (members, clock) = (config.members.clone(), config.clock.clone());
        let (profile, profiles) = watch::channel(config.profile.clone());
        let (tell, status) = watch::channel(PublisherStatus::default());
        let (tell_keys, keys) = watch::channel(Arc::new(keys));
        let task = tokio::spawn(Task::new(config, profiles, tell, tell_keys).run());
        Ok(Self { network, secret, members, clock, profile, status, keys, task })
    }

    /// The relay says something else from now on. What is the same is not said again.
    pub fn set_profile(&self, profile: Profile) {
        self.profile.send_if_modified(|told| {
            let is_other = *told != profile;
            *told = profile;
            is_other
        });
    }

    /// Which node it speaks for.
    pub fn node_id(&self) -> NodeId {
        self.secret.node_id()
    }

    /// How it stands, whenever that changes.
    pub fn status(&self) -> watch::Receiver<PublisherStatus> {
        self.status.clone()
    }

    /// The relay's onion secrets, whenever one came or went. They are on the disk before they are here, and here before anybody is
    /// told of them.
    pub fn keys(&self) -> watch::Receiver<Arc<OnionKeyFile>> {
        self.keys.clone()
    }

    /// The relay stops for good: the next edition is without it.
    ///
    /// # Errors
    /// [`WithdrawError`].
    pub async fn withdraw(self) -> Result<(), WithdrawError> {
        // Nothing may be said behind it.
        self.task.abort();
        let said_ms = self.status.borrow().said_ms.unwrap_or(0);
        let until_ms = self.clock.now_ms().max(said_ms);
        let command = Command::Withdraw(Withdrawal::new(self.network, &self.secret, until_ms));
        let outcome =
            self.members.say(&ServiceRequest::Submit(command.encode())).await.map_err(WithdrawError::Unreached)?;
        match outcome.code {
            0 => Ok(()),
            CODE_TRY_AGAIN => Err(WithdrawError::Unreached(plain(&outcome.sentence))),
            _ => Err(WithdrawError::Refused(plain(&outcome.sentence))),
        }
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.task.abort();
    }
}
