//! Who may dial now: so many at once in all, and so many of one client, so that nobody's silent destinations
//! hold up the others.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Clients that are remembered without one of their flows dialling; beyond it they are forgotten.
const IDLE_CLIENTS_MAX: usize = 1024;

/// Bounds the destinations that are dialled at once.
pub(crate) struct Turns {
    all: Arc<Semaphore>,
    each: usize,
    clients: RefCell<BTreeMap<u64, Arc<Semaphore>>>,
}

/// The right to dial, until it is dropped.
pub(crate) struct Turn {
    _own: Option<OwnedSemaphorePermit>,
    _all: Option<OwnedSemaphorePermit>,
}

impl Turns {
    /// `all` at once, `each` of one client.
    pub(crate) fn new(all: usize, each: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(all)), each, clients: RefCell::default() }
    }

    /// Waits for a turn, first among the client's own flows, then among all. Cancel-safe.
    pub(crate) async fn take(&self, client: u64) -> Turn {
        let own = self.of_client(client);
        // The semaphores are never closed, so both are there.
        let _own = own.acquire_owned().await.ok();
        let _all = self.all.clone().acquire_owned().await.ok();
        Turn { _own, _all }
    }

    fn of_client(&self, client: u64) -> Arc<Semaphore> {
        let mut clients = self.clients.borrow_mut();
        if clients.len() >= IDLE_CLIENTS_MAX {
            // Whoever dials or waits holds a second reference.
            clients.retain(|_, semaphore| Arc::strong_count(semaphore) > 1);
        }
        clients.entry(client).or_insert_with(|| Arc::new(Semaphore::new(self.each))).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    fn poll_once(turns: &Turns, client: u64) -> Option<Turn> {
        match pin!(turns.take(client)).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(turn) => Some(turn),
            Poll::Pending => None,
        }
    }

    #[test]
    fn one_client_cannot_take_all_turns() {
        let turns = Turns::new(3, 2);
        let first = [poll_once(&turns, 1), poll_once(&turns, 1)];
        assert!(first.iter().all(Option::is_some));
        assert!(poll_once(&turns, 1).is_none(), "the client has its share");
        let other = poll_once(&turns, 2);
        assert!(other.is_some());
        assert!(poll_once(&turns, 3).is_none(), "all are taken");
        drop(first);
        assert!(poll_once(&turns, 3).is_some());
    }

    #[test]
    fn idle_clients_are_forgotten_and_busy_ones_are_not() {
        let turns = Turns::new(8, 1);
        let busy = poll_once(&turns, 0);
        for client in 1..=2 * IDLE_CLIENTS_MAX as u64 {
            assert!(poll_once(&turns, client).is_some());
        }
        assert!(turns.clients.borrow().len() <= IDLE_CLIENTS_MAX);
        assert!(poll_once(&turns, 0).is_none(), "its turn still counts");
        drop(busy);
    }
}
