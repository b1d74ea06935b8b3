//! The service: local programs, the node's own relay among them, at a unix socket (docs/spec/relay-directory.md, section 10).

use crate::counts::Counts;
use crate::member::SharedSigner;
use crate::orders::Orders;
use crate::shared::SharedDirectory;
use directory_stream::{Answers, Bucket, Limits, ListenError, listen, serve};
use identity::NodeSecret;
use records::{Records, StreamRecords};
use relay_directory::{Answer, Directory, ServiceAnswer, ServiceRequest};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::UnixListener;
use tokio::task::spawn_blocking;

mod commands;
mod records;

pub use records::{
    ALL_RECORDS_A_SECOND, ALL_RECORDS_AT_ONCE_MAX, RECORD_EVERY, RECORDS_AT_ONCE_MAX, SPONSORED_AT_ONCE_MAX,
};

/// Programs that are served at once. One more waits until another is done.
pub const CONNECTIONS_MAX: usize = 256;
/// Commands of one connection in a second; a further one is answered with "try again".
pub const COMMANDS_A_SECOND: u32 = 32;
/// Commands of all connections in a second, likewise.
pub const ALL_COMMANDS_A_SECOND: u32 = 1_024;
/// KiB of editions and differences that wait to be read, of all connections. Whoever asks for more waits until others have read theirs.
pub const ANSWERS_KIB_MAX: u32 = 64 * 1_024;
/// A connection on which nothing is asked for so long is closed.
pub const IDLE_MAX: Duration = Duration::from_secs(120);

/// Of the connections, those of strangers, who come through circuits; a further one is closed.
pub const STRANGERS_MAX: usize = 64;
/// Requests on one stranger's stream; then it is closed. A client needs a dozen.
pub const STRANGER_REQUESTS_MAX: usize = 64;
/// A stranger's stream on which nothing is asked for so long is closed.
pub const STRANGER_IDLE_MAX: Duration = Duration::from_secs(30);
/// As [`ANSWERS_KIB_MAX`], of all strangers: they wait for each other, and no program of this machine for them.
pub const STRANGERS_ANSWERS_KIB_MAX: u32 = 32 * 1_024;

/// What answers all connections.
pub(crate) struct Service {
    directory: SharedDirectory,
    signer: SharedSigner,
    orders: Orders,
    counts: Counts,
    commands: Mutex<Bucket>,
    records: Records,
}

/// What one connection may still say.
pub(crate) struct Connection {
    commands: Bucket,
    records: StreamRecords,
}

impl Default for Connection {
    fn default() -> Self {
        Self { commands: Bucket::a_second(COMMANDS_A_SECOND), records: StreamRecords::default() }
    }
}

impl Service {
    /// The listening socket, and what is answered there.
    pub(crate) fn listen(
        path: &Path,
        directory: SharedDirectory,
        secret: NodeSecret,
        signer: SharedSigner,
        orders: Orders,
    ) -> Result<(UnixListener, Self), ListenError> {
        let (commands, records) = (Mutex::new(Bucket::a_second(ALL_COMMANDS_A_SECOND)), Records::new(secret));
        Ok((listen(path)?, Self { directory, signer, orders, counts: Counts::default(), commands, records }))
    }

    /// What it has done.
    pub(crate) fn counts(&self) -> Counts {
        self.counts.clone()
    }

    /// Until the future is dropped, and all connections with it.
    pub(crate) async fn serve(listener: UnixListener, service: Self) {
        serve(listener, Arc::new(service)).await;
    }
}

impl Answers for Service {
    type Stream = Connection;

    const LIMITS: Limits = Limits {
        connections: CONNECTIONS_MAX,
        idle: IDLE_MAX,
        // They are this machine's own programs, which may stay as long as they like.
        requests: usize::MAX,
        answers_kib: ANSWERS_KIB_MAX,
    };

    const STRANGERS: Limits = Limits {
        connections: STRANGERS_MAX,
        idle: STRANGER_IDLE_MAX,
        requests: STRANGER_REQUESTS_MAX,
        answers_kib: STRANGERS_ANSWERS_KIB_MAX,
    };

    fn begun(&self) {
        self.counts.begun();
    }

    fn ended(&self, how: &io::Result<()>) {
        self.counts.ended(how);
    }

    fn stranger_begun(&self, is_served: bool) {
        self.counts.stranger_begun(is_served);
    }

    fn stranger_ended(&self) {
        self.counts.stranger_ended();
    }

    async fn answer(&self, connection: &mut Connection, request: ServiceRequest) -> ServiceAnswer {
        match request {
            ServiceRequest::Fetch(request) => {
                let directory = self.directory.clone();
                // A difference of large editions takes a while.
                let work = spawn_blocking(move || directory.answer(&request));
                ServiceAnswer::Fetch(work.await.unwrap_or(Answer::Unknown))
            }
            ServiceRequest::Submit(command) => {
                ServiceAnswer::Submit(self.submit(&mut connection.commands, command).await)
            }
            ServiceRequest::Publish(record) => {
                ServiceAnswer::Submit(self.sponsor(&mut connection.records, record).await)
            }
            ServiceRequest::Record { key } => {
                ServiceAnswer::Record(self.directory.look(|directory| directory.service(&key).cloned()))
            }
            ServiceRequest::Standing => ServiceAnswer::Standing(self.directory.look(Directory::standing)),
            ServiceRequest::Members => ServiceAnswer::Members(self.directory.look(Directory::members_standing)),
            ServiceRequest::Services => ServiceAnswer::Services(self.services_standing()),
        }
    }
}
