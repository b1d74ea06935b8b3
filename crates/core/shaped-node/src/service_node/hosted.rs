//! One service of the node: its state machine, and what is under way for it.

use super::{ServiceNodeError, ServiceSetting};
use crate::circuits::ErrandId;
use crate::exit::{ServedAs, ServicePorts};
use identity::NodeSecret;
use link::Now;
use network_document::NetworkId;
use onion_service::{Day, PointId, Publication, ServiceAddress, ServiceCore};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Records of one service whose answer is awaited. There is one for each of two days; of more, the oldest counts as not taken.
pub const PUBLICATIONS_MAX: usize = 4;

/// A service.
pub(super) struct Hosted {
    pub(super) core: ServiceCore,
    address: ServiceAddress,
    network: NetworkId,
    ports: Arc<ServicePorts>,
    /// The circuits of its introduction points.
    pub(super) points: BTreeMap<PointId, ErrandId>,
    unanswered: VecDeque<Publication>,
    pub(super) points_wanted: usize,
    /// When the last record ends that was taken, in milliseconds since 1970 UTC by the directory's time.
    published_until_ms: Option<u64>,
}

impl Hosted {
    /// `interval`: of the directory that has its records, if the network has one.
    pub(super) fn new(
        now: Now,
        setting: &ServiceSetting,
        interval: Option<Duration>,
        seed: [u8; 32],
    ) -> Result<Self, ServiceNodeError> {
        let mut config = setting.config.clone();
        config.interval = interval.unwrap_or(config.interval);
        Ok(Self {
            core: ServiceCore::new(now.instant, config, seed)?,
            address: setting.address,
            network: setting.config.network,
            ports: Arc::new(setting.ports.clone()),
            points: BTreeMap::new(),
            points_wanted: setting.config.points,
            unanswered: VecDeque::new(),
            published_until_ms: None,
        })
    }

    /// Gives the days that begin their keys. They follow from the address alone.
    pub(super) fn follow_days(&mut self, now: Instant) {
        while let Some(day) = self.core.poll_day_key(now) {
            // An address that is nobody's was made by nobody's secret.
            if let Ok(key) = self.address.day_key(self.network, day) {
                self.core.handle_day_key(now, key);
            }
        }
    }

    pub(super) fn poll_publication(&mut self, now: Instant) -> Option<Publication> {
        let publication = self.core.poll_publish(now)?;
        if self.unanswered.len() >= PUBLICATIONS_MAX
            && let Some(oldest) = self.unanswered.pop_front()
        {
            self.core.handle_published(now, &oldest, false);
        }
        self.unanswered.push_back(publication.clone());
        Some(publication)
    }

    pub(super) fn handle_published(&mut self, now: Instant, day: Day, revision: u64, taken: bool) {
        let is_it = |one: &Publication| one.day == day && one.record.revision == revision;
        let Some(place) = self.unanswered.iter().position(is_it) else { return };
        let Some(publication) = self.unanswered.remove(place) else { return };
        if taken {
            self.published_until_ms = self.published_until_ms.max(Some(publication.record.expires_ms));
        }
        self.core.handle_published(now, &publication, taken);
    }

    /// For how long the directory has a record. None: it has none.
    pub(super) fn published_for(&self, now: Instant) -> Option<Duration> {
        let left_ms = self.published_until_ms?.checked_sub(self.core.directory_ms(now)?)?;
        (left_ms > 0).then_some(Duration::from_millis(left_ms))
    }

    /// As what a client's tunnel is served that comes of an introduction.
    pub(super) fn serve(&self, service: usize, session: NodeSecret) -> ServedAs {
        ServedAs { service, session, ports: Arc::clone(&self.ports) }
    }
}
