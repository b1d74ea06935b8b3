//! Who agrees on the editions of a directory, and how many of them must.

use crate::error::{DocumentError, Problem};
use crate::lines::{Lines, key, number};
use identity::NodeId;
use std::fmt::Write as _;

/// Members of a directory at least: one alone agrees with nobody, and its operators may as well sign a file.
pub const MEMBERS_MIN: usize = 2;
/// Members of a directory at most; further ones are refused. The replicated log has the same bound.
pub const MEMBERS_MAX: usize = 15;

/// The members of a directory, and how many of them may lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Electorate {
    term: u64,
    members: Vec<NodeId>,
    liars: u8,
}

impl Electorate {
    /// Members in any order. `term` numbers electorates: a later one has a greater one.
    ///
    /// # Errors
    /// [`Problem::Order`] when a member is there twice, [`Problem::Electorate`] when there are too few or too many, or not
    /// three times as many and one more than may lie.
    pub fn new(term: u64, mut members: Vec<NodeId>, liars: u8) -> Result<Self, Problem> {
        members.sort_unstable();
        if members.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(Problem::Order { keyword: "member" });
        }
        let possible = (MEMBERS_MIN..=MEMBERS_MAX).contains(&members.len());
        if !possible || members.len() < 3 * usize::from(liars) + 1 {
            return Err(Problem::Electorate);
        }
        Ok(Self { term, members, liars })
    }

    /// Its number: only greater ones come after it.
    pub fn term(&self) -> u64 {
        self.term
    }

    /// Who they are, in ascending order.
    pub fn members(&self) -> &[NodeId] {
        &self.members
    }

    /// f: how many of them may lie without harm.
    pub fn liars(&self) -> usize {
        usize::from(self.liars)
    }

    /// True for a member.
    pub fn contains(&self, node: &NodeId) -> bool {
        self.members.binary_search(node).is_ok()
    }

    /// k: how many of n must sign, floor((n + f) / 2) + 1. Any two sets of so many share more than f members, so at least
    /// one that does not lie; and as long as no more than n - k are dead, k can sign.
    pub fn quorum(&self) -> usize {
        usize::midpoint(self.members.len(), self.liars()) + 1
    }

    /// How many members must have said the time before it counts: 2 f + 1.
    pub fn ticks_needed(&self) -> usize {
        2 * self.liars() + 1
    }

    /// The lines, as they stand in charters, headers and records.
    pub fn text(&self) -> String {
        let mut text = format!("term {}\n", self.term);
        for member in &self.members {
            let _fits = writeln!(text, "member {member}");
        }
        let _fits = writeln!(text, "liars {}", self.liars);
        text
    }

    /// Reads such lines.
    ///
    /// # Errors
    /// When they are not exactly as [`Electorate::text`] writes them.
    pub fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        let mut lines = Lines::new(bytes)?;
        let electorate = Self::read(&mut lines)?;
        lines.finish()?;
        lines.check_form(0, &electorate.text())?;
        Ok(electorate)
    }

    pub(crate) fn read(lines: &mut Lines<'_>) -> Result<Self, DocumentError> {
        let term = lines.take_number("term")?;
        let mut members: Vec<NodeId> = Vec::new();
        while let Some(value) = lines.take_if("member") {
            let member = key("member", value).map_err(|problem| lines.here(problem))?;
            if members.last().is_some_and(|last| *last >= member) {
                return Err(lines.here(Problem::Order { keyword: "member" }));
            }
            if members.len() >= MEMBERS_MAX {
                return Err(lines.here(Problem::TooMany { keyword: "member", max: MEMBERS_MAX }));
            }
            members.push(member);
        }
        let liars = lines.take("liars")?;
        let liars = number("liars", liars).ok().and_then(|liars| u8::try_from(liars).ok());
        let liars = liars.ok_or_else(|| lines.here(Problem::Electorate))?;
        Self::new(term, members, liars).map_err(|problem| lines.here(problem))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(members: u8, liars: u8) -> Result<Electorate, Problem> {
        Electorate::new(1, (1..=members).map(|number| NodeId([number; 32])).collect(), liars)
    }

    #[test]
    fn two_quorums_share_an_honest_member_and_the_living_are_one() {
        for members in 2..=15_u8 {
            for liars in 0..=(members - 1) / 3 {
                let electorate = of(members, liars).expect("enough members");
                let (n, k, f) = (usize::from(members), electorate.quorum(), usize::from(liars));
                assert!(2 * k - n > f, "{n} members, {f} liars: two sets of {k} share more than the liars");
                assert!(k <= n - f, "{n} members, {f} liars: the honest ones are {k}");
                assert!(electorate.ticks_needed() <= n - f, "the honest ones' clocks suffice");
            }
            assert_eq!(of(members, (members - 1) / 3 + 1), Err(Problem::Electorate));
        }
        assert_eq!([(3, 0), (4, 1), (5, 1), (7, 2)].map(|(n, f)| of(n, f).expect("enough").quorum()), [2, 3, 4, 5]);
    }

    #[test]
    fn lines_survive_a_round_trip() {
        let electorate = of(4, 1).expect("enough members");
        assert_eq!(Electorate::parse(electorate.text().as_bytes()), Ok(electorate.clone()));
        assert!(Electorate::parse(electorate.text().replace("liars 1", "liars 2").as_bytes()).is_err());
        assert!(Electorate::parse(electorate.text().replace("term 1", "term 01").as_bytes()).is_err());
        assert_eq!(of(1, 0), Err(Problem::Electorate));
        assert_eq!(of(16, 0), Err(Problem::Electorate));
        let twice = Electorate::new(1, vec![NodeId([1; 32]); 2], 0);
        assert_eq!(twice, Err(Problem::Order { keyword: "member" }));
    }
}
