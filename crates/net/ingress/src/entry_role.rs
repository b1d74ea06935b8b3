//! Listeners, the gate and the figures: the ingress as the process runs it.

use crate::accept::{AnyListener, pause_after};
use crate::boot::{Boot, Service, SocketKind, access};
use crate::connection::{self, Serving, Shared};
use crate::gate::Gate;
use crate::half_open::HalfOpen;
use crate::service_names::ServiceNames;
use flow_pump::board::Board;
use flow_pump::figures::{Figures, Tally};
use flow_pump::process::{Context, Role, RunError};
use flow_pump::swappable::Introductions;
use os_net::process_channel::Meeting;
use serde_json::json;
use std::cell::{Cell, RefCell};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;
use tokio::net::{TcpListener, UnixListener};
use tokio::task::AbortHandle;

pub(crate) struct EntryRole {
    shared: Rc<Shared>,
    board: RefCell<Rc<Board>>,
    /// Hands on queue pairs of the present generation.
    handing_on: RefCell<AbortHandle>,
    accepting: Vec<AbortHandle>,
    accepted: Rc<Accepting>,
}

/// Figures of the listeners.
#[derive(Default)]
struct Accepting {
    connections: Cell<u64>,
    pauses: Cell<u64>,
}

impl EntryRole {
    pub(crate) fn start(boot: Boot, context: Context) -> Result<Self, RunError> {
        if context.descriptors.len() != boot.listeners.len() {
            return Err(RunError::Descriptors);
        }
        let limits = &boot.limits;
        if limits.waiting_max == 0 || limits.half_open_max == 0 || limits.flows_per_client == Some(0) {
            return Err(RunError::Setting("limits"));
        }
        let gate = Gate::new(context.board.clone(), context.geometry.max_flows(), limits);
        let shared = Rc::new(Shared {
            gate,
            half_open: HalfOpen::new(limits.half_open_max),
            figures: Rc::new(Figures::default()),
            connections: Rc::new(Tally::default()),
            request_timeout: Duration::from_millis(limits.request_timeout_ms),
            services: ServiceNames { offered: boot.services },
            introductions: Rc::new(Introductions::new(context.channel)),
        });
        let accepted = Rc::new(Accepting::default());
        let mut accepting = Vec::new();
        for (listener, descriptor) in boot.listeners.into_iter().zip(context.descriptors) {
            let socket = listening(listener.socket, descriptor)?;
            let serving = Rc::new(prepare(listener.service)?);
            let accept = accept_all(socket, serving, shared.clone(), accepted.clone());
            accepting.push(tokio::task::spawn_local(accept).abort_handle());
        }
        let handing_on = RefCell::new(hand_on(&shared, &context.board));
        Ok(Self { shared, board: RefCell::new(context.board), handing_on, accepting, accepted })
    }
}

impl Role for EntryRole {
    fn attach(&self, board: Rc<Board>) {
        self.handing_on.replace(hand_on(&self.shared, &board)).abort();
        self.shared.gate.attach(board.clone());
        self.board.replace(board);
    }

    fn stop(&self) {
        self.accepting.iter().for_each(AbortHandle::abort);
        self.shared.half_open.clear();
        self.shared.gate.clear();
    }

    fn unfinished(&self) -> usize {
        self.shared.connections.count()
    }

    fn introduced(&self, number: u32, meeting: Meeting, segment: Option<OwnedFd>) {
        self.shared.introductions.answered(number, meeting, segment);
    }

    fn status(&self) -> serde_json::Value {
        let figures = &self.shared.figures;
        json!({
            "flows_open": self.board.borrow().used(),
            "flows_opened": figures.opened.get(),
            "clients": self.shared.gate.clients(),
            "waiting": self.shared.gate.waiting(),
            "half_open": self.shared.half_open.count(),
            "half_open_evicted": self.shared.half_open.evicted(),
            "accepted": self.accepted.connections.get(),
            "accept_pauses": self.accepted.pauses.get(),
            "swapped": self.shared.introductions.counts(),
            "bytes_to_tunnel": figures.bytes_in.get(),
            "bytes_from_tunnel": figures.bytes_out.get(),
            "datagrams_dropped": figures.datagrams_dropped.get(),
            "ended": figures.ends(),
        })
    }
}

fn hand_on(shared: &Rc<Shared>, board: &Rc<Board>) -> AbortHandle {
    tokio::task::spawn_local(shared.gate.clone().hand_on(board.clone())).abort_handle()
}

fn listening(kind: SocketKind, descriptor: OwnedFd) -> Result<AnyListener, RunError> {
    Ok(match kind {
        SocketKind::Tcp => {
            let listener = std::net::TcpListener::from(descriptor);
            listener.set_nonblocking(true)?;
            AnyListener::Tcp(TcpListener::from_std(listener)?)
        }
        SocketKind::Unix => {
            let listener = std::os::unix::net::UnixListener::from(descriptor);
            listener.set_nonblocking(true)?;
            AnyListener::Unix(UnixListener::from_std(listener)?)
        }
    })
}

fn prepare(service: Service) -> Result<Serving, RunError> {
    Ok(match service {
        Service::Directory => Serving::Directory,
        Service::Forward(to) => Serving::Forward(to.destination().ok_or(RunError::Setting("listeners.forward"))?),
        Service::Proxy { logins, login_required } => {
            Serving::Proxy(access(&logins, login_required).map_err(|_| RunError::Setting("listeners.logins"))?)
        }
    })
}

async fn accept_all(listener: AnyListener, serving: Rc<Serving>, shared: Rc<Shared>, figures: Rc<Accepting>) {
    let mut pause: Option<Duration> = None;
    loop {
        match listener.accept(&shared.introductions).await {
            Ok(accepted) => {
                pause = None;
                figures.connections.set(figures.connections.get() + 1);
                connection::spawn(&shared, &serving, accepted);
            }
            Err(error) => {
                let next = pause_after(&error, pause);
                let Some(length) = next else {
                    // One connection that its application gave up already.
                    tokio::task::yield_now().await;
                    continue;
                };
                if pause.is_none() {
                    tracing::warn!(
                        %error,
                        "accepting pauses: the system has no descriptor or memory for a further connection; \
                         raise the limit of open files (LimitNOFILE, ulimit -n) or close other programs"
                    );
                }
                figures.pauses.set(figures.pauses.get() + 1);
                pause = next;
                tokio::time::sleep(length).await;
            }
        }
    }
}
