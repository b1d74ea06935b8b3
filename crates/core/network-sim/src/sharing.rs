//! Who gets how much of relays that several want: max-min fair between legs, each bounded by all relays on its way and by what
//! its tunnel wants.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// A leg that wants to carry: its three relays, and the tunnel that it is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Way {
    /// Numbers of relays.
    pub(crate) relays: [u32; 3],
    /// Place of its tunnel among those that share.
    pub(crate) tunnel: u32,
}

/// Something that is shared, and the level to which its users can rise together.
#[derive(Debug, Clone, Copy)]
struct Level {
    rate: f64,
    resource: u32,
}

impl PartialEq for Level {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Level {}

impl PartialOrd for Level {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Level {
    /// The lowest first, as a heap gives the greatest.
    fn cmp(&self, other: &Self) -> Ordering {
        other.rate.total_cmp(&self.rate).then(other.resource.cmp(&self.resource))
    }
}

/// Shares, with room that is used again in each step.
#[derive(Debug, Default)]
pub(crate) struct Sharing {
    free: Vec<f64>,
    users: Vec<u32>,
    /// Where the users of each resource begin in `of`.
    begins: Vec<u32>,
    of: Vec<u32>,
    rates: Vec<f64>,
}

/// Marks a way whose rate is not known yet.
const OPEN: f64 = -1.0;

impl Sharing {
    /// The rate of each way. Relays have `capacities`, tunnels want `demands`; both in the unit of the result.
    ///
    /// Everybody's rate rises at the same pace until something is full; those who use it stay there, the others go on.
    pub(crate) fn share(&mut self, capacities: &[f64], demands: &[f64], ways: &[Way]) -> &[f64] {
        let relays = capacities.len() as u32;
        let resources = |way: &Way| [way.relays[0], way.relays[1], way.relays[2], relays + way.tunnel];
        self.free.clear();
        self.free.extend(capacities);
        self.free.extend(demands);
        self.list(ways, resources);
        self.rates.clear();
        self.rates.resize(ways.len(), OPEN);
        let level = |resource: usize, free: &[f64], users: &[u32]| Level {
            rate: free[resource].max(0.0) / f64::from(users[resource]),
            resource: resource as u32,
        };
        let used = (0..self.free.len()).filter(|resource| self.users[*resource] > 0);
        let mut heap: BinaryHeap<Level> = used.map(|resource| level(resource, &self.free, &self.users)).collect();
        while let Some(lowest) = heap.pop() {
            let resource = lowest.resource as usize;
            if self.users[resource] == 0 {
                continue;
            }
            // Its level may have risen since, as others stopped below it.
            let now = level(resource, &self.free, &self.users);
            if now.rate > lowest.rate {
                heap.push(now);
                continue;
            }
            for place in self.begins[resource]..self.begins[resource + 1] {
                let way = self.of[place as usize] as usize;
                if self.rates[way] == OPEN {
                    self.rates[way] = now.rate;
                    for other in resources(&ways[way]) {
                        self.free[other as usize] -= now.rate;
                        self.users[other as usize] -= 1;
                    }
                }
            }
        }
        &self.rates
    }

    /// Who uses what.
    fn list(&mut self, ways: &[Way], resources: impl Fn(&Way) -> [u32; 4]) {
        self.users.clear();
        self.users.resize(self.free.len(), 0);
        for resource in ways.iter().flat_map(&resources) {
            self.users[resource as usize] += 1;
        }
        self.begins.clear();
        let mut sum = 0;
        for users in &self.users {
            self.begins.push(sum);
            sum += users;
        }
        self.begins.push(sum);
        self.of.clear();
        self.of.resize(sum as usize, 0);
        let mut next = self.begins.clone();
        for (number, way) in ways.iter().enumerate() {
            for resource in resources(way) {
                let place = &mut next[resource as usize];
                self.of[*place as usize] = number as u32;
                *place += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shaping_sim::Draws;

    fn way(relays: [u32; 3], tunnel: u32) -> Way {
        Way { relays, tunnel }
    }

    #[test]
    fn what_one_cannot_use_the_others_get() {
        // Relay 2 is shared by all; the first leg is held back by relay 0, the second one's tunnel wants little.
        let ways = [way([0, 1, 2], 0), way([3, 4, 2], 1), way([5, 6, 2], 2)];
        let capacities = [10.0, 1e3, 100.0, 1e3, 1e3, 1e3, 1e3];
        let mut sharing = Sharing::default();
        assert_eq!(sharing.share(&capacities, &[1e3, 20.0, 1e3], &ways), [10.0, 20.0, 70.0]);
        assert_eq!(sharing.share(&capacities, &[0.0, 0.0, 1e3], &ways), [0.0, 0.0, 100.0]);
    }

    #[test]
    fn the_legs_of_a_tunnel_share_what_it_wants() {
        let ways = [way([0, 1, 4], 0), way([2, 3, 4], 0)];
        let mut sharing = Sharing::default();
        assert_eq!(sharing.share(&[5.0, 50.0, 50.0, 50.0, 50.0], &[30.0], &ways), [5.0, 25.0]);
        assert_eq!(sharing.share(&[50.0; 5], &[30.0], &ways), [15.0, 15.0]);
        assert_eq!(sharing.share(&[50.0; 5], &[80.0], &ways), [25.0, 25.0]);
    }

    /// The definition: nothing is overfull, and each way has a resource that is full on which nobody has more.
    #[test]
    fn shares_are_max_min_fair() {
        for seed in 0..40 {
            let mut draws = Draws::new(seed, 0);
            let capacities: Vec<f64> = (0..12).map(|_| draws.unit() * 100.0).collect();
            let demands: Vec<f64> = (0..15).map(|_| draws.unit() * 60.0).collect();
            let mut ways = Vec::new();
            for tunnel in 0..15 {
                for _ in 0..2 {
                    let first = draws.between(0, 11) as u32;
                    ways.push(way([first, (first + 1 + draws.between(0, 4) as u32) % 12, (first + 7) % 12], tunnel));
                }
            }
            let mut sharing = Sharing::default();
            let rates = sharing.share(&capacities, &demands, &ways).to_vec();
            let all: Vec<f64> = capacities.iter().chain(&demands).copied().collect();
            let of = |resource: u32| {
                let uses = move |way: &Way| way.relays.contains(&resource) || 12 + way.tunnel == resource;
                ways.iter().zip(&rates).filter(move |(way, _)| uses(way)).map(|(_, rate)| *rate).collect::<Vec<_>>()
            };
            for (resource, capacity) in all.iter().enumerate() {
                assert!(of(resource as u32).iter().sum::<f64>() <= capacity + 1e-9, "seed {seed}");
            }
            for (way, rate) in ways.iter().zip(&rates) {
                let holds = |resource: u32| {
                    let rates = of(resource);
                    let full = rates.iter().sum::<f64>() >= all[resource as usize] - 1e-9;
                    full && rates.iter().all(|other| *other <= rate + 1e-9)
                };
                assert!(way.relays.into_iter().chain([12 + way.tunnel]).any(holds), "seed {seed}: {way:?}");
            }
        }
    }
}
