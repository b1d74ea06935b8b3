//! The same at real sockets and on real time, with intervals of a second.

use crate::network::{Folder, Members, index, profile, relay};
use directory_mirror::{Clock, Mirror, MirrorConfig, Outcome, Publisher, PublisherConfig, Sources};
use directory_stream::{Open, UnixSource, listen, serve};
use network_document::NetworkId;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// The machine may be busy.
const PATIENCE: Duration = Duration::from_secs(120);

fn served(path: &Path, members: &Arc<Members>) -> JoinHandle<()> {
    tokio::spawn(serve(listen(path).expect("a socket"), Arc::clone(members)))
}

fn mirror(network: NetworkId, folder: &Folder, socket: &Path) -> Mirror {
    let sources = Sources::new([Arc::new(UnixSource::new(socket)) as Arc<dyn Open>]);
    Mirror::start(MirrorConfig { network, sources, files: folder.files(), clock: Clock::system() }).expect("a mirror")
}

async fn beyond(mirror: &Mirror, wanted: u64) {
    let mut documents = mirror.documents();
    let reached = async {
        while index(mirror) <= wanted {
            documents.changed().await.expect("the mirror is there");
        }
    };
    timeout(PATIENCE, reached).await.unwrap_or_else(|_| panic!("{:?}", *mirror.status().borrow()));
}

#[tokio::test]
async fn mirrors_and_a_relay_at_sockets() {
    let members = Members::start_fast();
    let network = members.network();
    let [first, second, third] = ["near", "far", "relay"].map(|name| Folder::new(&format!("socket-{name}")));
    let (service, mirrored) = (first.0.join("members"), first.0.join("mirror"));
    let serving = served(&service, &members);
    let near = mirror(network, &first, &service);
    let pass_on = Sources::new([Arc::new(UnixSource::new(&service)) as Arc<dyn Open>]);
    let at_mirror = tokio::spawn(serve(listen(&mirrored).expect("a socket"), Arc::new(near.service(pass_on))));
    let far = mirror(network, &second, &mirrored);
    beyond(&near, 0).await;
    beyond(&far, 0).await;
    // A relay that speaks through the mirror is in an edition that comes through the mirror.
    members.admit(1);
    let publisher = Publisher::start(PublisherConfig {
        network,
        secret: relay(1),
        profile: profile(1),
        onion_keys: third.0.join("onion.keys"),
        members: Sources::new([Arc::new(UnixSource::new(&mirrored)) as Arc<dyn Open>]),
        documents: far.documents(),
        clock: Clock::system(),
    });
    let mut status = publisher.as_ref().expect("a publisher").status();
    let listed = status.wait_for(|status| status.outcome == Outcome::Said && status.is_listed == Some(true));
    timeout(PATIENCE, listed).await.expect("it is listed").expect("the publisher is there");
    // The service dies and comes back; what was there stays.
    serving.abort();
    assert!(serving.await.is_err());
    let mut near_status = near.status();
    let lost = near_status.wait_for(|status| status.error.as_ref().is_some_and(|error| error.contains("running?")));
    timeout(PATIENCE, lost).await.expect("it is missed").expect("the mirror is there");
    let last = index(&near);
    assert!(last > 0, "the last good one");
    let serving = served(&service, &members);
    beyond(&near, last).await;
    beyond(&far, last).await;
    // A start finds the newest on the disk before anybody is asked.
    drop((near, far));
    serving.abort();
    at_mirror.abort();
    let again = mirror(network, &second, &mirrored);
    beyond(&again, last).await;
}
