//! Which relay has which key and address: no two have the same.

use crate::refusal::Refusal;
use identity::NodeId;
use network_document::Announcement;
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// Three lists that follow from the relays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Claims {
    link_keys: BTreeMap<[u8; 32], NodeId>,
    onion_keys: BTreeMap<[u8; 32], NodeId>,
    addresses: BTreeMap<SocketAddr, NodeId>,
}

impl Claims {
    /// Whether a relay may have what it says it has.
    pub(super) fn check(&self, said: &Announcement) -> Result<(), Refusal> {
        let node = said.node_id();
        let free = |owner: Option<&NodeId>| owner.is_none_or(|owner| *owner == node);
        let relay = &said.descriptor;
        let keys_free = said.link_keys().all(|key| free(self.link_keys.get(&key.0)))
            && relay.onion_keys.iter().all(|(_, key)| free(self.onion_keys.get(&key.0)));
        // Two keys of one relay that are the same would be one key of two intervals.
        let distinct = relay.onion_keys.windows(2).all(|pair| pair[0].1 != pair[1].1);
        if !keys_free || !distinct {
            return Err(Refusal::SharedKey);
        }
        let free = relay.addresses.iter().all(|address| free(self.addresses.get(address)));
        if free { Ok(()) } else { Err(Refusal::SharedAddress) }
    }

    pub(super) fn take(&mut self, said: &Announcement) {
        let node = said.node_id();
        self.link_keys.extend(said.link_keys().map(|key| (key.0, node)));
        self.onion_keys.extend(said.descriptor.onion_keys.iter().map(|(_, key)| (key.0, node)));
        self.addresses.extend(said.descriptor.addresses.iter().map(|address| (*address, node)));
    }

    pub(super) fn free(&mut self, said: &Announcement) {
        for key in said.link_keys() {
            self.link_keys.remove(&key.0);
        }
        for (_, key) in &said.descriptor.onion_keys {
            self.onion_keys.remove(&key.0);
        }
        for address in &said.descriptor.addresses {
            self.addresses.remove(address);
        }
    }
}
