//! What a running mirror answers at its admin socket.

use crate::commands::directory::hex;
use admin::mirror::{Announced, HeldEdition, MIRROR_SCHEMA_VERSION, MirrorStatus as Shown};
use admin::protocol::{Request, Response};
use admin::server::Server;
use admin::status::SCHEMA_VERSION;
use directory_mirror::{MirrorStatus, Outcome as Said, PublisherStatus};
use network_document::Charter;
use std::time::Instant;
use tokio::sync::watch;

/// What the status is made of.
pub(super) struct Control {
    pub(super) charter: Charter,
    /// It asks over tunnels, its own or those of this machine's entry.
    pub(super) tunnels: bool,
    pub(super) begun: Instant,
    pub(super) mirror: watch::Receiver<MirrorStatus>,
    pub(super) publisher: Option<watch::Receiver<PublisherStatus>>,
}

/// Answers for as long as it is polled; without a socket there is nothing to answer.
pub(super) async fn serve(server: Option<Server>, control: Control) {
    if let Some(server) = server {
        server.serve(move |request| control.answer(request)).await;
    }
}

impl Control {
    fn answer(&self, request: Request) -> Response {
        match request {
            Request::Mirror => Response::Mirror { status: Box::new(self.status()) },
            Request::Version => {
                Response::Version { version: env!("CARGO_PKG_VERSION").to_owned(), status_schema: SCHEMA_VERSION }
            }
            _ => {
                Response::Refused { reason: "this is a mirror; it has a status of its own and nothing else".to_owned() }
            }
        }
    }

    fn status(&self) -> Shown {
        let status = self.mirror.borrow().clone();
        let edition = status.held.map(|held| HeldEdition {
            index: held.name.index,
            hash: hex(&held.name.hash),
            valid_until_ms: held.valid_until_ms,
            relays: held.relays as u64,
            term: held.term,
        });
        Shown {
            schema: MIRROR_SCHEMA_VERSION,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_s: self.begun.elapsed().as_secs(),
            network: self.charter.name().to_string(),
            packet_size: self.charter.packet_size().packet() as u32,
            edition,
            valid: status.is_valid,
            fetched_ms: status.fetched_ms,
            next_ms: status.next_ms,
            tunnels: self.tunnels,
            // Whoever says the time has answered too.
            answered: status.counts.answers > 0 || status.skew_ms.is_some(),
            broken: status.counts.broken,
            refused: status.counts.refused,
            error: status.error,
            forks: status.forks.iter().map(|path| path.display().to_string()).collect(),
            skew_ms: status.skew_ms,
            clock_is_wrong: status.clock_is_wrong,
            announced: self.publisher.as_ref().map(|publisher| announced(&publisher.borrow())),
        }
    }
}

fn announced(status: &PublisherStatus) -> Announced {
    let (outcome, reason) = match &status.outcome {
        Said::Waiting => ("waiting", None),
        Said::Said => ("said", None),
        Said::Refused(_, why) => ("refused", Some(why)),
        Said::Unreached(why) => ("unreached", Some(why)),
        Said::Invalid(why) => ("invalid", Some(why)),
        Said::Keys(why) => ("keys", Some(why)),
    };
    Announced {
        outcome: outcome.to_owned(),
        reason: reason.cloned(),
        said_ms: status.said_ms,
        until_ms: status.until_ms,
        listed: status.is_listed,
    }
}
