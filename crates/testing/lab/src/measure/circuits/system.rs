//! What is measured: a client of a network with a SOCKS5 port, and the processes that it costs.

use std::net::SocketAddr;

use crate::circuits::{CircuitNet, NetConfig};
use crate::load::{self, Service};
use crate::measure::processes::Watched;
use crate::measure::traffic::Way;
use crate::pair::Role;
use crate::socks::{self, Transfer};
use std::time::Duration;

/// Bytes that no transfer asks for at once.
const SOURCE_BYTES: u64 = 1 << 40;
/// A transfer that is silent for so long has failed.
pub(super) const SILENCE: Duration = Duration::from_secs(60);

/// A client with a network behind it.
pub(super) trait System {
    /// As tables say it.
    fn name(&self) -> &str;
    /// Its SOCKS5 port.
    fn proxy(&self) -> SocketAddr;
    /// Its processes now.
    fn costs(&self) -> anyhow::Result<Costs>;
}

/// The processes of a system.
#[derive(Clone, Debug)]
pub(super) struct Costs {
    pub(super) client: Watched,
    pub(super) relays: Watched,
    pub(super) exits: Watched,
}

/// Processor time in seconds of each kind of process.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Spent {
    pub(super) client: f64,
    /// Of all relays together.
    pub(super) relays: f64,
    pub(super) exits: f64,
}

impl Costs {
    /// Runs something; what it returns, and what it cost.
    pub(super) fn of<T>(&self, work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<(T, Spent)> {
        let all = [&self.client, &self.relays, &self.exits];
        let before = all.map(Watched::cpu_ns);
        let done = work()?;
        let sum = |index: usize| all[index].cpu_since(&before[index]).iter().sum::<f64>();
        Ok((done, Spent { client: sum(0), relays: sum(1), exits: sum(2) }))
    }
}

/// Servers on loopback, in this process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Servers {
    source: SocketAddr,
    sink: SocketAddr,
}

impl Servers {
    pub(super) fn start() -> std::io::Result<Self> {
        let source = load::start(Service::Source { bytes: SOURCE_BYTES })?;
        Ok(Self { source, sink: socks::start_sink()? })
    }

    /// Moves so many bytes through a system, and compares them.
    pub(super) fn transfer(self, system: &dyn System, way: Way, bytes: u64) -> anyhow::Result<Transfer> {
        match way {
            Way::Down => self.download_from(system.proxy(), bytes, |_| {}),
            Way::Up => socks::upload(system.proxy(), self.sink, bytes, SILENCE),
        }
    }

    /// Downloads, and tells after each piece how much has come.
    pub(super) fn download_from(
        self,
        proxy: SocketAddr,
        bytes: u64,
        progress: impl FnMut(u64),
    ) -> anyhow::Result<Transfer> {
        socks::download(proxy, self.source, bytes, SILENCE, progress)
    }
}

/// A network of ours with its name.
pub(super) struct Own {
    pub(super) net: CircuitNet,
    name: String,
}

impl Own {
    pub(super) fn start(config: &NetConfig) -> anyhow::Result<Self> {
        let legs = config.shape.legs;
        let name = format!("Hushwire, {legs} {}", if legs == 1 { "leg" } else { "legs" });
        Ok(Self { net: CircuitNet::start(config)?, name })
    }
}

impl System for Own {
    fn name(&self) -> &str {
        &self.name
    }

    fn proxy(&self) -> SocketAddr {
        self.net.proxy()
    }

    fn costs(&self) -> anyhow::Result<Costs> {
        let (client, exits) = (Watched(self.net.pids(Role::Entry)?), Watched(self.net.pids(Role::Exit)?));
        Ok(Costs { client, relays: Watched(self.net.relay_pids()), exits })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_something_cost_is_told_by_kind() {
        let none = Watched(Vec::new());
        let own = Watched(vec![("me".to_owned(), std::process::id())]);
        let costs = Costs { client: own, relays: none.clone(), exits: none };
        let work = || {
            let begun = std::time::Instant::now();
            let mut sum = 0_u64;
            while begun.elapsed() < Duration::from_millis(50) {
                sum = sum.wrapping_add((0..1_000_u64).sum());
            }
            Ok(sum)
        };
        let (_, spent) = costs.of(work).expect("it adds numbers");
        assert!(spent.client > 0.005 && spent.relays == 0.0, "{spent:?}");
    }
}
