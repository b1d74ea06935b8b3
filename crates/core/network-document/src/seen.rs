//! What the relays of one document may not share.

use crate::announcement::Announcement;
use crate::descriptor::Descriptor;
use crate::error::Problem;
use identity::NodeId;
use onion::Interval;
use std::collections::BTreeSet;
use std::net::SocketAddr;

pub(crate) struct Seen {
    interval: Interval,
    relays_max: usize,
    last: Option<NodeId>,
    relays: usize,
    keys: BTreeSet<[u8; 32]>,
    onion_keys: BTreeSet<[u8; 32]>,
    addresses: BTreeSet<SocketAddr>,
}

impl Seen {
    /// Nothing yet, of a document that has at most `relays_max` relays and is for `interval`.
    pub(crate) fn new(interval: Interval, relays_max: usize) -> Self {
        let (keys, onion_keys, addresses) = Default::default();
        Self { interval, relays_max, last: None, relays: 0, keys, onion_keys, addresses }
    }

    pub(crate) fn take(&mut self, relay: &Descriptor) -> Result<(), Problem> {
        if self.last.is_some_and(|last| last >= relay.node_id) {
            return Err(Problem::Order { keyword: "relay" });
        }
        self.last = Some(relay.node_id);
        self.relays += 1;
        if self.relays > self.relays_max {
            return Err(Problem::TooMany { keyword: "relay", max: self.relays_max });
        }
        if relay.onion_key(self.interval).is_none() {
            return Err(Problem::NoOnionKey);
        }
        if !self.keys.insert(relay.link_key.0) {
            return Err(Problem::Shared { keyword: "link-key" });
        }
        if !relay.onion_keys.iter().all(|(_, key)| self.onion_keys.insert(key.0)) {
            return Err(Problem::Shared { keyword: "onion-key" });
        }
        if !relay.addresses.iter().all(|address| self.addresses.insert(*address)) {
            return Err(Problem::Shared { keyword: "address" });
        }
        Ok(())
    }

    pub(crate) fn take_announcement(&mut self, relay: &Announcement) -> Result<(), Problem> {
        self.take(&relay.descriptor)?;
        match relay.next_link_key {
            Some(key) if !self.keys.insert(key.0) => Err(Problem::Shared { keyword: "next-link-key" }),
            _ => Ok(()),
        }
    }
}
