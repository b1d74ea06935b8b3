//! A web server that is a service of the network: a node of its own, which others reach by its address alone.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use admin::status::Status;
use anyhow::Context;
use local_network::Runner;
use serde_json::Value;

use super::OneNetwork;
use super::lines::entry_address;
use crate::pair::status_of;
use crate::socks::Place;

/// Where the links of the service's entry and those of the service come from, among [`entry_address`]es.
pub const ENTRY_OF_SERVICE: u8 = 2;
/// See [`ENTRY_OF_SERVICE`].
pub const SERVICE: u8 = 3;
/// What leaves the entry of the service, which publishes records and nothing else, if it is told.
pub const PUBLISHING_RATE: &str = "2 Mbit/s";
/// The port of a service, as the recipe has it.
const PORT: u16 = 80;
/// How often somebody looks whether introduction points are there.
const LOOK_EVERY: Duration = Duration::from_millis(100);

impl OneNetwork {
    /// A service that leads to a web server. `is_told_apart`: both kinds of its links leave from addresses of their own, have priority for
    /// their schedules, and its entry is no faster than it has to be.
    ///
    /// # Errors
    /// When a command fails.
    pub fn add_service(&mut self, server: SocketAddr, is_told_apart: bool) -> anyhow::Result<Place> {
        let (node, address) = self.recipe.service(self, 0, self.proxy(ENTRY_OF_SERVICE)?, server)?;
        if is_told_apart {
            let bind = |part: &str, number| format!("[{part}.network]\nbind = \"{}:0\"", entry_address(number));
            let first = |part: &str| format!("[{part}.process]\nrealtime = true\n\n[{part}.shaping]");
            let mut words = vec![
                ("[entry.network]".to_owned(), bind("entry", ENTRY_OF_SERVICE)),
                ("[service.network]".to_owned(), bind("service", SERVICE)),
                ("[entry.shaping]".to_owned(), format!("[entry.hops]\ninterval = \"5s..9s\"\n\n{}", first("entry"))),
                ("[service.shaping]".to_owned(), first("service")),
            ];
            if let Some(rate) = &self.recipe.rate {
                let both = |rate: &str| format!("up = {rate:?}\ndown = {rate:?}");
                words.push((both(rate), both(PUBLISHING_RATE)));
            }
            let words: Vec<(&str, &str)> = words.iter().map(|(old, new)| (old.as_str(), new.as_str())).collect();
            self.change(&node.name, &words)?;
        }
        self.start(node, &[])?;
        Ok(Place::named(&address, PORT))
    }

    /// What the service says of itself.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn service_status(&self) -> anyhow::Result<Status> {
        status_of(&self.service_socket()?)
    }

    fn service_socket(&self) -> anyhow::Result<PathBuf> {
        Ok(self.home(&self.services.first().context("there is a service")?.name).join("service.admin"))
    }

    /// Waits until clients can find the service.
    ///
    /// # Errors
    /// When they cannot, in time.
    pub fn until_published(&self) -> anyhow::Result<()> {
        self.until("the service has its points and a record of them", |net| {
            let status = net.service_status()?.services.context("it has services")?;
            Ok(status.list.iter().all(|one| one.published_for_s.is_some() && one.points == one.points_wanted))
        })
    }

    /// The linked legs of an entry's tunnels to services: their relays, the place of the meeting last.
    ///
    /// # Errors
    /// When the entry does not answer.
    pub fn service_legs(&self, entry: usize) -> anyhow::Result<Vec<Vec<String>>> {
        let status = self.entry_status(entry)?;
        let to_services = tunnels(&status).filter(|tunnel| tunnel["held"] == "service");
        Ok(to_services.flat_map(linked_paths).collect())
    }

    /// Waits until an entry's tunnel to the service has so many legs at least.
    ///
    /// # Errors
    /// When it has not, in time.
    pub fn until_met(&self, entry: usize, legs: usize) -> anyhow::Result<()> {
        self.until("an entry has its legs to the service", |net| Ok(net.service_legs(entry)?.len() >= legs))
    }

    /// The guards of the service.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn guards_of_service(&self) -> anyhow::Result<Vec<String>> {
        if self.services.is_empty() {
            return Ok(Vec::new());
        }
        Ok(self.service_status()?.links.into_iter().filter_map(|link| link.node_id).collect())
    }
}

/// All tunnels of an entry's status.
pub fn tunnels(status: &Value) -> impl Iterator<Item = &Value> {
    let circuits = &status["circuits"];
    std::iter::once(circuits).chain(circuits["others"].as_array().into_iter().flatten())
}

/// The paths of the linked legs of a tunnel.
pub fn linked_paths(tunnel: &Value) -> impl Iterator<Item = Vec<String>> + '_ {
    let legs = tunnel["legs"].as_array().into_iter().flatten().filter(|leg| leg["state"] == "linked");
    legs.map(|leg| {
        leg["path"].as_array().into_iter().flatten().filter_map(|id| id.as_str().map(str::to_owned)).collect()
    })
}

/// Counts introduction points that are lost.
#[derive(Debug)]
pub struct PointWatch {
    stop: Arc<AtomicBool>,
    lost: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl PointWatch {
    /// Begins.
    ///
    /// # Errors
    /// When there is no service.
    pub fn start(net: &OneNetwork) -> anyhow::Result<Self> {
        let socket = net.service_socket()?;
        let (stop, lost) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (is_over, count) = (Arc::clone(&stop), Arc::clone(&lost));
        let thread = std::thread::spawn(move || {
            let mut before = None;
            while !is_over.load(Ordering::Relaxed) {
                // A node with much to do may not answer at once.
                let now = status_of(&socket)
                    .ok()
                    .and_then(|status| status.services)
                    .map(|services| services.list.iter().map(|one| one.points).sum::<u64>());
                if let Some((before, now)) = before.zip(now) {
                    count.fetch_add(u64::saturating_sub(before, now), Ordering::Relaxed);
                }
                before = now.or(before);
                std::thread::sleep(LOOK_EVERY);
            }
        });
        Ok(Self { stop, lost, thread: Some(thread) })
    }

    /// How many were lost since.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

impl Drop for PointWatch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panicked thread has shown its message already.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linked_legs_of_all_tunnels_are_found() {
        let leg = |state: &str, path: &[&str]| serde_json::json!({ "state": state, "path": path });
        let status = serde_json::json!({ "circuits": {
            "held": "in use",
            "legs": [leg("linked", &["a", "b"]), leg("building", &["c"])],
            "others": [{ "held": "service", "legs": [leg("linked", &["d"])] }],
        } });
        let found: Vec<Vec<String>> = tunnels(&status).flat_map(linked_paths).collect();
        assert_eq!(found, [vec!["a".to_owned(), "b".to_owned()], vec!["d".to_owned()]]);
    }
}
