//! Hands queue pairs to flows: fairly between clients, within bounds, and never longer than a flow may wait.

use crate::boot::Limits;
use crate::clients::{ClientKey, ClientNumber, Clients};
use flow_pump::board::Board;
use flow_pump::port::FlowPort;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::oneshot;
use wire::flow::{Destination, FlowKind, ResetReason, Syn};

/// The way to a queue pair.
pub(crate) struct Gate {
    state: RefCell<State>,
    waiting_max: usize,
    wait_max: Duration,
}

struct State {
    board: Rc<Board>,
    clients: Clients,
    /// In the order of arrival.
    waiting: Vec<Waiter>,
    next_ticket: u64,
}

struct Waiter {
    ticket: u64,
    syn: Syn,
    answer: oneshot::Sender<FlowPort>,
}

impl Gate {
    pub(crate) fn new(board: Rc<Board>, max_flows: u16, limits: &Limits) -> Rc<Self> {
        let clients = Clients::new(max_flows, limits);
        let state = RefCell::new(State { board, clients, waiting: Vec::new(), next_ticket: 0 });
        Rc::new(Self { state, waiting_max: limits.waiting_max, wait_max: Duration::from_millis(limits.flow_wait_ms) })
    }

    /// Opens a flow, at once or as soon as the client's turn comes. Cancel-safe: who gives up loses its place.
    pub(crate) async fn open(
        self: &Rc<Self>,
        client: &ClientKey,
        kind: FlowKind,
        destination: Destination,
    ) -> Result<FlowPort, ResetReason> {
        let (place, answer) = self.take_place(client, kind, destination)?;
        self.serve();
        let port = tokio::time::timeout(self.wait_max, answer).await;
        drop(place);
        match port {
            Ok(Ok(port)) => Ok(port),
            // [`Gate::clear`].
            Ok(Err(_)) => Err(ResetReason::TunnelLost),
            Err(_) => Err(ResetReason::TooManyFlows),
        }
    }

    /// Flows that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.state.borrow().waiting.len()
    }

    /// Clients that have or wait for a flow.
    pub(crate) fn clients(&self) -> usize {
        self.state.borrow().clients.present()
    }

    /// There are new queues, all of them free. Whoever waits is served from them.
    pub(crate) fn attach(&self, board: Rc<Board>) {
        let mut state = self.state.borrow_mut();
        state.board = board;
        state.clients.end_all_flows();
        drop(state);
        self.serve();
    }

    /// Refuses everybody who waits.
    pub(crate) fn clear(&self) {
        let waiting = std::mem::take(&mut self.state.borrow_mut().waiting);
        drop(waiting);
    }

    /// Hands on the queue pairs of `board` that become free. Ends never.
    pub(crate) async fn hand_on(self: Rc<Self>, board: Rc<Board>) {
        loop {
            board.freed().await;
            let released = board.take_released();
            released.into_iter().for_each(|client| self.state.borrow_mut().clients.end_flow(client));
            self.serve();
        }
    }

    fn take_place(
        self: &Rc<Self>,
        client: &ClientKey,
        kind: FlowKind,
        destination: Destination,
    ) -> Result<(Place, oneshot::Receiver<FlowPort>), ResetReason> {
        let mut state = self.state.borrow_mut();
        let number = state.clients.number(client);
        let own_max = self.waiting_max.div_ceil(2);
        if state.waiting.len() >= self.waiting_max || state.clients.waiting(number) >= own_max {
            return Err(ResetReason::TooManyFlows);
        }
        let (answer, receiver) = oneshot::channel();
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        state.clients.begin_wait(number);
        state.waiting.push(Waiter { ticket, syn: Syn { kind, client: number, destination }, answer });
        Ok((Place { gate: self.clone(), ticket, client: number }, receiver))
    }

    /// Serves waiters while there are queue pairs: those of the client with the fewest first, then by arrival.
    fn serve(&self) {
        loop {
            let mut state = self.state.borrow_mut();
            let best = state
                .waiting
                .iter()
                .enumerate()
                .filter(|(_, waiter)| state.clients.may_open(waiter.syn.client))
                .min_by_key(|(_, waiter)| (state.clients.open(waiter.syn.client), waiter.ticket))
                .map(|(index, waiter)| (index, waiter.syn.clone()));
            let Some((index, syn)) = best else { return };
            let client = syn.client;
            let Some(port) = state.board.open(syn) else { return };
            state.clients.begin_flow(client);
            let waiter = state.waiting.remove(index);
            drop(state);
            // Whoever has given up in this very moment lets the port fall, which closes it.
            let _ = waiter.answer.send(port);
        }
    }
}

/// A place among those who wait; given back when dropped.
struct Place {
    gate: Rc<Gate>,
    ticket: u64,
    client: ClientNumber,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.gate.state.borrow_mut();
        state.waiting.retain(|waiter| waiter.ticket != self.ticket);
        state.clients.end_wait(self.client);
    }
}
