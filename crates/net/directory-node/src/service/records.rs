//! Records of services, which this member sponsors: anybody may bring them, and anybody can make keys, so the bounds are the member's.

use super::Service;
use directory_stream::Bucket;
use identity::{NodeId, NodeSecret};
use relay_directory::{
    CODE_TRY_AGAIN, Command, CommandOutcome, Directory, KEPT_RECORDS_MAX, SPONSORED_LIFE_MAX_MS, ServiceRecord,
    ServicesStanding, SponsoredService,
};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::Instant;

/// Records that one stream may bring at once; a further one is answered with "try again". A service brings two.
pub const RECORDS_AT_ONCE_MAX: u32 = 8;
/// After so many, one in this time.
pub const RECORD_EVERY: Duration = Duration::from_secs(2);
/// Records that all streams together may bring at once; a further one is answered with "try again".
pub const ALL_RECORDS_AT_ONCE_MAX: u32 = 64;
/// After so many, this many in a second.
pub const ALL_RECORDS_A_SECOND: u32 = 16;
/// The same of renewals that are due, each once in an interval: those who renew have a bucket of their own, since keys cost nothing
/// to make, nor to collect.
pub(super) const RENEWALS_AT_ONCE_MAX: u32 = 256;
/// After so many, this many in a second.
pub(super) const RENEWALS_A_SECOND: u32 = 64;
/// Keys that this member has no record of and that it lets in at once; a further one is answered with "try again".
pub(super) const NEW_KEYS_AT_ONCE_MAX: u32 = KEPT_RECORDS_MAX / 4;
/// After so many, one in this time. As many as are left come in while one record can last: keys that are said once and not renewed do not
/// fill the member, however many come, and whoever comes when a flood is over waits for minutes, not until its records have ended.
pub(super) const NEW_KEY_EVERY: Duration = Duration::from_secs(30);
/// Records on their way to the log; a further one is answered with "try again". So most places there are left to others.
pub const SPONSORED_AT_ONCE_MAX: usize = 8;

const MANY_KEYS: &str =
    "more new services than this member takes at a time; try again in a few minutes, or at another directory node";
const TOO_FAST: &str =
    "more records than this member takes at a time; try again in a few seconds, or at another directory node";

/// What one stream may still bring.
pub(crate) struct StreamRecords(Bucket);

impl Default for StreamRecords {
    fn default() -> Self {
        Self(Bucket::new(RECORD_EVERY, RECORDS_AT_ONCE_MAX))
    }
}

/// What the member lets in, and what it counts.
pub(super) struct Records {
    secret: NodeSecret,
    member: NodeId,
    all: Mutex<Bucket>,
    renewals: Mutex<Bucket>,
    new_keys: Mutex<Bucket>,
    room: Semaphore,
    refused: AtomicU64,
    put_off: AtomicU64,
}

impl Records {
    pub(super) fn new(secret: NodeSecret) -> Self {
        let every = Duration::from_secs(1) / ALL_RECORDS_A_SECOND;
        Self {
            member: secret.node_id(),
            secret,
            all: Mutex::new(Bucket::new(every, ALL_RECORDS_AT_ONCE_MAX)),
            renewals: Mutex::new(Bucket::new(Duration::from_secs(1) / RENEWALS_A_SECOND, RENEWALS_AT_ONCE_MAX)),
            new_keys: Mutex::new(Bucket::new(NEW_KEY_EVERY, NEW_KEYS_AT_ONCE_MAX)),
            room: Semaphore::new(SPONSORED_AT_ONCE_MAX),
            refused: AtomicU64::new(0),
            put_off: AtomicU64::new(0),
        }
    }
}

impl Service {
    /// Lets a record in, or says why not.
    pub(super) async fn sponsor(&self, own: &mut StreamRecords, record: ServiceRecord) -> CommandOutcome {
        let outcome = self.bring(own, record).await;
        let count = match outcome.code {
            0 => return outcome,
            CODE_TRY_AGAIN => &self.records.put_off,
            _ => &self.records.refused,
        };
        count.fetch_add(1, Ordering::Relaxed);
        outcome
    }

    async fn bring(&self, own: &mut StreamRecords, record: ServiceRecord) -> CommandOutcome {
        let records = &self.records;
        let now = Instant::now();
        // The stream's own bound first, so that one stream cannot take the room of all. Whether a renewal is due is looked up before the
        // signature is verified: whoever names such a key takes the place of a renewal, and has to know the service for it.
        let is_due = self.directory.look(|directory| directory.is_renewal_due(&record, &records.member));
        let bucket = if is_due { &records.renewals } else { &records.all };
        let fits = own.0.take(now) && bucket.lock().unwrap_or_else(PoisonError::into_inner).take(now);
        let Some(_room) = fits.then(|| records.room.try_acquire().ok()).flatten() else {
            return CommandOutcome::try_again(TOO_FAST);
        };
        let network = self.directory.look(Directory::network_id);
        // Signatures are most of the work.
        let checked = spawn_blocking(move || record.verify(network).map(|()| record)).await;
        let record = match checked {
            Ok(Ok(record)) => record,
            Ok(Err(refusal)) => return refusal.into(),
            Err(_) => return CommandOutcome::try_again("the member could not look at it; try again"),
        };
        let (judged, is_new) = self.directory.look(|directory| {
            (directory.judge_record(&record, &records.member), !directory.is_sponsor(&record.key, &records.member))
        });
        // What is refused anyway takes no place of others.
        if judged.is_ok() && is_new && !records.new_keys.lock().unwrap_or_else(PoisonError::into_inner).take(now) {
            return CommandOutcome::try_again(MANY_KEYS);
        }
        match judged.and_then(|()| SponsoredService::new(network, record, &records.secret)) {
            Ok(service) => self.orders.order(Command::PublishService(Box::new(service)).encode()).await,
            Err(refusal) => refusal.into(),
        }
    }

    pub(super) fn services_standing(&self) -> ServicesStanding {
        let records = &self.records;
        ServicesStanding {
            refused: records.refused.load(Ordering::Relaxed),
            put_off: records.put_off.load(Ordering::Relaxed),
            ..self.directory.look(|directory| directory.services_standing(&records.member))
        }
    }
}

// What a member counts is behind by so many at most, and each renewal that is due has its room all the same.
const _: () =
    assert!(2 * SPONSORED_AT_ONCE_MAX <= relay_directory::JUDGED_AT_ONCE_MAX as usize, "counts may be behind");

// Keys that are said once end before the member is full of them.
const _: () = assert!(
    SPONSORED_LIFE_MAX_MS / 1_000 <= NEW_KEY_EVERY.as_secs() * (KEPT_RECORDS_MAX - NEW_KEYS_AT_ONCE_MAX) as u64,
    "there is room for them"
);

// A queue that is full of records would leave no place for ticks and signatures.
const _: () = assert!(SPONSORED_AT_ONCE_MAX * 4 <= crate::orders::WAITING_MAX, "most places are left to others");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_stream_leaves_room_to_others() {
        let now = Instant::now();
        let (mut own, records) = (StreamRecords::default(), Records::new(NodeSecret::from_seed([1; 32])));
        let mut all = records.all.lock().expect("nobody panics");
        let one = (0..10_000).filter(|_| own.0.take(now) && all.take(now)).count();
        assert_eq!(one, RECORDS_AT_ONCE_MAX as usize);
        let others = (0..10_000).filter(|_| all.take(now)).count();
        assert_eq!(others, (ALL_RECORDS_AT_ONCE_MAX - RECORDS_AT_ONCE_MAX) as usize);
    }

    /// A flood that goes on for as long as its first record lasts has just as many keys by then as the member keeps; one that was over
    /// before has left room long before its records end.
    #[test]
    fn keys_that_are_not_renewed_do_not_fill_a_member() {
        let records = Records::new(NodeSecret::from_seed([1; 32]));
        let mut keys = records.new_keys.lock().expect("nobody panics");
        let begun = Instant::now();
        let mut flood = |at: Instant| (0..10_000).filter(|_| keys.take(at)).count() as u32;
        assert_eq!(flood(begun), NEW_KEYS_AT_ONCE_MAX);
        assert_eq!(flood(begun + 2 * NEW_KEY_EVERY), 2, "a minute later a service finds room");
        let minutes = 2..=SPONSORED_LIFE_MAX_MS / 60_000;
        let later = minutes.map(|minute| flood(begun + Duration::from_secs(60 * minute))).sum::<u32>();
        assert_eq!(NEW_KEYS_AT_ONCE_MAX + 2 + later, KEPT_RECORDS_MAX);
    }
}
