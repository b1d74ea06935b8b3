//! The relays of a document as choosing needs them: by number, with weights, and with who is near to whom.

use crate::rules::Target;
use crate::weight;
use identity::NodeId;
use network_document::{Descriptor, Label, NetworkDocument, Roles, Subnet};
use std::collections::{BTreeMap, BTreeSet};

/// The place of a relay on a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Next to the client.
    Guard,
    /// Between the two others.
    Middle,
    /// The last one, which reaches what is outside of the network.
    Exit,
    /// The last one, which answers directory streams.
    Directory,
}

/// Relays to choose from, ascending by name.
#[derive(Debug, Clone)]
pub struct Relays {
    relays: Vec<Relay>,
    /// An invitation's: good for one hop to the directory.
    pub(crate) are_contacts: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Relay {
    pub(crate) node_id: NodeId,
    pub(crate) roles: Roles,
    /// Relays with the same number are one operator's.
    pub(crate) operator: usize,
    pub(crate) subnets: BTreeSet<Subnet>,
    /// Its share of draws for a guard, a middle, an exit, a directory; 0 without the role.
    weights: [u64; 4],
}

impl Relays {
    /// All relays of a document.
    pub fn new(document: &NetworkDocument) -> Self {
        Self { are_contacts: document.is_of_contacts(), ..Self::from_descriptors(document.relays()) }
    }

    /// Relays that somebody else vouches for, as in a simulation. Of several with one name the last one counts.
    pub fn from_descriptors<'a>(descriptors: impl IntoIterator<Item = &'a Descriptor>) -> Self {
        let by_name: BTreeMap<NodeId, &Descriptor> = descriptors.into_iter().map(|each| (each.node_id, each)).collect();
        let labels: BTreeSet<&Label> = by_name.values().map(|relay| &relay.operator).collect();
        let numbers: BTreeMap<&Label, usize> = labels.into_iter().zip(0..).collect();
        let rated: Vec<weight::Rated> = by_name
            .values()
            .map(|relay| weight::Rated {
                roles: relay.roles,
                operator: numbers[&relay.operator],
                bits_per_second: relay.bandwidth.bits_per_second(),
            })
            .collect();
        let places = [Place::Guard, Place::Middle, Place::Exit, Place::Directory];
        let weights = places.map(|place| weight::weights(&rated, place));
        let relays = by_name.values().enumerate().map(|(number, relay)| Relay {
            node_id: relay.node_id,
            roles: relay.roles,
            operator: rated[number].operator,
            subnets: relay.subnets().collect(),
            weights: std::array::from_fn(|place| weights[place][number]),
        });
        Self { relays: relays.collect(), are_contacts: false }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.relays.len()
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.relays.is_empty()
    }

    /// True when a relay is there and may be in this place.
    pub fn has(&self, node: &NodeId, place: Place) -> bool {
        self.find(node).is_some_and(|number| self.relays[number].serves(place))
    }

    /// How many may be in this place.
    pub fn count(&self, place: Place) -> usize {
        self.serving(place).count()
    }

    /// The part of all draws for a place that falls on this relay, 0 to 1, where nothing else decides.
    pub fn share(&self, node: &NodeId, place: Place) -> f64 {
        let total: u64 = self.relays.iter().map(|relay| relay.weight(place)).sum();
        let own = self.find(node).map_or(0, |number| self.relays[number].weight(place));
        if total == 0 { 0.0 } else { own as f64 / total as f64 }
    }

    pub(crate) fn find(&self, node: &NodeId) -> Option<usize> {
        self.relays.binary_search_by_key(node, |relay| relay.node_id).ok()
    }

    pub(crate) fn at(&self, number: usize) -> &Relay {
        &self.relays[number]
    }

    pub(crate) fn serving(&self, place: Place) -> impl Iterator<Item = usize> + '_ {
        (0..self.relays.len()).filter(move |number| self.relays[*number].serves(place))
    }

    /// True when two relays are run by one operator or stand in one subnet.
    pub(crate) fn are_near(&self, one: usize, other: usize) -> bool {
        let (one, other) = (&self.relays[one], &self.relays[other]);
        one.operator == other.operator || !one.subnets.is_disjoint(&other.subnets)
    }
}

impl Relay {
    pub(crate) fn serves(&self, place: Place) -> bool {
        serves(self.roles, place)
    }

    /// True when paths may end at it.
    pub(crate) fn suits(&self, target: Target) -> bool {
        target.places().iter().all(|place| self.serves(*place))
    }

    pub(crate) fn weight(&self, place: Place) -> u64 {
        match place {
            Place::Guard => self.weights[0],
            Place::Middle => self.weights[1],
            Place::Exit => self.weights[2],
            Place::Directory => self.weights[3],
        }
    }
}

pub(crate) fn serves(roles: Roles, place: Place) -> bool {
    match place {
        Place::Guard => roles.guard,
        Place::Middle => roles.middle,
        Place::Exit => roles.exit,
        Place::Directory => roles.directory,
    }
}
