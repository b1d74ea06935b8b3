//! Directory streams over tunnels: at first to a contact of the invitation, then to any directory node of the newest document, and
//! where there is an entry only through that.

use directory_stream::{Open, OpenError, Opening, Stream, UnixSource};
use identity::NodeId;
use network_document::{Contact, Invitation, NetworkDocument};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, sleep};
use tunnel_manager::{ClientDirTunnel, DirParameters, TunnelMgr, TunnelMgrConfig};

/// The newest document, as far as there is one.
pub(super) type Network = watch::Receiver<Option<Arc<NetworkDocument>>>;

/// Hops of a path to a directory node. A mirror that goes this way is a relay's, which is in the document for everybody to see, or
/// knows nothing yet; whoever is to stay hidden has an entry.
const HOPS: u8 = 1;

/// A manager that nobody has asked for a tunnel for so long goes, with its link: a directory node has few places for each address, and
/// whoever shares one with others keeps none between two editions.
const KEPT_IDLE: Duration = Duration::from_secs(20);

/// Tunnels that are built to come to a member, where one is wanted and the invitation names none.
const MEMBER_TRIES: usize = 6;

/// See above.
pub(super) struct Tunnels {
    invitation: Invitation,
    known: Network,
    entry: Option<UnixSource>,
    /// Whether only directory nodes of members are wanted, as far as the document has any: two mirrors that passed something on to each
    /// other would wait for each other.
    to_members: bool,
    manager: Arc<Mutex<Option<Kept>>>,
}

/// A manager between two questions.
struct Kept {
    /// What it was made of, so that it is made anew when contacts are not needed any more.
    made: Made,
    manager: TunnelMgr,
    used: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Made {
    Contacts,
    /// Of those contacts that are members.
    Members(u64),
    Edition(u64),
}

impl Tunnels {
    pub(super) fn new(invitation: Invitation, known: Network, entry: Option<&Path>) -> Self {
        Self { invitation, known, entry: entry.map(UnixSource::new), to_members: false, manager: Arc::default() }
    }

    /// Those of members, without the way through an entry, behind which there is a mirror again.
    pub(super) fn to_members(invitation: Invitation, known: Network) -> Self {
        Self { to_members: true, ..Self::new(invitation, known, None) }
    }

    async fn stream(&self) -> Result<Stream, String> {
        let known = self.known.borrow().clone();
        let manager = self.manager(known.as_deref()).await?;
        let parameters = DirParameters { hops: HOPS, ..DirParameters::default() };
        let wanted = known.as_deref().filter(|_| self.to_members).map(of_members).unwrap_or_default();
        let mut tunnel = manager.get_dir(parameters).await.map_err(|error| error.to_string())?;
        for tries in 1.. {
            if wanted.is_empty() || ends_at(&tunnel, &wanted).await {
                break;
            }
            if tries == MEMBER_TRIES {
                return Err("no tunnel led to a member of the directory".to_owned());
            }
            drop(tunnel);
            tunnel = manager.get_dir(parameters).await.map_err(|error| error.to_string())?;
        }
        let stream = tunnel.begin_dir_stream().await.map_err(|error| error.to_string())?;
        Ok(Box::new(stream))
    }

    /// The contacts of the invitation that are members, if only members are wanted.
    fn members_in(&self, document: &NetworkDocument) -> Vec<Contact> {
        if !self.to_members {
            return Vec::new();
        }
        let members = of_members(document);
        self.invitation.contacts().iter().filter(|contact| members.contains(&contact.node_id)).cloned().collect()
    }

    /// A manager that knows the newest document.
    async fn manager(&self, known: Option<&NetworkDocument>) -> Result<TunnelMgr, String> {
        let index = |document: &NetworkDocument| document.as_edition().map_or(0, |signed| signed.edition().index());
        let members = known.map(|document| self.members_in(document)).unwrap_or_default();
        let wanted = match known {
            Some(document) if members.is_empty() => Made::Edition(index(document)),
            Some(document) => Made::Members(index(document)),
            None => Made::Contacts,
        };
        let mut kept = self.manager.lock().await;
        if let Some(kept) = kept.as_mut().filter(|kept| kept.made == wanted) {
            kept.used = Instant::now();
            return Ok(kept.manager.clone());
        }
        // With one hop a manager has no guards and keeps nothing, so another one is as good.
        let document = match known {
            Some(document) if members.is_empty() => document.clone(),
            _ => {
                let contacts = if members.is_empty() { self.invitation.contacts().to_vec() } else { members };
                let document = NetworkDocument::of_contacts(self.invitation.charter().clone(), contacts);
                document.map_err(|problem| problem.to_string())?
            }
        };
        let config = TunnelMgrConfig::new(document).map_err(|error| error.to_string())?;
        let manager = TunnelMgr::start(TunnelMgrConfig { ready: 0, ..config }).map_err(|error| error.to_string())?;
        if kept.is_none() {
            tokio::spawn(let_go(Arc::clone(&self.manager)));
        }
        *kept = Some(Kept { made: wanted, manager: manager.clone(), used: Instant::now() });
        Ok(manager)
    }
}

/// Waits until a manager, or the one in its place, has been idle for [`KEPT_IDLE`], and lets it go. Its streams finish.
async fn let_go(kept: Arc<Mutex<Option<Kept>>>) {
    let mut wait = KEPT_IDLE;
    loop {
        sleep(wait).await;
        let mut kept = kept.lock().await;
        let idle = kept.as_ref().map_or(KEPT_IDLE, |kept| kept.used.elapsed());
        if idle >= KEPT_IDLE {
            *kept = None;
            return;
        }
        wait = KEPT_IDLE - idle;
    }
}

/// The directory nodes of a document that are members themselves.
fn of_members(document: &NetworkDocument) -> BTreeSet<NodeId> {
    let electorate = document.as_edition().map(|signed| signed.edition().electorate());
    let is_member = |node: &NodeId| electorate.is_some_and(|electorate| electorate.contains(node));
    let nodes = document.relays().filter(|relay| relay.roles.directory).map(|relay| relay.node_id);
    nodes.filter(is_member).collect()
}

async fn ends_at(tunnel: &ClientDirTunnel, wanted: &BTreeSet<NodeId>) -> bool {
    let paths = tunnel.paths().await.unwrap_or_default();
    !paths.is_empty() && paths.values().all(|hops| hops.last().is_some_and(|last| wanted.contains(last)))
}

impl Open for Tunnels {
    fn open(&self) -> Opening<'_> {
        Box::pin(async {
            match &self.entry {
                Some(entry) if self.known.borrow().is_some() => entry.open().await,
                _ => self.stream().await.map_err(OpenError::Tunnel),
            }
        })
    }

    fn describe(&self) -> String {
        match &self.entry {
            Some(entry) if self.known.borrow().is_some() => entry.describe(),
            _ => "a tunnel to a directory node".to_owned(),
        }
    }
}
