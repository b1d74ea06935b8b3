//! The choice of paths: guards as they come, an exit that suits them, middles that suit both.

mod middles;

use crate::refusal::{Cause, Refusal, Remedy};
use crate::relays::{Place, Relays};
use crate::rules::{PathRules, Relaxation, Target};
use crate::weight::draw;
use identity::NodeId;
use rand_chacha::rand_core::Rng;
use std::collections::BTreeSet;

/// Guards that are looked at beyond the number of new legs, in their order, when the first ones suit no exit. Those behind
/// are left alone: the tunnel is refused.
pub const GUARDS_SPARE_MAX: usize = 2;

/// Names of relays from the client to where the path ends: 1 to 3.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Path {
    hops: Vec<NodeId>,
    target: Target,
}

impl Path {
    /// The hops, the first one first.
    pub fn hops(&self) -> &[NodeId] {
        &self.hops
    }

    /// Next to the client.
    pub fn first(&self) -> NodeId {
        self.hops[0]
    }

    /// The last hop: an exit, unless the rules said another target.
    pub fn exit(&self) -> NodeId {
        self.hops[self.hops.len() - 1]
    }

    /// Between the two, if there is one.
    pub fn middle(&self) -> Option<NodeId> {
        (self.hops.len() > 2).then(|| self.hops[1])
    }

    /// The hops with their places. The only hop of a path is its last one.
    pub fn places(&self) -> impl Iterator<Item = (NodeId, Place)> + '_ {
        let last = self.hops.len() - 1;
        self.hops.iter().enumerate().map(move |(number, node)| {
            let place = if number == last {
                self.target.place()
            } else if number == 0 {
                Place::Guard
            } else {
                Place::Middle
            };
            (*node, place)
        })
    }

    /// True when every hop is in `relays` and may still be where it is.
    pub fn is_in(&self, relays: &Relays) -> bool {
        let door = self.hops.len() > 1 || relays.has(&self.hops[0], Place::Guard);
        let ends = relays.find(&self.exit()).is_some_and(|number| relays.at(number).suits(self.target));
        door && ends && self.places().all(|(node, place)| relays.has(&node, place))
    }
}

/// What is known when paths are chosen.
#[derive(Clone, Copy)]
pub struct Choice<'a> {
    /// Of the present document.
    pub relays: &'a Relays,
    /// What is asked of the paths.
    pub rules: PathRules,
    /// The client's guards that may be used now, the preferred ones first: [`crate::Guards::usable`].
    pub guards: &'a [NodeId],
    /// Which exits serve the purpose. Documents have no exit policies yet; whoever knows more says so here.
    pub allows: &'a dyn Fn(&NodeId) -> bool,
    /// The legs that a tunnel already has; none for a new one.
    pub legs: &'a [Path],
}

/// One exit with guards for it.
struct Candidate {
    /// Places in the order of guards; the last one decides first.
    ranks: Vec<usize>,
    guards: Vec<usize>,
    exit: usize,
}

impl Choice<'_> {
    /// Chooses the paths of the legs that are missing, all to one exit.
    ///
    /// The guards come first: the first ones that suit any exit are taken, and the exit is drawn among those that suit them. So
    /// what is asked for moves nobody to another guard while there is an exit for the first ones. Exit and middles are drawn by
    /// weight.
    ///
    /// # Errors
    /// When the rules cannot be kept; it says which, and what helps.
    pub fn paths(&self, rng: &mut impl Rng) -> Result<Vec<Path>, Refusal> {
        let cause = match self.choose(rng) {
            Ok(paths) => return Ok(paths),
            Err(cause) => cause,
        };
        let all = [Relaxation::SharedMiddles, Relaxation::SharedOperators];
        let mut weaker = all.into_iter().filter(|relaxation| *relaxation > self.rules.relaxation());
        let relax = weaker.find(|relaxation| {
            let relaxed = Choice { rules: self.rules.relaxed(*relaxation), ..*self };
            relaxed.candidates().is_ok()
        });
        let fewer_legs = self.missing() > 1;
        let remedy = match cause {
            Cause::OnlyContacts => Remedy::Fetch,
            Cause::NoExit { .. } | Cause::NoDoor { .. } => Remedy::Grow { fewer_legs: false, relax: None },
            Cause::NoneAllowed { .. } => Remedy::AskOther,
            Cause::FewWays { .. } => Remedy::MoreWays,
            Cause::ExitLeft => Remedy::NewTunnel,
            Cause::FewUsable { .. } => Remedy::Wait { fewer_legs },
            Cause::FewGuards { .. } | Cause::GuardsNearExit { .. } | Cause::FewMiddles { .. } => {
                Remedy::Grow { fewer_legs, relax }
            }
        };
        Err(Refusal { cause, remedy })
    }

    fn choose(&self, rng: &mut impl Rng) -> Result<Vec<Path>, Cause> {
        let candidates = self.candidates()?;
        let target = self.rules.target();
        let best = candidates.iter().map(|each| &each.ranks).min().expect("there are candidates").clone();
        let weighted: Vec<(usize, u64)> = (0..candidates.len())
            .filter(|number| candidates[*number].ranks == best)
            .map(|number| (number, self.relays.at(candidates[number].exit).weight(target.place())))
            .collect();
        let chosen = draw(&weighted, rng).expect("exits have weight");
        let Candidate { guards, exit, .. } = &candidates[chosen];
        let name = |number: usize| self.relays.at(number).node_id;
        let path = |hops: Vec<NodeId>| Path { hops, target };
        let paths = match self.rules.hops() {
            1 => vec![path(vec![name(*exit)]); self.missing()],
            2 => guards.iter().map(|guard| path(vec![name(*guard), name(*exit)])).collect(),
            _ => {
                let middles = self.draw_middles(guards, *exit, rng);
                let three = |(guard, middle): (&usize, usize)| path(vec![name(*guard), name(middle), name(*exit)]);
                guards.iter().zip(middles).map(three).collect()
            }
        };
        Ok(paths)
    }

    fn missing(&self) -> usize {
        if !self.rules.target().is_shared() {
            return 1;
        }
        usize::from(self.rules.legs()).saturating_sub(self.legs.len()).max(1)
    }

    /// Every relay to end at that has guards and middles, with the first guards in their order that suit it; not empty.
    fn candidates(&self) -> Result<Vec<Candidate>, Cause> {
        let exits = self.exits()?;
        if self.rules.hops() == 1 {
            return Ok(exits.into_iter().map(|exit| Candidate { ranks: vec![], guards: vec![], exit }).collect());
        }
        let needed = self.missing();
        let guards = self.free_guards(needed)?;
        let (mut candidates, mut near, mut middles) = (Vec::new(), 0, None::<usize>);
        for exit in exits {
            let suits = |(_, guard): &(usize, usize)| *guard != exit && !self.too_near(*guard, exit);
            let suitable: Vec<(usize, usize)> = guards.iter().copied().enumerate().filter(suits).collect();
            near = near.max(suitable.len());
            if suitable.len() < needed {
                continue;
            }
            let first = &suitable[..suitable.len().min(needed + GUARDS_SPARE_MAX)];
            for ranks in combinations(first.len(), needed) {
                let guards: Vec<usize> = ranks.iter().map(|rank| first[*rank].1).collect();
                let room = if self.rules.hops() == 3 { self.room(&guards, exit) } else { needed };
                if room == needed {
                    let ranks = ranks.iter().rev().map(|rank| first[*rank].0).collect();
                    candidates.push(Candidate { ranks, guards, exit });
                    break;
                }
                middles = middles.max(Some(room));
            }
        }
        match middles {
            _ if !candidates.is_empty() => Ok(candidates),
            Some(found) => Err(Cause::FewMiddles { found, needed, relays: self.relays.count(Place::Middle) }),
            None => Err(Cause::GuardsNearExit { found: near, needed }),
        }
    }

    /// Exits that may be used; not empty.
    fn exits(&self) -> Result<Vec<usize>, Cause> {
        let (target, one_hop) = (self.rules.target(), self.rules.hops() == 1);
        if self.relays.are_contacts && !(one_hop && target == Target::Directory) {
            return Err(Cause::OnlyContacts);
        }
        let ending = self.relays.serving(target.place());
        let all: Vec<usize> = ending.filter(|number| self.relays.at(*number).suits(target)).collect();
        let allowed = |exit: &usize| (self.allows)(&self.relays.at(*exit).node_id);
        if let Some(leg) = self.legs.first().filter(|_| target.is_shared()) {
            let same = self.relays.find(&leg.exit()).filter(|exit| all.contains(exit) && allowed(exit));
            return same.map(|exit| vec![exit]).ok_or(Cause::ExitLeft);
        }
        let count = all.len();
        let taken: BTreeSet<NodeId> = self.taken_ends().collect();
        let allowed = |exit: &usize| allowed(exit) && !taken.contains(&self.relays.at(*exit).node_id);
        if all.is_empty() {
            return Err(Cause::NoExit { target, relays: self.relays.len() });
        }
        let doors: Vec<usize> =
            all.into_iter().filter(|exit| !one_hop || self.relays.at(*exit).serves(Place::Guard)).collect();
        if doors.is_empty() {
            return Err(Cause::NoDoor { target, exits: count });
        }
        let exits: Vec<usize> = doors.into_iter().filter(allowed).collect();
        if exits.is_empty() { Err(Cause::NoneAllowed { exits: count }) } else { Ok(exits) }
    }

    /// The guards that can be used and are on no leg, in their order; at least `needed`.
    fn free_guards(&self, needed: usize) -> Result<Vec<usize>, Cause> {
        let (found, all) = (self.relays.count(Place::Guard), needed + self.legs.len());
        if found < all {
            return Err(Cause::FewGuards { found, needed: all });
        }
        let used: BTreeSet<NodeId> = self.used(self.rules.keeps_middles_apart()).collect();
        let (mut seen, mut guards) = (BTreeSet::new(), Vec::new());
        for guard in self.guards.iter().filter(|guard| !used.contains(*guard)) {
            let number = self.relays.find(guard).filter(|number| self.relays.at(*number).serves(Place::Guard));
            guards.extend(number.filter(|number| seen.insert(*number)));
        }
        let found = guards.len();
        if found < needed { Err(Cause::FewUsable { found, needed }) } else { Ok(guards) }
    }

    /// Relays of the legs that are there: all guards, and if told so the middles and the last hops that they do not share.
    fn used(&self, middles: bool) -> impl Iterator<Item = NodeId> + '_ {
        let guards = self.legs.iter().map(Path::first);
        let ends = self.legs.iter().map(Path::exit).filter(move |_| middles && !self.rules.target().is_shared());
        guards.chain(self.legs.iter().filter_map(move |leg| leg.middle().filter(|_| middles))).chain(ends)
    }

    /// Relays at which no further leg may end, where each leg has an end of its own.
    fn taken_ends(&self) -> impl Iterator<Item = NodeId> + '_ {
        let apart = self.rules.keeps_middles_apart();
        let legs = self.legs.iter().filter(|_| !self.rules.target().is_shared());
        legs.flat_map(move |leg| leg.hops().iter().copied().filter(move |hop| apart || *hop == leg.exit()))
    }

    /// True when two relays may not be on one path for who runs them and where they are.
    fn too_near(&self, one: usize, other: usize) -> bool {
        self.rules.keeps_operators_apart() && self.relays.are_near(one, other)
    }
}

/// All ways to take `take` of `of` places, ascending inside, those that need the fewest places first.
fn combinations(of: usize, take: usize) -> Vec<Vec<usize>> {
    let places = |set: u32| (0..of).filter(move |place| set >> place & 1 == 1).collect::<Vec<_>>();
    // As numbers, sets ascend by their last place, then by the one before.
    (0..1_u32 << of).filter(|set| set.count_ones() as usize == take).map(places).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_guards_come_first() {
        assert_eq!(combinations(3, 2), [vec![0, 1], vec![0, 2], vec![1, 2]]);
        assert_eq!(combinations(2, 2), [vec![0, 1]]);
        assert_eq!(combinations(10, 8).len(), 45);
        assert_eq!(combinations(10, 8)[0], (0..8).collect::<Vec<_>>());
    }
}
