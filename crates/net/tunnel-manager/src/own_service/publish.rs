//! How records of a service come to the directory: signed here, each through a directory tunnel of its own.

use crate::manager::TunnelMgr;
use crate::parameters::DirParameters;
use directory_mirror::{ServicePublisher, Sources};
use directory_stream::{Open, OpenError, Opening, Stream};
use identity::ServiceSecret;
use network_document::NetworkId;
use onion_service::{DaySecret, Publication};
use relay_directory::ServiceRecord;
use std::sync::Arc;
use std::time::Duration;

/// How long a tunnel to the directory may take.
const TUNNEL_PATIENCE: Duration = Duration::from_secs(20);

/// The directory nodes of the network.
struct DirectoryTunnels(TunnelMgr);

impl Open for DirectoryTunnels {
    fn open(&self) -> Opening<'_> {
        Box::pin(async {
            let said = |error: &dyn std::error::Error| OpenError::Tunnel(error.to_string());
            let parameters = DirParameters { deadline: TUNNEL_PATIENCE, ..DirParameters::default() };
            let tunnel = self.0.get_dir(parameters).await.map_err(|error| said(&error))?;
            // It ends with the stream.
            let stream = tunnel.begin_dir_stream().await.map_err(|error| said(&error))?;
            Ok(Box::new(stream) as Stream)
        })
    }

    fn describe(&self) -> String {
        "a tunnel to a directory node".to_owned()
    }
}

/// Asks for the directory's time from now on.
pub(super) fn publisher(network: NetworkId, manager: TunnelMgr) -> ServicePublisher {
    let source = Arc::new(DirectoryTunnels(manager)) as Arc<dyn Open>;
    ServicePublisher::start(network, Sources::new([source]))
}

/// The record with its signature.
pub(super) fn sign(network: NetworkId, secret: &ServiceSecret, publication: &Publication) -> ServiceRecord {
    let mut record = publication.record.clone();
    record.signature = DaySecret::new(secret, network, publication.day).sign(&record.message(network));
    record
}
