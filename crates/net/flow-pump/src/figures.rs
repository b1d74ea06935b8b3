//! What a process counts about its flows, for `status`.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use wire::flow::ResetReason;

/// Counters that all flows of a process share. They name no client, no destination and no single flow.
#[derive(Debug, Default)]
pub struct Figures {
    /// Bytes from sockets into the queues.
    pub bytes_in: Cell<u64>,
    /// Bytes from the queues into sockets.
    pub bytes_out: Cell<u64>,
    /// Datagrams that were dropped: no room, malformed, a fragment, or forbidden.
    pub datagrams_dropped: Cell<u64>,
    /// Flows that were taken up.
    pub opened: Cell<u64>,
    ends: RefCell<BTreeMap<&'static str, u64>>,
}

impl Figures {
    /// Counts one end or refusal under a fixed name.
    pub fn count(&self, name: &'static str) {
        *self.ends.borrow_mut().entry(name).or_default() += 1;
    }

    /// How often a name was counted.
    pub fn counted(&self, name: &str) -> u64 {
        self.ends.borrow().get(name).copied().unwrap_or_default()
    }

    /// All names with their counts.
    pub fn ends(&self) -> BTreeMap<&'static str, u64> {
        self.ends.borrow().clone()
    }

    /// Counts bytes of a datagram from a socket.
    pub fn add_in(&self, bytes: usize) {
        Self::add(&self.bytes_in, bytes);
    }

    /// Counts bytes of a datagram into a socket.
    pub fn add_out(&self, bytes: usize) {
        Self::add(&self.bytes_out, bytes);
    }

    /// Counts a datagram that got lost here.
    pub fn drop_datagram(&self) {
        Self::add(&self.datagrams_dropped, 1);
    }

    /// Counts a flow that was taken up.
    pub fn open_flow(&self) {
        Self::add(&self.opened, 1);
    }

    fn add(counter: &Cell<u64>, amount: usize) {
        counter.set(counter.get().saturating_add(amount as u64));
    }
}

/// The name under which a reason is counted.
pub fn reason_name(reason: ResetReason) -> &'static str {
    match reason {
        ResetReason::Refused => "refused",
        ResetReason::Unreachable => "unreachable",
        ResetReason::Denied => "denied",
        ResetReason::TimedOut => "timed_out",
        ResetReason::TunnelLost => "tunnel_lost",
        ResetReason::ByPeer => "by_peer",
        ResetReason::TooManyFlows => "too_many_flows",
        ResetReason::Protocol => "protocol",
        ResetReason::NoService => "no_service",
        ResetReason::NotAuthorised => "not_authorised",
        ResetReason::ServiceSilent => "service_silent",
        ResetReason::NoMemory => "no_memory",
        ResetReason::ServiceIsOff => "service_is_off",
        ResetReason::ServiceIsShaped => "service_is_shaped",
        ResetReason::NameUnknown => "name_unknown",
        ResetReason::NotOffered => "not_offered",
    }
}

/// How many of something there are at the moment.
#[derive(Debug, Default)]
pub struct Tally(Cell<usize>);

impl Tally {
    /// How many.
    pub fn count(&self) -> usize {
        self.0.get()
    }

    /// One more, for as long as the result lives.
    pub fn enter(self: &Rc<Self>) -> Counted {
        self.0.set(self.0.get() + 1);
        Counted(self.clone())
    }
}

/// One of a [`Tally`].
#[derive(Debug)]
pub struct Counted(Rc<Tally>);

impl Counted {
    /// The same future, counted until it ends.
    pub async fn around(self, future: impl Future<Output = ()>) {
        future.await;
        drop(self);
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.0.set(self.0.0.get() - 1);
    }
}
