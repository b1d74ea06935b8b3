//! Ways to the one relay of a path of one hop: from an address of this machine to one of the relay's.

use crate::paths::{Choice, Path};
use crate::refusal::{Cause, Refusal, Remedy};
use crate::relays::Place;
use identity::NodeId;
use rand_chacha::rand_core::Rng;
use std::net::SocketAddr;

/// One way from this machine to a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Way {
    /// Which of this machine's ends, counted from 0.
    pub near: u16,
    /// Which of the relay's addresses.
    pub far: SocketAddr,
}

impl Way {
    /// How many of the two ends it has in common with another way: what ends one of them ends both.
    fn shares(self, other: Self) -> usize {
        usize::from(self.near == other.near) + usize::from(self.far == other.far)
    }
}

/// The ways from this machine to one relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ways {
    all: Vec<Way>,
}

impl Ways {
    /// Every end of this machine with every address of the relay of the same family. `near`: whether each end is one of IPv4.
    pub fn new(near: &[bool], far: &[SocketAddr]) -> Self {
        let ways = (0_u16..).zip(near).flat_map(|(end, ipv4)| {
            let fits = far.iter().filter(|address| address.is_ipv4() == *ipv4);
            fits.map(move |far| Way { near: end, far: *far })
        });
        Self { all: ways.collect() }
    }

    /// How many there are: so many legs of one hop can lead there.
    pub fn count(&self) -> usize {
        self.all.len()
    }

    /// All of them, by the end of this machine, then by the address of the relay.
    pub fn iter(&self) -> impl Iterator<Item = Way> + '_ {
        self.all.iter().copied()
    }

    /// How much a way has in common with those of other legs: less is better.
    pub fn shared(way: Way, used: &[Way]) -> usize {
        used.iter().map(|other| way.shares(*other)).sum()
    }

    /// The way for a further leg: none that is `used`; of the others first those with the least `order`, then those that have least
    /// in common with the ones that are used, then in the order of [`Ways::iter`].
    pub fn best<O: Ord>(&self, used: &[Way], order: impl Fn(Way) -> O) -> Option<Way> {
        let free = self.iter().filter(|way| !used.contains(way));
        free.min_by_key(|way| (order(*way), Self::shared(*way, used)))
    }
}

impl Choice<'_> {
    /// Chooses as [`Choice::paths`] does, for legs of one hop: their exit is one to which there are as many ways as the tunnel has
    /// legs. `ways` counts those to a relay.
    ///
    /// # Errors
    /// As there, and [`Cause::FewWays`].
    pub fn direct_paths(&self, ways: &dyn Fn(&NodeId) -> usize, rng: &mut impl Rng) -> Result<Vec<Path>, Refusal> {
        let needed = usize::from(self.rules.legs());
        let allows = |exit: &NodeId| (self.allows)(exit) && ways(exit) >= needed;
        let chosen = Choice { allows: &allows, ..*self }.paths(rng);
        let Err(Refusal { cause: Cause::NoneAllowed { .. } | Cause::ExitLeft, .. }) = chosen else { return chosen };
        // Another reason stands before this one.
        self.paths(rng)?;
        let exits = self.relays.serving(self.rules.target().place()).map(|exit| self.relays.at(exit).node_id);
        let may = exits.filter(|exit| self.relays.has(exit, Place::Guard) && (self.allows)(exit));
        let found = may.map(|exit| ways(&exit)).max().unwrap_or(0);
        Err(Refusal { cause: Cause::FewWays { found, needed }, remedy: Remedy::MoreWays })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().expect("an address")).collect()
    }

    #[test]
    fn ends_of_one_family_make_ways_and_disjoint_ones_come_first() {
        let far = addresses(&["192.0.2.1:1", "[2001:db8::1]:1", "192.0.2.2:1"]);
        let ways = Ways::new(&[true, false, true], &far);
        assert_eq!(ways.count(), 5, "two of IPv4 with two, one of IPv6 with one");
        let mut used = Vec::new();
        while let Some(way) = ways.best(&used, |_| ()) {
            used.push(way);
        }
        let taken: Vec<(u16, SocketAddr)> = used.iter().map(|way| (way.near, way.far)).collect();
        assert_eq!(taken[..3], [(0, far[0]), (1, far[1]), (2, far[2])], "as long as there are ends that no leg has");
        assert_eq!(used.len(), 5, "then the others, each once");
        assert_eq!(ways.best(&used, |_| ()), None);
    }

    #[test]
    fn what_failed_comes_last_whatever_it_shares() {
        let far = addresses(&["192.0.2.1:1", "192.0.2.2:1"]);
        let ways = Ways::new(&[true, true], &far);
        let used = [Way { near: 0, far: far[0] }];
        let failed = Way { near: 1, far: far[1] };
        assert_eq!(ways.best(&used, |_| ()), Some(failed));
        let other = ways.best(&used, |way| way == failed).expect("a third");
        assert_eq!(Ways::shared(other, &used), 1);
        assert_eq!(Ways::new(&[false], &addresses(&["192.0.2.1:1"])).count(), 0, "nothing leads to another family");
    }
}
