//! One connection of an application, from its first byte to its last.

use crate::accept::Accepted;
use crate::association;
use crate::clients::ClientKey;
use crate::gate::Gate;
use crate::half_open::{HalfOpen, HalfOpenGuard};
use crate::service_names::ServiceNames;
use flow_pump::figures::{Figures, Tally, reason_name};
use flow_pump::socket::Socket;
use flow_pump::stream::{self, End, Start};
use flow_pump::swappable::Introductions;
use proxy_protocols::access::Access;
use proxy_protocols::answer::{self, Protocol};
use proxy_protocols::handshake::{Command, Handshake, Refusal, RefusalCause, Request, Step};
use std::cell::OnceCell;
use std::io;
use std::rc::Rc;
use std::time::Duration;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use wire::flow::{Destination, FlowKind, ResetReason};

/// Bytes of a request that are read at a time.
const REQUEST_PIECE: usize = 1024;

/// What all connections share.
pub(crate) struct Shared {
    pub(crate) gate: Rc<Gate>,
    pub(crate) half_open: Rc<HalfOpen>,
    pub(crate) figures: Rc<Figures>,
    pub(crate) connections: Rc<Tally>,
    pub(crate) request_timeout: Duration,
    pub(crate) services: ServiceNames,
    pub(crate) introductions: Rc<Introductions>,
}

/// What a listener's connections get, checked.
pub(crate) enum Serving {
    Forward(Destination),
    Directory,
    Proxy(Access),
}

/// Serves a connection in a task of its own.
pub(crate) fn spawn(shared: &Rc<Shared>, serving: &Rc<Serving>, accepted: Accepted) {
    let task = Rc::new(OnceCell::new());
    let connection = Connection { shared: shared.clone(), task: task.clone() };
    let (serving, counted) = (serving.clone(), shared.connections.enter());
    let served = async move { connection.serve(&serving, accepted).await };
    let spawned = tokio::task::spawn_local(counted.around(served));
    // The task runs after this, not before.
    let _ = task.set(spawned.abort_handle());
}

/// What a connection's task knows of itself.
pub(crate) struct Connection {
    pub(crate) shared: Rc<Shared>,
    task: Rc<OnceCell<AbortHandle>>,
}

impl Connection {
    async fn serve(&self, serving: &Serving, accepted: Accepted) {
        let Accepted { mut socket, client, addresses } = accepted;
        let access = match serving {
            Serving::Forward(destination) => {
                if self.shared.services.check(destination).is_err() {
                    self.shared.figures.count("wrong_service_name");
                    return socket.abort();
                }
                let to = (FlowKind::Stream, destination.clone());
                return self.stream(socket, &client, to, Start::default()).await;
            }
            // Its first byte belongs to the stream.
            Serving::Directory => {
                let to = (FlowKind::Directory, Destination::NOWHERE);
                return self.stream(socket, &ClientKey::Directory, to, Start::default()).await;
            }
            Serving::Proxy(access) => access,
        };
        let half_open = self.half_open();
        let asked = timeout(self.shared.request_timeout, ask(&mut socket, access)).await;
        let (request, early) = match asked {
            Ok(Ok(Ok(asked))) => asked,
            Ok(Ok(Err(refusal))) => {
                self.shared.figures.count(cause_name(refusal.cause));
                return socket.say_last(&refusal.reply).await;
            }
            Ok(Err(_)) => return self.shared.figures.count("request_abandoned"),
            Err(_) => return self.shared.figures.count("request_timed_out"),
        };
        drop(half_open);
        let client = ClientKey::of_request(&request.identity, &client);
        match request.command {
            Command::Connect => {
                if let Err(error) = self.shared.services.check(&request.destination) {
                    self.shared.figures.count("wrong_service_name");
                    let _half_open = self.half_open();
                    return socket.say_last(&answer::wrong_name(request.protocol, &error.to_string())).await;
                }
                let start = Start { early, answer: Some(request.protocol) };
                self.stream(socket, &client, (FlowKind::Stream, request.destination), start).await;
            }
            Command::UdpAssociate => association::serve(self, socket, &client, request, addresses).await,
        }
    }

    async fn stream(&self, socket: Socket, client: &ClientKey, to: (FlowKind, Destination), start: Start) {
        let figures = &self.shared.figures;
        let protocol = start.answer;
        let port = match self.shared.gate.open(client, to.0, to.1).await {
            Ok(port) => port,
            Err(reason) => return self.refuse(socket, protocol, reason).await,
        };
        figures.open_flow();
        match stream::pump(port, &socket, start, figures).await {
            End::Finished => figures.count("finished"),
            End::SocketFailed => figures.count(reason_name(ResetReason::ByPeer)),
            End::Reset { reason, answered } => {
                self.refuse(socket, protocol.filter(|_| !answered), reason).await;
            }
        }
    }

    /// Ends a connection whose flow failed: by an answer where one is due, by a reset otherwise.
    pub(crate) async fn refuse(&self, socket: Socket, answer: Option<Protocol>, reason: ResetReason) {
        self.shared.figures.count(reason_name(reason));
        match answer {
            Some(protocol) => {
                let _half_open = self.half_open();
                socket.say_last(&answer::failed(protocol, reason)).await;
            }
            None => socket.abort(),
        }
    }

    /// Puts the connection among those that may be ended to make room.
    fn half_open(&self) -> Option<HalfOpenGuard> {
        self.task.get().map(|task| self.shared.half_open.enter(task.clone()))
    }
}

/// Reads until the request is complete: the request, and what came behind it.
async fn ask(socket: &mut Socket, access: &Access) -> io::Result<Result<(Request, Vec<u8>), Refusal>> {
    let mut handshake = Handshake::new();
    let mut piece = [0; REQUEST_PIECE];
    loop {
        match handshake.poll_step(access) {
            Step::NeedMore => {
                let count = socket.read(&mut piece).await?;
                if count == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                handshake.handle_bytes(&piece[..count]);
            }
            Step::Reply(bytes) => socket.write_all(&bytes).await?,
            Step::Ready(request) => return Ok(Ok((request, handshake.into_leftover()))),
            Step::Refused(refusal) => return Ok(Err(refusal)),
        }
    }
}

/// The name under which a refusal is counted.
fn cause_name(cause: RefusalCause) -> &'static str {
    match cause {
        RefusalCause::UnknownProtocol => "unknown_protocol",
        RefusalCause::Version => "wrong_version",
        RefusalCause::NoLogin => "no_login",
        RefusalCause::WrongLogin => "wrong_login",
        RefusalCause::Command => "command_not_served",
        RefusalCause::Destination => "not_a_destination",
        RefusalCause::Malformed => "malformed_request",
        RefusalCause::TooLong => "request_too_long",
    }
}
