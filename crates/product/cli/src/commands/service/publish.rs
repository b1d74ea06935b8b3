//! What the supervisor of services does for their process: it has the lasting secrets, and the way to the directory.

use directory_mirror::{DirectoryTime, PublishError, ServicePublisher, Sources};
use directory_stream::{Open, UnixSource};
use identity::{SIGNATURE_LEN, ServiceSecret};
use network_document::NetworkId;
use node::OrderHandle;
use onion_service::{CONTENT_LEN, DAY_MS, Day, DaySecret, ServiceConfig};
use relay_directory::ServiceRecord;
use serde_json::Value;
use shaped_tunnel::{Ask, Order, PublishAsk};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use thiserror::Error;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// Records that are on their way at a time. A further one counts as not taken, and its service makes another.
const UNDER_WAY_MAX: usize = 32;

/// What the process's clock may be ahead of what the directory said last.
const CLOCK_SLACK_MS: u64 = 600_000;

/// A record that is not signed. The process's fault, or that of somebody who took its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
enum NotSigned {
    #[error("it is of no service of this node")]
    Service,
    #[error("it is no record")]
    Form,
    #[error("it is for another day than there is")]
    Day,
    #[error("it would be good for too long")]
    Lasting,
    #[error("its revision is of a time to come")]
    Revision,
    #[error("it lies under another key than that of its day")]
    Key,
}

/// Answers the process until the node ends.
pub(super) async fn run(
    network: NetworkId,
    directory: &Path,
    secrets: Vec<ServiceSecret>,
    mut asks: mpsc::Receiver<Value>,
    orders: OrderHandle,
) {
    let source = Arc::new(UnixSource::new(directory)) as Arc<dyn Open>;
    let publisher = Rc::new(ServicePublisher::start(network, Sources::new([source])));
    let mut time = publisher.time();
    let mut under_way: JoinSet<(PublishAsk, bool)> = JoinSet::new();
    let local = tokio::task::LocalSet::new();
    local
        .run_until(async {
            loop {
                // All branches are cancel-safe: a change stays noted, a question is taken when returned, as is a task's end.
                tokio::select! {
                    Ok(()) = time.changed() => tell_time(&mut time, &orders),
                    Some(question) = asks.recv() => match serde_json::from_value(question) {
                        Ok(Ask::Time) => tell_time(&mut time, &orders),
                        Ok(Ask::Publish(ask)) => {
                            let now_ms = time.borrow().as_ref().map(DirectoryTime::now_ms);
                            let record = sign(network, &secrets, now_ms, &ask);
                            match record.map_err(|error| tracing::error!("a record is not signed: {error}")) {
                                Ok(record) if under_way.len() < UNDER_WAY_MAX => {
                                    let publisher = Rc::clone(&publisher);
                                    under_way.spawn_local(async move {
                                        let taken = publisher.publish(&record).await;
                                        (ask, taken.map_err(|error| complain(&error)).is_ok())
                                    });
                                }
                                _ => answer(&orders, &ask, false),
                            }
                        }
                        Err(error) => tracing::warn!(%error, "a question of the shaped process cannot be read"),
                    },
                    Some(Ok((ask, taken))) = under_way.join_next() => answer(&orders, &ask, taken),
                }
            }
        })
        .await;
}

/// No service is named.
fn complain(error: &PublishError) {
    tracing::warn!("{error}");
}

fn tell_time(time: &mut watch::Receiver<Option<DirectoryTime>>, orders: &OrderHandle) {
    let ms = time.borrow_and_update().as_ref().map(DirectoryTime::now_ms);
    if let Some(ms) = ms {
        give(orders, &Order::DirectoryTime { ms });
    }
}

fn answer(orders: &OrderHandle, ask: &PublishAsk, taken: bool) {
    let (service, day, revision) = (ask.service, ask.day, ask.revision);
    give(orders, &Order::Published { service, day, revision, taken });
}

/// An order that is lost costs a wait: the process asks again.
fn give(orders: &OrderHandle, order: &Order) {
    let given = serde_json::to_value(order).map_err(|error| error.to_string());
    let given = given.and_then(|order| orders.give(order).map_err(|error| error.to_string()));
    if let Err(error) = given {
        tracing::debug!(%error, "the shaped process is not told");
    }
}

/// Signs what one of the services may say: a record of a day that is near, for no longer than records last.
fn sign(
    network: NetworkId,
    secrets: &[ServiceSecret],
    now_ms: Option<u64>,
    ask: &PublishAsk,
) -> Result<ServiceRecord, NotSigned> {
    let secret = secrets.get(ask.service).ok_or(NotSigned::Service)?;
    if ask.content.len() != CONTENT_LEN {
        return Err(NotSigned::Form);
    }
    let now_ms = now_ms.ok_or(NotSigned::Day)?;
    let day = Day(ask.day);
    if day.0.abs_diff(now_ms / DAY_MS) > 1 {
        return Err(NotSigned::Day);
    }
    // Records of this node last three hours; both clocks go by the same answers of the directory.
    let life_ms = u64::try_from(ServiceConfig::new(network).record_life.as_millis()).unwrap_or(u64::MAX);
    let life_ms = life_ms.saturating_add(CLOCK_SLACK_MS);
    if ask.expires_ms > now_ms.saturating_add(life_ms) || ask.expires_ms > day.closes_ms() {
        return Err(NotSigned::Lasting);
    }
    // A later one than the time would shut out all that follow.
    if ask.revision > now_ms.saturating_add(CLOCK_SLACK_MS) {
        return Err(NotSigned::Revision);
    }
    let secret = DaySecret::new(secret, network, day);
    if secret.public_key() != ask.key {
        return Err(NotSigned::Key);
    }
    let (key, revision, expires_ms) = (ask.key, ask.revision, ask.expires_ms);
    let mut record =
        ServiceRecord { key, revision, expires_ms, content: ask.content.clone(), signature: [0; SIGNATURE_LEN] };
    record.signature = secret.sign(&record.message(network));
    Ok(record)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NETWORK: NetworkId = NetworkId([9; 32]);
    const NOW_MS: u64 = 20_000 * DAY_MS + 1_000;

    #[test]
    fn records_of_near_days_are_signed_and_nothing_else() {
        let secrets = [ServiceSecret::from_seed([1; 32]), ServiceSecret::from_seed([2; 32])];
        let key = |service: usize, day| DaySecret::new(&secrets[service], NETWORK, Day(day)).public_key();
        let good = PublishAsk {
            service: 1,
            day: 20_000,
            key: key(1, 20_000),
            revision: 5,
            expires_ms: NOW_MS + 3_600_000,
            content: vec![7; CONTENT_LEN],
        };
        let try_it = |ask: &PublishAsk| sign(NETWORK, &secrets, Some(NOW_MS), ask);
        let record = try_it(&good).expect("a record as a service makes it");
        assert!(identity::NodeId(record.key).verify(&record.message(NETWORK), &record.signature));
        assert!(try_it(&PublishAsk { day: 19_999, key: key(1, 19_999), ..good.clone() }).is_ok());
        for (ask, why) in [
            (PublishAsk { service: 2, ..good.clone() }, NotSigned::Service),
            (PublishAsk { service: 0, ..good.clone() }, NotSigned::Key),
            (PublishAsk { key: [3; 32], ..good.clone() }, NotSigned::Key),
            (PublishAsk { day: 20_002, key: key(1, 20_002), ..good.clone() }, NotSigned::Day),
            (PublishAsk { day: 20_001, ..good.clone() }, NotSigned::Key),
            (PublishAsk { content: vec![7; CONTENT_LEN + 1], ..good.clone() }, NotSigned::Form),
            (PublishAsk { expires_ms: u64::MAX, ..good.clone() }, NotSigned::Lasting),
            (PublishAsk { expires_ms: NOW_MS + 2 * DAY_MS, ..good.clone() }, NotSigned::Lasting),
        ] {
            assert_eq!(try_it(&ask).err(), Some(why));
        }
        assert_eq!(sign(NETWORK, &secrets, None, &good).err(), Some(NotSigned::Day), "nobody knows the time");
    }
}
