//! The service's side: which introduction points it has, which records are out, who is let through.

mod admission;
mod days;
mod figures;
mod points;

pub use admission::{INTRODUCTIONS_PER_POINT_MAX, REPLAYS_MAX};
pub use days::RECORD_LIFE_MAX;
pub use figures::{Figures, IntroductionRefusal};
pub use points::{POINTS_TRACKED_MAX, PointId, PointOrder};

use crate::day::{Day, DayKey};
use crate::descriptor::{AccessKeyError, CLIENTS_MAX, POINTS_MAX, is_usable};
use crate::introduction::{INTRODUCTION_LEN, Meeting, Opened, open};
use admission::Flood;
use days::Days;
use identity::{AccessKey, NodeId, NodeSecret};
use network_document::NetworkId;
use points::Points;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use relay_directory::ServiceRecord;
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use thiserror::Error;

/// Accepted introductions that wait for [`ServiceCore::poll_introduced`]; a further one is refused.
pub const INTRODUCED_MAX: usize = 64;

/// What a service is to be.
#[derive(Debug, Clone)]
pub struct ServiceConfig {
    /// The network, bound to all keys.
    pub network: NetworkId,
    /// Introduction points, 1 to [`POINTS_MAX`]; 3 by default.
    pub points: usize,
    /// Who is let in; empty for everybody who knows the address. At most [`CLIENTS_MAX`].
    pub clients: Vec<AccessKey>,
    /// How long a record is good that is not renewed: three hours by default, at most [`RECORD_LIFE_MAX`]. It is renewed after a
    /// third to a half of it. The directory refuses records that last longer than it allows.
    pub record_life: Duration,
    /// How long an interval of the directory is, in which it takes a few records of a day; ten minutes by default, which is a directory's
    /// default too. No record waits for longer than half of it.
    pub interval: Duration,
    /// Introductions a second of each point; 10 by default. What comes faster is refused once five seconds' worth came at once.
    pub introductions_per_second: u32,
    /// What records offer to clients, in bits whose meaning belongs to the crates above.
    pub features: u32,
}

impl ServiceConfig {
    /// A service for everybody who knows its address.
    pub fn new(network: NetworkId) -> Self {
        Self {
            network,
            points: 3,
            clients: Vec::new(),
            record_life: Duration::from_secs(3 * 3600),
            interval: Duration::from_secs(600),
            introductions_per_second: 10,
            features: 0,
        }
    }
}

/// Why a service cannot be as it is asked to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// None, or too many.
    #[error("a service has 1 to {POINTS_MAX} introduction points, not {found}")]
    Points {
        /// How many were asked for.
        found: usize,
    },
    /// A list that does not fit into a record.
    #[error("{found} access keys are on the list, and a record has room for {CLIENTS_MAX}")]
    Clients {
        /// How many were asked for.
        found: usize,
    },
    /// A key that is none.
    #[error(transparent)]
    AccessKey(#[from] AccessKeyError),
    /// Nobody would be let through, or for no time.
    #[error("a service takes at least one introduction a second, and its records last a minute to a day")]
    Range,
}

/// Somebody who wants to be met, at all of these places: the legs of one tunnel.
#[derive(Debug)]
pub struct Introduced {
    /// One to eight, in the client's order.
    pub meetings: Vec<Meeting>,
    /// What the client wants of what the record offers.
    pub features: u32,
    /// What this end of the session over these meetings authenticates with; the client expects it.
    pub session: NodeSecret,
}

/// A record to be signed with the day's secret key and taken to the directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    /// Whose secret key signs it.
    pub day: Day,
    /// Everything but the signature, for which it has zeros.
    pub record: ServiceRecord,
}

/// A service as a state machine. It holds no lasting key: what signs records stays with whoever makes the keys of the days.
///
/// Fed by `handle_*`; drained, in this order, by [`poll_day_key`](Self::poll_day_key), [`poll_point`](Self::poll_point),
/// [`poll_publish`](Self::poll_publish), [`poll_introduced`](Self::poll_introduced) and
/// [`next_wake`](Self::next_wake). `now` never goes back.
pub struct ServiceCore {
    config: ServiceConfig,
    rng: ChaCha20Rng,
    /// The directory's time, and when it was said.
    clock: Option<(u64, Instant)>,
    points: Points,
    days: Days,
    flood: Flood,
    introduced: VecDeque<Introduced>,
    figures: Figures,
}

impl ServiceCore {
    /// `seed` comes from a cryptographic random source.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn new(now: Instant, config: ServiceConfig, seed: [u8; 32]) -> Result<Self, ConfigError> {
        if !(1..=POINTS_MAX).contains(&config.points) {
            return Err(ConfigError::Points { found: config.points });
        }
        let life = Duration::from_secs(60)..=RECORD_LIFE_MAX;
        if config.introductions_per_second == 0 || !life.contains(&config.record_life) {
            return Err(ConfigError::Range);
        }
        check_clients(&config.clients)?;
        Ok(Self {
            points: Points::new(now, config.points, config.introductions_per_second),
            days: Days::default(),
            flood: Flood::new(now),
            rng: ChaCha20Rng::from_seed(seed),
            clock: None,
            introduced: VecDeque::new(),
            figures: Figures::default(),
            config,
        })
    }

    /// What came and what became of it.
    pub fn figures(&self) -> Figures {
        self.figures
    }

    /// Introduction points that take introductions now.
    pub fn live_points(&self) -> usize {
        self.points.live().count()
    }

    /// When the last record of a day ends that the directory has taken, in milliseconds since 1970 UTC.
    pub fn published_until_ms(&self, day: Day) -> Option<u64> {
        self.days.published_until_ms(day)
    }

    /// Bits of work that the next records ask for.
    pub fn work_bits(&self) -> u8 {
        self.flood.bits()
    }

    /// The directory's time, whenever an edition or a member says it: days, and what records last, go by it.
    pub fn handle_directory_time(&mut self, now: Instant, directory_ms: u64) {
        self.clock = Some((directory_ms, now));
        self.days.turn(directory_ms);
    }

    /// The answer to [`poll_day_key`](Self::poll_day_key). One of a day that is not wanted is dropped.
    pub fn handle_day_key(&mut self, now: Instant, key: DayKey) {
        let Some(directory_ms) = self.directory_ms(now) else { return };
        self.days.add(now, directory_ms, key, &mut self.rng);
    }

    /// An introduction point is there: the relay takes introductions under the name that was ordered.
    pub fn handle_point_open(&mut self, now: Instant, point: PointId, relay: NodeId) {
        if self.points.opened(now, point, relay, &mut self.rng) {
            self.days.changed(now);
        }
    }

    /// An introduction point could not be made, or is lost.
    pub fn handle_point_lost(&mut self, now: Instant, point: PointId) {
        if self.points.lost(now, point, &mut self.rng) {
            self.days.changed(now);
        }
    }

    /// An introduction point is to be replaced while it still takes introductions: its circuit goes a way that is left. Nothing happens
    /// if it is being replaced already.
    pub fn handle_point_leaving(&mut self, now: Instant, point: PointId) {
        self.points.leaving(now, point);
    }

    /// The directory has taken a record, or not.
    pub fn handle_published(&mut self, now: Instant, publication: &Publication, taken: bool) {
        let (day, revision) = (publication.day, publication.record.revision);
        if let Some((named, until_ms)) = self.days.published(now, day, revision, taken) {
            self.points.named(&named, until_ms);
        }
    }

    /// An introduction came over a point. What is accepted waits in [`poll_introduced`](Self::poll_introduced).
    ///
    /// # Errors
    /// [`IntroductionRefusal`]: nothing is answered, it is only counted.
    pub fn handle_introduction(
        &mut self,
        now: Instant,
        point: PointId,
        bytes: &[u8],
    ) -> Result<(), IntroductionRefusal> {
        let outcome = self.admit(now, point, bytes);
        if self.flood.count(now, outcome.as_ref().err() == Some(&IntroductionRefusal::Rate)) {
            self.days.changed(now);
        }
        self.figures.count(&outcome);
        let introduced = outcome?;
        self.introduced.push_back(introduced);
        Ok(())
    }

    /// Lets in these clients and no others from now on; an empty list lets in everybody. Records that are out lead nowhere any more.
    ///
    /// # Errors
    /// [`ConfigError`]; then nothing has changed.
    pub fn set_clients(&mut self, now: Instant, clients: Vec<AccessKey>) -> Result<(), ConfigError> {
        check_clients(&clients)?;
        if clients != self.config.clients {
            self.config.clients = clients;
            self.days.renew_keys(now, &mut self.rng);
        }
        Ok(())
    }

    /// A day whose key is wanted: [`DayKey::new`] with the address's key, blinded. Each is asked for once.
    pub fn poll_day_key(&mut self, now: Instant) -> Option<Day> {
        let directory_ms = self.directory_ms(now)?;
        self.days.turn(directory_ms);
        self.days.wanted(directory_ms)
    }

    /// What is to be done about introduction points.
    pub fn poll_point(&mut self, now: Instant) -> Option<PointOrder> {
        if self.flood.turn(now) {
            self.days.changed(now);
        }
        let directory_ms = self.directory_ms(now);
        if self.points.turn(now, directory_ms, &mut self.rng) {
            self.days.changed(now);
        }
        self.points.poll(now, &mut self.rng)
    }

    /// A record that is due. It is out when [`handle_published`](Self::handle_published) says so.
    pub fn poll_publish(&mut self, now: Instant) -> Option<Publication> {
        let directory_ms = self.directory_ms(now)?;
        let whole = self.points.live().count() >= self.config.points;
        let contents = days::Contents { points: &self.points, config: &self.config, work_bits: self.flood.bits() };
        self.days.poll(now, directory_ms, whole, &contents, &mut self.rng)
    }

    /// The next introduction that was accepted.
    pub fn poll_introduced(&mut self) -> Option<Introduced> {
        self.introduced.pop_front()
    }

    /// When to poll again, if nothing happens before.
    pub fn next_wake(&self, now: Instant) -> Option<Instant> {
        let day = self.clock.map(|(ms, said)| {
            let directory_ms = ms.saturating_add(now.saturating_duration_since(said).as_millis() as u64);
            let half = crate::day::DAY_MS / 2;
            now + Duration::from_millis(half - directory_ms % half)
        });
        let contents = days::Contents { points: &self.points, config: &self.config, work_bits: self.flood.bits() };
        let days = self.days.next_wake(now, &contents);
        let timers = [day, self.points.next_wake(now), days, Some(self.flood.next_wake())];
        timers.into_iter().flatten().min()
    }

    /// By which introductions name the keys of this service, for fuzzing.
    pub(crate) fn key_tags(&self) -> Vec<[u8; 8]> {
        self.days.key_tags()
    }

    /// The directory's time in milliseconds since 1970 UTC, as far as it is known: what was told last, and the time since then.
    pub fn directory_ms(&self, now: Instant) -> Option<u64> {
        let (ms, said) = self.clock?;
        Some(ms.saturating_add(now.saturating_duration_since(said).as_millis() as u64))
    }

    fn admit(&mut self, now: Instant, point: PointId, bytes: &[u8]) -> Result<Introduced, IntroductionRefusal> {
        let point = self.points.get_mut(point).ok_or(IntroductionRefusal::Point)?;
        let introduction: &[u8; INTRODUCTION_LEN] = bytes.try_into().map_err(|_| IntroductionRefusal::Length)?;
        let keys = self.days.named_by(introduction).ok_or(IntroductionRefusal::Keys)?;
        if self.introduced.len() >= INTRODUCED_MAX {
            return Err(IntroductionRefusal::Busy);
        }
        let digest = point.admit(now, introduction, self.flood.bits())?;
        let mut ephemeral = [0; 32];
        self.rng.fill_bytes(&mut ephemeral);
        let context = keys.context(self.config.network);
        let opened = open(&context, point.secret(), keys.kem(), introduction, ephemeral);
        let Opened { features, meetings, session } = opened.ok_or(IntroductionRefusal::Sealed)?;
        // Only what is authentic is remembered: junk fills no memory.
        point.remember(digest);
        if features & !self.config.features != 0 {
            return Err(IntroductionRefusal::Features);
        }
        Ok(Introduced { meetings, features, session })
    }
}

fn check_clients(clients: &[AccessKey]) -> Result<(), ConfigError> {
    if clients.len() > CLIENTS_MAX {
        return Err(ConfigError::Clients { found: clients.len() });
    }
    if clients.iter().all(is_usable) { Ok(()) } else { Err(AccessKeyError.into()) }
}
