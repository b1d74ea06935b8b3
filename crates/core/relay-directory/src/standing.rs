//! How a directory and its members stand, for whoever looks.

use crate::directory::Directory;
use identity::NodeId;
use network_document::encoding::{ReadError, Reader, WriteBytes};
use network_document::{EditionName, MEMBERS_MAX};

/// How the directory stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// The directory's time, in milliseconds since 1970 UTC.
    pub time_ms: u64,
    /// Index of the newest edition that was made; 0 when there is none.
    pub waiting: u64,
    /// Signatures that it has.
    pub signatures: u8,
    /// The newest edition that enough members signed; before the first, index 0 and the network id.
    pub published: EditionName,
    /// How many members there are.
    pub members: u8,
}

/// How one member stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemberStanding {
    /// Which.
    pub member: NodeId,
    /// Whether it has signed the newest edition that was made.
    pub signed: bool,
    /// The number of its last tick and what it said the time was, in milliseconds since 1970 UTC; `None` when it has said none.
    pub clock: Option<(u64, u64)>,
}

/// How the members stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MembersStanding {
    /// Their term.
    pub term: u64,
    /// How many of them may lie.
    pub liars: u8,
    /// The number that the operators' next order must have.
    pub next_order: u64,
    /// Nodes that are admitted.
    pub admitted: u16,
    /// Those of them that are described.
    pub described: u16,
    /// The members, ascending by name.
    pub members: Vec<MemberStanding>,
}

/// How full of services' records a member is. Anybody may ask, so what it has let in is told in shares only: exact numbers would
/// tell when a service speaks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ServicesStanding {
    /// What it has let in in this interval, in 64ths of [`crate::RECORDS_MAX`], rounded up.
    pub records_64ths: u8,
    /// What it has let in and has not ended, in 64ths of [`crate::SPONSOR_BYTES_MAX`], rounded up.
    pub bytes_64ths: u8,
    /// Keys of these, in 64ths of [`crate::KEPT_RECORDS_MAX`], rounded up.
    pub kept_64ths: u8,
    /// Records that it did not let in, since it started.
    pub refused: u64,
    /// Records that came too fast and were told to come again, since it started.
    pub put_off: u64,
}

/// The most that a share can be.
const SHARE_MAX: u8 = 64;

impl Directory {
    /// How full of records a member is, without what it counts by itself.
    pub fn services_standing(&self, member: &NodeId) -> ServicesStanding {
        let (records, kept, bytes) = self.let_in(member);
        // Nobody lets in more than the bounds, but for what was judged while others were on their way.
        let share = |part: usize, most: usize| (part.min(most) * usize::from(SHARE_MAX)).div_ceil(most) as u8;
        ServicesStanding {
            records_64ths: share(records as usize, crate::RECORDS_MAX as usize),
            bytes_64ths: share(bytes, crate::SPONSOR_BYTES_MAX),
            kept_64ths: share(kept as usize, crate::KEPT_RECORDS_MAX as usize),
            ..ServicesStanding::default()
        }
    }

    /// How the directory stands.
    pub fn standing(&self) -> Standing {
        let pending = self.pending();
        Standing {
            time_ms: self.time_ms(),
            waiting: pending.map_or(0, |edition| edition.edition().index()),
            // A signature is a member's, of whom there are at most 15.
            signatures: pending.map_or(0, |edition| edition.signatures().len() as u8),
            published: self.published_name(),
            members: self.electorate().members().len() as u8,
        }
    }

    /// How the members stand.
    pub fn members_standing(&self) -> MembersStanding {
        let signed =
            |member: &NodeId| self.pending().is_some_and(|edition| edition.signatures().any(|(by, _)| by == *member));
        let member =
            |member: &NodeId| MemberStanding { member: *member, signed: signed(member), clock: self.clock(member) };
        MembersStanding {
            term: self.electorate().term(),
            liars: self.electorate().liars() as u8,
            next_order: self.next_order(),
            admitted: self.admissions() as u16,
            described: self.relays().len() as u16,
            members: self.electorate().members().iter().map(member).collect(),
        }
    }
}

impl Standing {
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.u64(self.time_ms);
        out.u64(self.waiting);
        out.u8(self.signatures);
        out.u64(self.published.index);
        out.raw(&self.published.hash);
        out.u8(self.members);
    }

    pub(crate) fn read(input: &mut Reader<'_>) -> Result<Self, ReadError> {
        Ok(Self {
            time_ms: input.u64()?,
            waiting: input.u64()?,
            signatures: input.u8()?,
            published: EditionName { index: input.u64()?, hash: input.array()? },
            members: input.u8()?,
        })
    }
}

impl MembersStanding {
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.u64(self.term);
        out.u8(self.liars);
        out.u64(self.next_order);
        out.u16(self.admitted);
        out.u16(self.described);
        out.u8(self.members.len() as u8);
        for MemberStanding { member, signed, clock } in &self.members {
            out.raw(&member.0);
            out.u8(u8::from(*signed));
            let (sequence, utc_ms) = clock.unwrap_or_default();
            out.u64(sequence);
            out.u64(utc_ms);
        }
    }

    pub(crate) fn read(input: &mut Reader<'_>) -> Result<Self, ReadError> {
        let (term, liars, next_order) = (input.u64()?, input.u8()?, input.u64()?);
        let (admitted, described) = (input.u16()?, input.u16()?);
        let count = usize::from(input.u8()?);
        if count > MEMBERS_MAX {
            return Err(ReadError::Range);
        }
        let mut members: Vec<MemberStanding> = Vec::new();
        for _ in 0..count {
            let (member, signed) = (NodeId(input.array()?), input.flag()?);
            let clock = (input.u64()?, input.u64()?);
            if members.last().is_some_and(|last| last.member >= member) || (clock.0 == 0 && clock.1 != 0) {
                return Err(ReadError::Range);
            }
            members.push(MemberStanding { member, signed, clock: (clock.0 > 0).then_some(clock) });
        }
        Ok(Self { term, liars, next_order, admitted, described, members })
    }
}

impl ServicesStanding {
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.u8(self.records_64ths);
        out.u8(self.bytes_64ths);
        out.u8(self.kept_64ths);
        out.u64(self.refused);
        out.u64(self.put_off);
    }

    pub(crate) fn read(input: &mut Reader<'_>) -> Result<Self, ReadError> {
        let (records_64ths, bytes_64ths, kept_64ths) = (input.u8()?, input.u8()?, input.u8()?);
        if records_64ths.max(bytes_64ths).max(kept_64ths) > SHARE_MAX {
            return Err(ReadError::Range);
        }
        Ok(Self { records_64ths, bytes_64ths, kept_64ths, refused: input.u64()?, put_off: input.u64()? })
    }
}
