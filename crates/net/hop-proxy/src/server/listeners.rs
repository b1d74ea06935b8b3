//! The listening sockets of a server.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr};

use os_net::datagram::{DatagramOptions, DatagramSocket, Departing, Train};
use port_hopping::Pair;
use port_hopping::ports::{PortRange, PortSet};
use rustix::io::Errno;

use super::Way;
use crate::counters::Direction;
use crate::engine::{StartError, look_at_buffers};
use crate::limits::DESCRIPTORS_KEPT;
use crate::outlet::Outlet;
use crate::poller::{Kind, Poller, Token};
use crate::table::{Key, Table};

/// A port that is heard.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) outlet: Outlet,
    address: SocketAddr,
}

impl Listener {
    /// Both ends of what a sender sends here.
    pub(super) fn pair(&self, remote: SocketAddr, local: Option<IpAddr>) -> Pair {
        Pair { local: SocketAddr::new(local.unwrap_or(self.address.ip()), self.address.port()), remote }
    }

    /// Sends trains back to a sender.
    pub(super) fn send(
        &mut self,
        poller: &Poller,
        to: SocketAddr,
        from: Option<IpAddr>,
        trains: &[Train<'_>],
        tally: &mut Direction,
    ) {
        let trains: Vec<_> = trains.iter().map(|train| Departing { to: Some(to), from, train: *train }).collect();
        self.outlet.send(poller, &trains, tally);
    }

    /// Sends the answer to a knock, which counts as nobody's traffic.
    pub(super) fn answer(&mut self, poller: &Poller, to: SocketAddr, from: Option<IpAddr>, answer: &[u8]) {
        self.send(poller, to, from, &[Train::new(answer, 0, 0)], &mut Direction::default());
    }
}

/// All ports that are heard, on all addresses.
#[derive(Debug)]
pub(super) struct Listeners {
    hosts: Vec<IpAddr>,
    options: DatagramOptions,
    table: Table<Listener>,
    by_port: BTreeMap<u16, Vec<Key>>,
    missing: BTreeSet<u16>,
}

impl Listeners {
    pub(super) fn new(hosts: Vec<IpAddr>, options: DatagramOptions) -> Self {
        Self { hosts, options, table: Table::new(), by_port: BTreeMap::new(), missing: BTreeSet::new() }
    }

    /// Opens the ports that a server starts with, as many as `limit` descriptors allow, and says which are missing.
    pub(super) fn open_first(
        &mut self,
        wanted: impl Iterator<Item = u16>,
        limit: u64,
        poller: &Poller,
        all: &PortSet,
    ) -> Result<(), StartError> {
        let room = usize::try_from(limit.saturating_sub(DESCRIPTORS_KEPT)).unwrap_or(usize::MAX);
        let (mut taken, mut left_out) = (BTreeSet::new(), BTreeSet::new());
        let mut last = None;
        for port in wanted {
            // One descriptor at least stays for a flow.
            let full = self.table.len() + self.hosts.len() >= room.max(2);
            let error = if full { Err(Errno::MFILE.into()) } else { self.open(port, poller) };
            if let Err(error) = error {
                let full = error.raw_os_error() == Some(Errno::MFILE.raw_os_error());
                if full {
                    left_out.insert(port)
                } else {
                    taken.insert(port)
                };
                last = Some(error);
            }
        }
        if !taken.is_empty() {
            tracing::warn!(
                ports = %list(&taken),
                "these ports cannot be opened, so what clients send there is lost; are they in use by another program?"
            );
        }
        if !left_out.is_empty() {
            tracing::warn!(
                ports = %list(&left_out),
                open_files = limit,
                "these ports do not fit into the limit of open files and are not heard; raise it (LimitNOFILE), or give \
                 the clients fewer ports"
            );
        }
        self.missing = taken.union(&left_out).copied().collect();
        let Some(source) = last.filter(|_| self.table.len() == 0) else {
            if let Some((_, listener)) = self.table.iter().next() {
                look_at_buffers(listener.outlet.socket());
            }
            return Ok(());
        };
        Err(StartError::NoPort { ports: all.clone(), source })
    }

    /// Opens and closes until exactly these ports are heard; returns those that were closed.
    pub(super) fn reconcile(&mut self, wanted: &BTreeSet<u16>, poller: &Poller) -> Vec<u16> {
        let closed: Vec<u16> = self.by_port.keys().filter(|port| !wanted.contains(port)).copied().collect();
        for port in &closed {
            for key in self.by_port.remove(port).unwrap_or_default() {
                if let Some(listener) = self.table.remove(key) {
                    listener.outlet.close(poller);
                }
            }
        }
        let before = std::mem::take(&mut self.missing);
        for port in wanted {
            if !self.by_port.contains_key(port)
                && let Err(error) = self.open(*port, poller)
            {
                if !before.contains(port) {
                    tracing::warn!(port, %error, "a port of this window cannot be opened");
                }
                self.missing.insert(*port);
            }
        }
        closed
    }

    /// Opens a port on all addresses; one address is enough.
    fn open(&mut self, port: u16, poller: &Poller) -> io::Result<()> {
        let mut failure = None;
        let mut keys = Vec::new();
        for host in &self.hosts {
            let address = SocketAddr::new(*host, port);
            let options = DatagramOptions { local_addresses: host.is_unspecified(), ..self.options };
            let opened = DatagramSocket::bind(address, options).and_then(|socket| {
                self.table.try_insert_with(|key| {
                    let outlet = Outlet::open(socket, Token { kind: Kind::Listener, key }, poller)?;
                    Ok(Listener { outlet, address })
                })
            });
            match opened {
                Ok(key) => keys.push(key),
                Err(error) => failure = Some(error),
            }
        }
        match failure {
            Some(error) if keys.is_empty() => Err(error),
            _ => {
                self.by_port.insert(port, keys);
                Ok(())
            }
        }
    }

    pub(super) fn get(&self, key: Key) -> Option<&Listener> {
        self.table.get(key)
    }

    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut Listener> {
        self.table.get_mut(key)
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    pub(super) fn missing(&self) -> u64 {
        self.missing.len() as u64
    }

    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.table.iter().map(|(_, listener)| listener.address).collect()
    }

    /// The listener of a pair, and how to send on it.
    pub(super) fn way_of(&self, pair: &Pair) -> Option<Way> {
        let keys = self.by_port.get(&pair.local.port())?;
        let of = |key: &Key| self.table.get(*key).map(|listener| (*key, listener.address.ip()));
        let host = pair.local.ip();
        let exact = keys.iter().filter_map(of).find(|(_, bound)| *bound == host);
        let all = keys.iter().filter_map(of).find(|(_, bound)| bound.is_unspecified());
        let (listener, bound) = exact.or(all)?;
        let local = (bound.is_unspecified() && !host.is_unspecified()).then_some(host);
        Some(Way { listener, remote: pair.remote, local })
    }
}

/// Ports in the shortest form.
fn list(ports: &BTreeSet<u16>) -> String {
    let ranges = ports.iter().filter_map(|port| PortRange::new(*port, *port));
    PortSet::from_ranges(ranges).map_or_else(String::new, |set| set.to_string())
}
