//! Who flows belong to, and how many each client may have.

use crate::boot::Limits;
use proxy_protocols::access::{Identity, UserName};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

/// Clients without a flow whose numbers are remembered. Beyond it those with the oldest numbers are forgotten and get a new number when
/// they come back.
pub(crate) const IDLE_CLIENTS_MAX: usize = 4096;

/// One in so many queue pairs stays free of a client that is alone, for whoever comes next.
const RESERVE_SHARE: usize = 64;

/// What makes a client.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ClientKey {
    /// A user who gave the right password.
    User(UserName),
    /// IPv4, or IPv4 in IPv6 form.
    Ipv4([u8; 4]),
    /// The first 64 bits: one household or host has them all.
    Ipv6([u8; 8]),
    /// The user id behind a unix socket.
    LocalUser(u32),
    /// All directory streams, whoever asks for them: they are the node's own business.
    Directory,
}

impl ClientKey {
    /// The client behind a TCP address.
    pub(crate) fn of_address(address: SocketAddr) -> Self {
        match address.ip().to_canonical() {
            IpAddr::V4(address) => Self::Ipv4(address.octets()),
            IpAddr::V6(address) => {
                let [a, b, c, d, e, f, g, h, ..] = address.octets();
                Self::Ipv6([a, b, c, d, e, f, g, h])
            }
        }
    }

    /// The client of a request: an authenticated user is one, another name is not.
    pub(crate) fn of_request(identity: &Identity, connection: &Self) -> Self {
        match identity {
            Identity::User(user) => Self::User(user.clone()),
            Identity::Anonymous | Identity::Isolated(_) => connection.clone(),
        }
    }
}

/// A client's number in SYN. Numbers are given in the order of arrival and never again.
pub(crate) type ClientNumber = u64;

#[derive(Debug)]
struct Client {
    key: ClientKey,
    open: usize,
    waiting: usize,
}

/// All clients, with the queue pairs that they have and wait for.
#[derive(Debug)]
pub(crate) struct Clients {
    max_flows: usize,
    flows_per_client: Option<usize>,
    numbers: BTreeMap<ClientKey, ClientNumber>,
    clients: BTreeMap<ClientNumber, Client>,
    next: ClientNumber,
    /// Clients that have or wait for a queue pair.
    present: usize,
}

impl Clients {
    pub(crate) fn new(max_flows: u16, limits: &Limits) -> Self {
        Self {
            max_flows: max_flows.into(),
            flows_per_client: limits.flows_per_client.map(usize::from),
            numbers: BTreeMap::new(),
            clients: BTreeMap::new(),
            next: 1,
            present: 0,
        }
    }

    /// The number of a client, the same while it has flows and as long as possible after that.
    pub(crate) fn number(&mut self, key: &ClientKey) -> ClientNumber {
        if let Some(number) = self.numbers.get(key) {
            return *number;
        }
        self.forget_idle();
        let number = self.next;
        self.next += 1;
        self.numbers.insert(key.clone(), number);
        self.clients.insert(number, Client { key: key.clone(), open: 0, waiting: 0 });
        number
    }

    /// Clients that have or wait for a queue pair.
    pub(crate) fn present(&self) -> usize {
        self.present
    }

    /// Queue pairs that a client has.
    pub(crate) fn open(&self, number: ClientNumber) -> usize {
        self.clients.get(&number).map_or(0, |client| client.open)
    }

    /// Flows of a client that wait.
    pub(crate) fn waiting(&self, number: ClientNumber) -> usize {
        self.clients.get(&number).map_or(0, |client| client.waiting)
    }

    /// Whether a client that has or waits for a flow may have one more.
    pub(crate) fn may_open(&self, number: ClientNumber) -> bool {
        self.open(number) < self.bound()
    }

    pub(crate) fn begin_wait(&mut self, number: ClientNumber) {
        self.change(number, |client| client.waiting += 1);
    }

    pub(crate) fn end_wait(&mut self, number: ClientNumber) {
        self.change(number, |client| client.waiting = client.waiting.saturating_sub(1));
    }

    pub(crate) fn begin_flow(&mut self, number: ClientNumber) {
        self.change(number, |client| client.open += 1);
    }

    pub(crate) fn end_flow(&mut self, number: ClientNumber) {
        self.change(number, |client| client.open = client.open.saturating_sub(1));
    }

    /// Nobody has a queue pair any more: there are new queues.
    pub(crate) fn end_all_flows(&mut self) {
        for client in self.clients.values_mut() {
            client.open = 0;
        }
        self.present = self.clients.values().filter(|client| client.waiting > 0).count();
    }

    fn bound(&self) -> usize {
        let fair = if self.present > 1 { self.max_flows / 2 } else { self.max_flows - self.max_flows / RESERVE_SHARE };
        self.flows_per_client.unwrap_or(fair).max(1)
    }

    fn change(&mut self, number: ClientNumber, change: impl FnOnce(&mut Client)) {
        let Some(client) = self.clients.get_mut(&number) else { return };
        let is_present = |client: &Client| client.open + client.waiting > 0;
        let before = is_present(client);
        change(client);
        match (before, is_present(client)) {
            (false, true) => self.present += 1,
            (true, false) => self.present -= 1,
            (false, false) | (true, true) => {}
        }
    }

    fn forget_idle(&mut self) {
        if self.clients.len() - self.present < IDLE_CLIENTS_MAX {
            return;
        }
        // Half of them at once, so that this is rare.
        let idle = self.clients.iter().filter(|(_, client)| client.open + client.waiting == 0);
        let oldest: Vec<ClientNumber> = idle.map(|(number, _)| *number).take(IDLE_CLIENTS_MAX / 2).collect();
        for number in oldest {
            if let Some(client) = self.clients.remove(&number) {
                self.numbers.remove(&client.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clients(max_flows: u16, flows_per_client: Option<u16>) -> Clients {
        Clients::new(max_flows, &Limits { flows_per_client, ..Limits::default() })
    }

    fn key(number: u32) -> ClientKey {
        ClientKey::Ipv4(number.to_be_bytes())
    }

    #[test]
    fn a_client_is_an_address_a_network_or_an_authenticated_user() {
        let of = |text: &str| ClientKey::of_address(text.parse().expect("an address"));
        assert_eq!(of("192.0.2.1:1"), of("192.0.2.1:2"));
        assert_eq!(of("192.0.2.1:1"), of("[::ffff:192.0.2.1]:1"));
        assert_eq!(of("[2001:db8::1]:1"), of("[2001:db8::ffff:1]:1"));
        assert_ne!(of("[2001:db8::1]:1"), of("[2001:db8:0:1::1]:1"));
        let ann = UserName::new(b"ann").expect("a short name");
        let address = of("192.0.2.1:1");
        assert_eq!(ClientKey::of_request(&Identity::Isolated(ann.clone()), &address), address);
        assert_eq!(ClientKey::of_request(&Identity::User(ann.clone()), &address), ClientKey::User(ann));
    }

    #[test]
    fn one_client_alone_leaves_a_reserve_and_two_have_half_each() {
        let mut clients = clients(128, None);
        let first = clients.number(&key(1));
        while clients.may_open(first) {
            clients.begin_flow(first);
        }
        assert_eq!(clients.open(first), 126);
        let second = clients.number(&key(2));
        clients.begin_wait(second);
        assert!(!clients.may_open(first));
        while clients.may_open(second) {
            clients.begin_flow(second);
        }
        assert_eq!(clients.open(second), 64);
    }

    #[test]
    fn a_configured_bound_holds_always() {
        let mut clients = clients(128, Some(2));
        let number = clients.number(&key(1));
        clients.begin_flow(number);
        assert!(clients.may_open(number));
        clients.begin_flow(number);
        assert!(!clients.may_open(number));
    }

    #[test]
    fn numbers_are_stable_for_whoever_has_flows_and_memory_is_bounded() {
        let mut clients = clients(16, None);
        let first = clients.number(&key(0));
        clients.begin_flow(first);
        for other in 1..=3 * IDLE_CLIENTS_MAX as u32 {
            let number = clients.number(&key(other));
            assert_eq!(clients.number(&key(other)), number);
        }
        assert_eq!(clients.number(&key(0)), first);
        assert!(clients.clients.len() <= IDLE_CLIENTS_MAX + 1 && clients.numbers.len() == clients.clients.len());
        clients.end_flow(first);
        assert_eq!(clients.present(), 0);
    }
}
