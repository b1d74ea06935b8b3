//! Answers members with a higher node id. Each connection is a task of its own, so none waits for another.

use super::counters::Fault;
use super::dial::{HANDSHAKE_MAX, peer_of};
use super::event::LostReason;
use super::frames::{FrameReader, StreamError, verdict, write_frame};
use super::session::{self, Established};
use super::state::{Closer, HANDSHAKES_MAX, Shared};
use crate::frame::{Hello, Kind};
use identity::NodeId;
use quinn::{Incoming, SendStream};
use std::sync::Arc;
use tokio::time::timeout;

/// With so many handshakes in progress, whoever comes must first show that packets to its address arrive.
const VALIDATE_FROM: usize = 16;

/// Runs until the endpoint is closed.
pub(super) async fn serve(shared: Arc<Shared>) {
    while let Some(incoming) = shared.endpoint.accept().await {
        let Ok(permit) = Arc::clone(&shared.handshakes).try_acquire_owned() else {
            shared.note_ignored_handshake();
            incoming.ignore();
            continue;
        };
        let in_progress = HANDSHAKES_MAX - shared.handshakes.available_permits();
        if in_progress > VALIDATE_FROM && incoming.may_retry() {
            let _ = incoming.retry();
            continue;
        }
        let task = Arc::clone(&shared);
        Arc::clone(&shared).spawn(async move {
            let answered = answer(&task, incoming).await;
            drop(permit);
            if let Some(established) = answered {
                session::run(&task, established).await;
            }
        });
    }
}

/// From the first packet to the answer of the hello. `None`: no session came of it.
async fn answer(shared: &Arc<Shared>, incoming: Incoming) -> Option<Established> {
    let Ok(Ok(connection)) = timeout(HANDSHAKE_MAX, incoming).await else {
        shared.note_refused_handshake();
        return None;
    };
    let closer = Closer::new(connection);
    let Some(peer) = peer_of(shared, &closer) else {
        // The list changed since the certificate was verified.
        shared.note_refused_handshake();
        closer.close(LostReason::Removed);
        return None;
    };
    let refuse = |fault, why| {
        shared.note(peer, fault);
        closer.close(why);
    };
    let (send, reader, hello) = match timeout(HANDSHAKE_MAX, hear(&closer)).await {
        Ok(Ok(heard)) => heard,
        Ok(Err(StreamError::Frame(error))) => {
            let (fault, why) = verdict(error);
            refuse(fault, why);
            return None;
        }
        Ok(Err(StreamError::Cut | StreamError::Over)) => return None,
        Err(_) => {
            refuse(Fault::Silent, LostReason::Silent);
            return None;
        }
    };
    if (hello.cluster, hello.from, hello.to) != (shared.settings.cluster, peer.0, shared.settings.own.0) {
        refuse(Fault::ForeignId, LostReason::ForeignId);
        return None;
    }
    if peer < shared.settings.own {
        refuse(Fault::WrongDirection, LostReason::WrongDirection);
        return None;
    }
    welcome(shared, peer, closer, send, reader, hello.session).await
}

async fn hear(closer: &Closer) -> Result<(SendStream, FrameReader, Hello), StreamError> {
    let (send, receive) = closer.connection.accept_bi().await.map_err(|_| StreamError::Over)?;
    let mut reader = FrameReader::new(receive);
    let hello = Hello::decode(&reader.expect(Kind::Hello).await?)?;
    Ok((send, reader, hello))
}

/// Ends the session before, waits until its end is reported, and tells the peer this one's number.
async fn welcome(
    shared: &Arc<Shared>,
    peer: NodeId,
    closer: Closer,
    mut send: SendStream,
    reader: FrameReader,
    least: u64,
) -> Option<Established> {
    shared.supersede(peer);
    let turn = shared.turn(peer).lock_owned().await;
    if closer.connection.close_reason().is_some() {
        return None;
    }
    let session = shared.next_session(peer, least);
    write_frame(&mut send, Kind::Welcome, &session.0.to_be_bytes()).await.ok()?;
    Some(Established { peer, session, closer, send, reader, turn })
}
