//! Directory streams over tunnels: at first to a contact of the invitation, then to any directory node of the newest document, and
//! where there is an entry only through that.

use directory_stream::{Open, OpenError, Opening, Stream, UnixSource};
use network_document::{Invitation, NetworkDocument};
use std::path::Path;
use std::sync::Arc;
use tokio::sync::{Mutex, watch};
use tunnel_manager::{DirParameters, TunnelMgr, TunnelMgrConfig};

/// The newest document, as far as there is one.
pub(super) type Network = watch::Receiver<Option<Arc<NetworkDocument>>>;

/// Hops of a path to a directory node. A mirror that goes this way is a relay's, which is in the document for everybody to see, or
/// knows nothing yet; whoever is to stay hidden has an entry.
const HOPS: u8 = 1;

/// See above.
pub(super) struct Tunnels {
    invitation: Invitation,
    known: Network,
    entry: Option<UnixSource>,
    /// What it was made of, so that it is made anew when contacts are not needed any more.
    manager: Mutex<Option<(Made, TunnelMgr)>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Made {
    OfContacts,
    OfEdition(u64),
}

impl Tunnels {
    pub(super) fn new(invitation: Invitation, known: Network, entry: Option<&Path>) -> Self {
        Self { invitation, known, entry: entry.map(UnixSource::new), manager: Mutex::new(None) }
    }

    async fn stream(&self) -> Result<Stream, String> {
        let known = self.known.borrow().clone();
        let manager = self.manager(known.as_deref()).await?;
        let parameters = DirParameters { hops: HOPS, ..DirParameters::default() };
        let tunnel = manager.get_dir(parameters).await.map_err(|error| error.to_string())?;
        let stream = tunnel.begin_dir_stream().await.map_err(|error| error.to_string())?;
        Ok(Box::new(stream))
    }

    /// A manager that knows the newest document.
    async fn manager(&self, known: Option<&NetworkDocument>) -> Result<TunnelMgr, String> {
        let index = |document: &NetworkDocument| document.as_edition().map_or(0, |signed| signed.edition().index());
        let wanted = known.map_or(Made::OfContacts, |document| Made::OfEdition(index(document)));
        let mut kept = self.manager.lock().await;
        if let Some((made, manager)) = &*kept
            && *made == wanted
        {
            return Ok(manager.clone());
        }
        // With one hop a manager has no guards and keeps nothing, so another one is as good.
        let document = match known {
            Some(document) => document.clone(),
            None => {
                let contacts = self.invitation.contacts().to_vec();
                let document = NetworkDocument::of_contacts(self.invitation.charter().clone(), contacts);
                document.map_err(|problem| problem.to_string())?
            }
        };
        let config = TunnelMgrConfig::new(document).map_err(|error| error.to_string())?;
        let manager = TunnelMgr::start(TunnelMgrConfig { ready: 0, ..config }).map_err(|error| error.to_string())?;
        *kept = Some((wanted, manager.clone()));
        Ok(manager)
    }
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
