//! Keeps a connection to a member with a lower node id: dials, and dials again, until the member is off the list.

use super::counters::Fault;
use super::event::LostReason;
use super::frames::{FrameReader, StreamError, verdict, write_frame};
use super::session::{self, Established};
use super::state::{Closer, Shared};
use crate::backoff::Backoff;
use crate::frame::{Hello, Kind, decode_number};
use crate::member::Member;
use aws_lc_rs::rand;
use identity::{NodeId, PeerHost};
use rustls::pki_types::CertificateDer;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;
use tokio::time::timeout;

/// A connection that does not stand after this time is given up.
pub(super) const HANDSHAKE_MAX: Duration = Duration::from_secs(5);

/// Runs until `stop` loses its sender. No error of one attempt ends it.
pub(super) async fn keep_dialling(shared: Arc<Shared>, peer: NodeId, mut stop: watch::Receiver<()>) {
    let mut backoff = Backoff::new(shared.settings.retry_delay);
    let mut attempt = 0;
    loop {
        let Some(member) = shared.roster.member(peer) else { return };
        let dialled = tokio::select! {
            dialled = timeout(HANDSHAKE_MAX, dial(&shared, &member, attempt)) => dialled.ok().flatten(),
            _ = stop.changed() => return,
        };
        attempt += 1;
        let mut alive = Duration::ZERO;
        match dialled {
            Some(established) => {
                let begin = Instant::now();
                let why = session::run(&shared, established).await;
                alive = begin.elapsed();
                tracing::debug!(%why, "a connection that this node dialled is over");
            }
            None => shared.note_failed_dial(peer),
        }
        let wait = backoff.note_end(alive, random());
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            _ = stop.changed() => return,
        }
    }
}

/// One attempt. `None`: it came to nothing.
async fn dial(shared: &Arc<Shared>, member: &Member, attempt: usize) -> Option<Established> {
    let address = address(shared, member, attempt).await?;
    let connecting = shared.endpoint.connect_with(shared.client.clone(), address, member.name.as_str()).ok()?;
    let connection = match connecting.await {
        Ok(connection) => connection,
        Err(error) => {
            tracing::debug!(%error, "dialling a member failed");
            return None;
        }
    };
    let closer = Closer::new(connection);
    if peer_of(shared, &closer) != Some(member.id) {
        shared.note(member.id, Fault::ForeignId);
        closer.close(LostReason::ForeignId);
        return None;
    }
    let greeted = greet(shared, member.id, &closer).await;
    if let Err(StreamError::Frame(error)) = greeted {
        let (fault, why) = verdict(error);
        shared.note(member.id, fault);
        closer.close(why);
    }
    greeted.ok()
}

async fn greet(shared: &Arc<Shared>, peer: NodeId, closer: &Closer) -> Result<Established, StreamError> {
    let (mut send, receive) = closer.connection.open_bi().await.map_err(|_| StreamError::Over)?;
    // The clock only makes numbers grow over restarts; when it was set back, the answer's number is the greater one.
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let least = shared.next_session(peer, u64::try_from(clock.as_millis()).unwrap_or(0));
    let hello = Hello { cluster: shared.settings.cluster, from: shared.settings.own.0, to: peer.0, session: least.0 };
    write_frame(&mut send, Kind::Hello, &hello.encode()).await.map_err(|_| StreamError::Over)?;
    let mut reader = FrameReader::new(receive);
    let number = decode_number(&reader.expect(Kind::Welcome).await?)?;
    if number < least.0 {
        return Err(crate::frame::FrameError::OutOfPlace.into());
    }
    let session = if number > least.0 { shared.next_session(peer, number) } else { least };
    let turn = shared.turn(peer).lock_owned().await;
    Ok(Established { peer, session, closer: closer.clone(), send, reader, turn })
}

/// Who the other end proved to be.
pub(super) fn peer_of(shared: &Shared, closer: &Closer) -> Option<NodeId> {
    let identity = closer.connection.peer_identity()?;
    let chain = identity.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    shared.roster.identify(chain.first()?)
}

/// Where to dial: of several addresses each in its turn, as far as the socket can reach its family.
async fn address(shared: &Shared, member: &Member, attempt: usize) -> Option<SocketAddr> {
    let port = member.address.port;
    let local = shared.endpoint.local_addr().ok()?;
    let usable = |address: IpAddr| match (local.ip(), address) {
        (IpAddr::V4(_), IpAddr::V4(_)) | (IpAddr::V6(_), IpAddr::V6(_)) => Some(address),
        (IpAddr::V6(own), IpAddr::V4(address)) if own.is_unspecified() => Some(address.to_ipv6_mapped().into()),
        _ => None,
    };
    let found: Vec<IpAddr> = match &member.address.host {
        PeerHost::Ip(address) => usable(*address).into_iter().collect(),
        PeerHost::Name(name) => {
            let found = tokio::net::lookup_host((name.as_str(), port)).await.ok()?;
            found.filter_map(|address| usable(address.ip())).collect()
        }
    };
    let chosen = found.get(attempt % found.len().max(1))?;
    Some(SocketAddr::new(*chosen, port))
}

fn random() -> u64 {
    let mut bytes = [0; 8];
    // Without randomness the wait is the shortest one, which is still an attempt that can fail.
    let _ = rand::fill(&mut bytes);
    u64::from_ne_bytes(bytes)
}
