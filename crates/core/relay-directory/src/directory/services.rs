//! Records of services, within the quotas of the members that let them in.

use crate::refusal::Refusal;
use crate::service::{ServiceRecord, SponsoredService};
use identity::NodeId;
use network_document::encoding::{ReadError, Reader, WriteBytes};
use std::collections::BTreeMap;

/// Bytes of records that one member may have let in at a time; a further record is refused.
pub const SPONSOR_BYTES_MAX: usize = 4 << 20;
/// Records that one member may let in during an interval; a further one is refused.
pub const RECORDS_MAX: u32 = 4_096;
/// Records under one key in one interval; a further one is refused.
pub const REVISIONS_MAX: u8 = 4;
/// Of these bytes what a member lets in under keys that the directory does not have yet.
pub const NEW_BYTES_MAX: usize = SPONSOR_BYTES_MAX / 4 * 3;
/// Of [`RECORDS_MAX`] what a member lets in for anybody. The others are for renewals that are due: each key that it has let in before
/// this interval has one.
pub const NEW_RECORDS_MAX: u32 = RECORDS_MAX / 4 * 3;
/// Keys whose records a member has let in and that have not ended; a further key is refused, so that each of these can be renewed within
/// [`RECORDS_MAX`] in any interval, whatever else comes.
pub const KEPT_RECORDS_MAX: u32 = RECORDS_MAX - NEW_RECORDS_MAX - JUDGED_AT_ONCE_MAX;
/// Records that a member may have judged and that the log does not have yet: so far its counts may be behind.
pub const JUDGED_AT_ONCE_MAX: u32 = 64;
/// A member lets in no record that ends later than so many milliseconds ahead of the directory's time: twice what services do by
/// default. A flood is gone after that.
pub const SPONSORED_LIFE_MAX_MS: u64 = 6 * 3_600_000;
/// What a record costs beside its content.
const RECORD_COST_BYTES: usize = 256;
/// Records that a checkpoint may hold: what all members' bytes have room for.
const STORED_MAX: usize = (SPONSOR_BYTES_MAX / RECORD_COST_BYTES) * 2 * network_document::MEMBERS_MAX;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Stored {
    record: ServiceRecord,
    sponsor: NodeId,
    /// Its revisions in this interval.
    revisions: u8,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Account {
    bytes: usize,
    /// Records in this interval.
    records: u32,
    /// Keys whose records stand in it.
    kept: u32,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Services {
    stored: BTreeMap<[u8; 32], Stored>,
    /// Of each member that has let something in.
    accounts: BTreeMap<NodeId, Account>,
}

impl Services {
    pub(super) fn get(&self, key: &[u8; 32]) -> Option<&ServiceRecord> {
        self.stored.get(key).map(|stored| &stored.record)
    }

    /// What a member has let in: records in this interval, and keys and bytes of those that have not ended.
    pub(super) fn let_in(&self, member: &NodeId) -> (u32, u32, usize) {
        self.accounts.get(member).map_or((0, 0, 0), |account| (account.records, account.kept, account.bytes))
    }

    /// Whether this member let in what stands under a key.
    pub(super) fn is_sponsor(&self, key: &[u8; 32], member: &NodeId) -> bool {
        self.stored.get(key).is_some_and(|stored| stored.sponsor == *member)
    }

    /// Whether a record renews, for the first time in this interval and without more bytes, what this member let in before.
    pub(super) fn is_due(&self, record: &ServiceRecord, sponsor: &NodeId) -> bool {
        let known = self.stored.get(&record.key).filter(|known| known.sponsor == *sponsor);
        known.is_some_and(|known| known.revisions == 0 && cost(record) <= cost(&known.record))
    }

    /// What becomes of a member's account and of the key's revisions if it lets a record in now, which may not end after `last_ms`.
    fn judge(
        &self,
        record: &ServiceRecord,
        sponsor: &NodeId,
        now_ms: u64,
        last_ms: u64,
    ) -> Result<(Account, u8), Refusal> {
        if record.expires_ms <= now_ms {
            return Err(Refusal::Expired);
        }
        if record.expires_ms > last_ms {
            return Err(Refusal::Lasting);
        }
        let known = self.stored.get(&record.key);
        if known.is_some_and(|known| known.record.revision >= record.revision) {
            return Err(Refusal::Old);
        }
        let revisions = known.map_or(0, |known| known.revisions);
        if revisions >= REVISIONS_MAX {
            return Err(Refusal::Quota);
        }
        // What it replaces makes room only in the account that it stands in.
        let own = known.filter(|known| known.sponsor == *sponsor);
        let freed = own.map_or(0, |known| cost(&known.record));
        let account = self.accounts.get(sponsor).copied().unwrap_or_default();
        let bytes = account.bytes - freed + cost(record);
        if bytes > SPONSOR_BYTES_MAX || account.records >= RECORDS_MAX {
            return Err(Refusal::SponsorQuota);
        }
        let kept = account.kept + u32::from(own.is_none());
        Ok((Account { bytes, records: account.records + 1, kept }, revisions + 1))
    }

    /// What a member goes by before it sponsors a record: the rules of [`Services::store`], and room for others. A renewal that is due
    /// always has it. It is not enough that a key is known: whoever floods may collect keys for hours, and then say them all again.
    pub(super) fn judge_sponsored(
        &self,
        record: &ServiceRecord,
        sponsor: &NodeId,
        now_ms: u64,
        last_ms: u64,
    ) -> Result<(), Refusal> {
        let (account, _) = self.judge(record, sponsor, now_ms, last_ms)?;
        if self.is_due(record, sponsor) {
            return Ok(());
        }
        let known = self.stored.get(&record.key);
        let is_full = account.records > NEW_RECORDS_MAX
            || (known.is_none() && account.bytes > NEW_BYTES_MAX)
            || (known.is_none_or(|known| known.sponsor != *sponsor) && account.kept > KEPT_RECORDS_MAX);
        if is_full { Err(Refusal::SponsorQuota) } else { Ok(()) }
    }

    /// Stores a record of a member. None may end after `last_ms`.
    pub(super) fn store(&mut self, service: SponsoredService, now_ms: u64, last_ms: u64) -> Result<(), Refusal> {
        let SponsoredService { record, sponsor, .. } = service;
        let (account, revisions) = self.judge(&record, &sponsor, now_ms, last_ms)?;
        self.accounts.insert(sponsor, account);
        let (key, stored) = (record.key, Stored { record, sponsor, revisions });
        if let Some(old) = self.stored.insert(key, stored).filter(|old| old.sponsor != sponsor) {
            self.give_back(&old);
        }
        Ok(())
    }

    /// A new interval. Gives the number of records that have ended.
    pub(super) fn turn(&mut self, now_ms: u64) -> u32 {
        let before = self.stored.len();
        let ended: Vec<[u8; 32]> =
            self.stored.iter().filter(|(_, stored)| stored.record.expires_ms <= now_ms).map(|(key, _)| *key).collect();
        for key in ended {
            if let Some(old) = self.stored.remove(&key) {
                self.give_back(&old);
            }
        }
        self.stored.values_mut().for_each(|stored| stored.revisions = 0);
        self.accounts.values_mut().for_each(|account| account.records = 0);
        self.accounts.retain(|_, account| account.bytes > 0);
        (before - self.stored.len()) as u32
    }

    fn give_back(&mut self, old: &Stored) {
        if let Some(account) = self.accounts.get_mut(&old.sponsor) {
            account.bytes -= cost(&old.record);
            account.kept -= 1;
        }
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.u32(self.stored.len() as u32);
        for stored in self.stored.values() {
            out.raw(&stored.sponsor.0);
            out.u8(stored.revisions);
            stored.record.write(out);
        }
        out.count(self.accounts.len());
        for (sponsor, account) in &self.accounts {
            out.raw(&sponsor.0);
            out.u32(account.records);
        }
    }

    pub(super) fn read(input: &mut Reader<'_>) -> Result<Self, ReadError> {
        let mut services = Self::default();
        let count = input.u32()? as usize;
        if count > STORED_MAX {
            return Err(ReadError::Range);
        }
        for _ in 0..count {
            let (sponsor, revisions) = (NodeId(input.array()?), input.u8()?);
            let record = ServiceRecord::read(input)?;
            let ascending = services.stored.last_key_value().is_none_or(|(last, _)| *last < record.key);
            if !ascending || revisions > REVISIONS_MAX {
                return Err(ReadError::Range);
            }
            let account = services.accounts.entry(sponsor).or_default();
            account.bytes += cost(&record);
            account.kept += 1;
            services.stored.insert(record.key, Stored { record, sponsor, revisions });
        }
        let (listed, mut last) = (usize::from(input.u16()?), None);
        for _ in 0..listed {
            let (sponsor, records) = (NodeId(input.array()?), input.u32()?);
            if last.is_some_and(|last| last >= sponsor) || records > RECORDS_MAX {
                return Err(ReadError::Range);
            }
            last = Some(sponsor);
            services.accounts.entry(sponsor).or_default().records = records;
        }
        // Each account is in the list, also of members that let in nothing in this interval.
        let whole = services.accounts.len() == listed;
        if !whole || services.accounts.values().any(|account| account.bytes > SPONSOR_BYTES_MAX) {
            return Err(ReadError::Range);
        }
        Ok(services)
    }
}

fn cost(record: &ServiceRecord) -> usize {
    record.content.len() + RECORD_COST_BYTES
}
