//! Takes up every flow that the shaped process opens.

use crate::association;
use crate::boot::Boot;
use crate::dial::Dialler;
use crate::directory::Directory;
use flow_pump::board::Board;
use flow_pump::figures::{Figures, Tally, reason_name};
use flow_pump::port::FlowPort;
use flow_pump::process::{Context, Role, RunError};
use flow_pump::socket::Socket;
use flow_pump::stream::{self, End, Start};
use proxy_protocols::exit_policy::ExitPolicy;
use serde_json::json;
use std::cell::{Cell, RefCell};
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;
use tokio::task::AbortHandle;
use wire::flow::{FlowKind, ResetReason, Syn};

/// What a directory stream is confirmed with.
const NO_ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// The egress as the process runs it.
pub(crate) struct ExitRole {
    shared: Rc<Shared>,
    board: RefCell<Rc<Board>>,
    taker: RefCell<AbortHandle>,
}

struct Shared {
    dialler: Rc<Dialler>,
    directory: Rc<Directory>,
    figures: Rc<Figures>,
    datagram_idle: Duration,
    stopping: Cell<bool>,
    flows: Rc<Tally>,
}

impl ExitRole {
    pub(crate) fn start(boot: Boot, context: Context) -> Result<Self, RunError> {
        if !context.descriptors.is_empty() {
            return Err(RunError::Descriptors);
        }
        let policy = ExitPolicy::from_lines(boot.policy.iter().map(String::as_str)).map_err(RunError::Policy)?;
        let connect_timeout = Duration::from_millis(boot.connect_timeout_ms);
        let dialler = Rc::new(Dialler::new(policy, connect_timeout, boot.bind));
        dialler.check_sources().map_err(|error| RunError::SourceAddress(error.kind()))?;
        let shared = Rc::new(Shared {
            dialler,
            directory: Directory::new(boot.directory, connect_timeout),
            figures: Rc::new(Figures::default()),
            datagram_idle: Duration::from_millis(boot.datagram_idle_ms),
            stopping: Cell::new(false),
            flows: Rc::new(Tally::default()),
        });
        let taker = take_up_all(&shared, &context.board);
        Ok(Self { shared, board: RefCell::new(context.board), taker: RefCell::new(taker) })
    }
}

impl Role for ExitRole {
    fn attach(&self, board: Rc<Board>) {
        let taker = take_up_all(&self.shared, &board);
        self.board.replace(board);
        self.taker.replace(taker).abort();
    }

    fn stop(&self) {
        self.shared.stopping.set(true);
    }

    fn unfinished(&self) -> usize {
        self.shared.flows.count()
    }

    fn status(&self) -> serde_json::Value {
        let figures = &self.shared.figures;
        json!({
            "flows_open": self.board.borrow().used(),
            "directory_flows": self.shared.directory.open(),
            "flows_opened": figures.opened.get(),
            "bytes_to_tunnel": figures.bytes_in.get(),
            "bytes_from_tunnel": figures.bytes_out.get(),
            "datagrams_dropped": figures.datagrams_dropped.get(),
            "ended": figures.ends(),
        })
    }
}

/// One task takes up the flows of a generation, a task each.
fn take_up_all(shared: &Rc<Shared>, board: &Rc<Board>) -> AbortHandle {
    let (shared, board) = (shared.clone(), board.clone());
    let taker = tokio::task::spawn_local(async move {
        loop {
            let (syn, port) = board.next_arrival().await;
            if shared.stopping.get() {
                port.close(ResetReason::TunnelLost);
                continue;
            }
            shared.figures.open_flow();
            let counted = shared.flows.enter();
            match syn.kind {
                FlowKind::Stream => {
                    let served = serve_stream(shared.clone(), syn, port);
                    tokio::task::spawn_local(counted.around(served));
                }
                FlowKind::Directory => {
                    let served = serve_directory(shared.clone(), port);
                    tokio::task::spawn_local(counted.around(served));
                }
                FlowKind::Datagrams => {
                    let (dialler, figures) = (shared.dialler.clone(), shared.figures.clone());
                    let served = association::serve(port, dialler, figures, shared.datagram_idle);
                    tokio::task::spawn_local(counted.around(served));
                }
            }
        }
    });
    taker.abort_handle()
}

async fn serve_stream(shared: Rc<Shared>, syn: Syn, port: FlowPort) {
    let dialled = tokio::select! {
        biased;
        // Both are cancel-safe.
        reason = port.wait_reset() => Err(reason),
        dialled = shared.dialler.connect(syn.client, &syn.destination) => dialled,
    };
    let connected = dialled.and_then(|stream| {
        let local = stream.local_addr().map_err(|_| ResetReason::ByPeer)?;
        Ok((Socket::tcp(stream).map_err(|_| ResetReason::ByPeer)?, local))
    });
    let (socket, local) = match connected {
        Ok(connected) => connected,
        Err(reason) => {
            shared.figures.count(reason_name(reason));
            return port.close(reason);
        }
    };
    serve(&shared, port, socket, local).await;
}

async fn serve_directory(shared: Rc<Shared>, port: FlowPort) {
    let connected = tokio::select! {
        biased;
        // Both are cancel-safe.
        reason = port.wait_reset() => Err(reason),
        connected = shared.directory.connect() => connected,
    };
    match connected {
        // The socket has no address to tell.
        Ok((socket, _place)) => serve(&shared, port, socket, NO_ADDRESS).await,
        Err(reason) => {
            shared.figures.count(reason_name(reason));
            port.close(reason);
        }
    }
}

/// The stream is connected.
async fn serve(shared: &Shared, port: FlowPort, socket: Socket, local: SocketAddr) {
    port.send_connected(local);
    match stream::pump(port, &socket, Start::default(), &shared.figures).await {
        End::Finished => shared.figures.count("finished"),
        End::SocketFailed => shared.figures.count(reason_name(ResetReason::ByPeer)),
        End::Reset { reason, .. } => {
            shared.figures.count(reason_name(reason));
            socket.abort();
        }
    }
}
