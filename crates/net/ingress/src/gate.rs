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

#[cfg(test)]
mod tests {
    use super::*;
    use flow_queue::{Geometry, QueueSide, Side, local_pair};
    use shaped_node::queues::FlowQueues;
    use std::net::SocketAddr;
    use wire::local::LocalMessage;

    /// A gate over two queue pairs, its tasks, and the other side of the queues.
    fn gate(limits: &Limits) -> (Rc<Gate>, Rc<Board>, QueueSide) {
        let geometry = Geometry::new(2, 4096, 1).expect("in range");
        let (unshaped, shaped) = local_pair(&geometry, Side::Unshaped).expect("memory for queues");
        let board = Board::new(unshaped, &geometry, true);
        let gate = Gate::new(board.clone(), 2, limits);
        let (runner, handing_on) = (board.clone(), gate.clone().hand_on(board.clone()));
        tokio::task::spawn_local(async move { runner.run().await });
        tokio::task::spawn_local(handing_on);
        (gate, board, shaped)
    }

    async fn open(gate: &Rc<Gate>, client: u8) -> Result<FlowPort, ResetReason> {
        let destination = Destination::from(SocketAddr::from(([192, 0, 2, 1], 80)));
        gate.open(&ClientKey::Ipv4([10, 0, 0, client]), FlowKind::Stream, destination).await
    }

    /// The shaped process closes whatever was closed on this side.
    fn close_all(shaped: &mut QueueSide) {
        while let Ok(Some(message)) = shaped.poll_message() {
            if let LocalMessage::Closed(queue, position) = message {
                shaped.discard(queue.index, position).expect("a right position");
                shaped.send_message(&LocalMessage::Closed(queue, 0)).expect("there is room");
            }
        }
        shaped.flush();
    }

    #[tokio::test]
    async fn the_client_with_the_fewest_flows_is_served_first() {
        let local = tokio::task::LocalSet::new();
        let served = local.run_until(async {
            let (gate, _board, mut shaped) = gate(&Limits::default());
            let first = open(&gate, 1).await.expect("a free pair");
            let _second = open(&gate, 1).await.expect("a free pair");
            let (order, mut served) = tokio::sync::mpsc::unbounded_channel();
            for client in [1, 2] {
                let (gate, order) = (gate.clone(), order.clone());
                tokio::task::spawn_local(async move {
                    let port = open(&gate, client).await;
                    order.send((client, port.is_ok())).expect("the test waits");
                    // Holds its pair.
                    std::future::pending::<()>().await;
                    drop(port);
                });
            }
            while gate.waiting() < 2 {
                tokio::task::yield_now().await;
            }
            drop(first);
            close_all(&mut shaped);
            served.recv().await
        });
        assert_eq!(served.await, Some((2, true)), "the first client came first but has a flow");
    }

    #[tokio::test]
    async fn who_waits_is_bounded_and_leaves_nothing_behind() {
        let limits = Limits { waiting_max: 2, flow_wait_ms: 20, ..Limits::default() };
        let local = tokio::task::LocalSet::new();
        local
            .run_until(async {
                let (gate, board, _shaped) = gate(&limits);
                let _held = [open(&gate, 1).await.expect("a free pair"), open(&gate, 2).await.expect("a free pair")];
                let waiting = tokio::task::spawn_local({
                    let gate = gate.clone();
                    async move { open(&gate, 1).await.err() }
                });
                while gate.waiting() == 0 {
                    tokio::task::yield_now().await;
                }
                // Half of the room is the most for one client.
                assert_eq!(open(&gate, 1).await.err(), Some(ResetReason::TooManyFlows));
                assert_eq!(waiting.await.ok().flatten(), Some(ResetReason::TooManyFlows));
                assert_eq!((gate.waiting(), board.used(), gate.clients()), (0, 2, 2));
            })
            .await;
    }
}
