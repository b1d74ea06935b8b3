//! Networks with names, for use by hand and as common ground of measurements.

use std::time::Duration;

use anyhow::Context;
use simnet::{Loss, Path, Seed};

use super::{Chance, FlowThrottle, HostPlan, LinePlan, Nat, Network, Rule};

/// Bits per second of the lines here, unless their description says otherwise.
const RATE: u64 = 50_000_000;
/// What a throttled flow has.
const SLOW: u64 = 1_000_000;
/// Bytes in front of a line: 50 ms at its rate.
const QUEUE_BYTES: usize = 312_500;

/// A network with a name.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// What it is asked for by.
    pub name: &'static str,
    /// What it does, in half a sentence.
    pub about: &'static str,
    start: fn() -> anyhow::Result<Network>,
}

impl Entry {
    /// Makes it.
    ///
    /// # Errors
    /// As [`Network::start`].
    pub fn start(&self) -> anyhow::Result<Network> {
        (self.start)()
    }
}

/// All of them. Each has at least the hosts `client` and `server`; the client is at a line of 50 Mbit/s and 20 ms
/// round trip unless it says otherwise.
pub const CATALOG: [Entry; 11] = [
    Entry { name: "plain", about: "nothing is done to packets", start: || near(&[]) },
    Entry {
        name: "throttle-time",
        about: "each UDP flow has 1 Mbit/s from its fourth second on",
        start: || near(&[Rule::Throttle(FlowThrottle::after_time(Duration::from_secs(3), SLOW))]),
    },
    Entry {
        name: "throttle-bytes",
        about: "each UDP flow has 1 Mbit/s after 5 MB",
        start: || near(&[Rule::Throttle(FlowThrottle::after_bytes(5_000_000, SLOW))]),
    },
    Entry {
        name: "blocked-ports",
        about: "UDP to the ports 20000 to 34999 vanishes",
        start: || near(&[Rule::BlockPorts(vec![20_000..=34_999])]),
    },
    Entry {
        name: "port-volume",
        about: "after 1 MB to one port of an address, that port is dead for 20 s",
        start: || near(&[Rule::BlockAfter { bytes: 1_000_000, dead_for: Duration::from_secs(20) }]),
    },
    Entry {
        name: "lossy",
        about: "1.5 % of all packets vanish, repeatably",
        start: || client_at(symmetric(10, Loss::Independent(0.015)), &[]),
    },
    Entry {
        name: "lossy-cable",
        about: "no delay, no rate, 1.5 % of all packets vanish",
        start: || {
            let chance = Chance::of_a_million(15_000).context("it is less than a million")?;
            start(&[HostPlan::cable("client"), HostPlan::cable("server")], &[Rule::Loss(chance)])
        },
    },
    Entry {
        name: "nat-symmetric",
        about: "the client is behind a NAT with another port for each destination",
        start: || near(&[client_behind(Nat::Symmetric)]),
    },
    Entry {
        name: "nat-preserving",
        about: "the client is behind a NAT that keeps its ports",
        start: || near(&[client_behind(Nat::PortPreserving)]),
    },
    Entry { name: "far", about: "150 ms round trip", start: || client_at(symmetric(75, Loss::Never), &[]) },
    Entry {
        name: "relays",
        about: "two clients (one of them 10 Mbit/s up, 40 ms up and 10 ms down), three relays and a server",
        start: || {
            let slow = Path::with_delay(Duration::from_millis(40)).with_rate(10_000_000, QUEUE_BYTES);
            let uneven = LinePlan::new(slow, path(10, Loss::Never));
            let cables = ["relay1", "relay2", "relay3", "server"].map(HostPlan::cable);
            let clients = [HostPlan::line("client", symmetric(10, Loss::Never)), HostPlan::line("client2", uneven)];
            start(&[&clients[..], &cables[..]].concat(), &[])
        },
    },
];

/// The entry of a name.
///
/// # Errors
/// If there is none; with all names.
pub fn find(name: &str) -> anyhow::Result<&'static Entry> {
    let names = || CATALOG.map(|entry| entry.name).join(", ");
    CATALOG
        .iter()
        .find(|entry| entry.name == name)
        .with_context(|| format!("no network of the lab is called `{name}`; the names are: {}", names()))
}

fn near(rules: &[Rule]) -> anyhow::Result<Network> {
    client_at(symmetric(10, Loss::Never), rules)
}

fn client_at(line: LinePlan, rules: &[Rule]) -> anyhow::Result<Network> {
    start(&[HostPlan::line("client", line), HostPlan::cable("server")], rules)
}

fn start(plans: &[HostPlan], rules: &[Rule]) -> anyhow::Result<Network> {
    let network = Network::start(plans)?;
    network.set_rules(rules)?;
    Ok(network)
}

fn symmetric(delay_ms: u64, loss: Loss) -> LinePlan {
    let plan = LinePlan::symmetric(path(delay_ms, loss));
    LinePlan { seed: Seed::new(1).or_environment(), ..plan }
}

fn path(delay_ms: u64, loss: Loss) -> Path {
    Path::with_delay(Duration::from_millis(delay_ms)).with_rate(RATE, QUEUE_BYTES).with_loss(loss)
}

fn client_behind(kind: Nat) -> Rule {
    Rule::Nat { kind, inside: vec!["client".to_owned()] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_unknown_ones_are_answered_with_all() {
        let mut names = CATALOG.map(|entry| entry.name);
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
        let error = find("nonsense").expect_err("there is none").to_string();
        assert!(names.iter().all(|name| error.contains(name)), "{error}");
    }

    #[test]
    fn every_network_can_be_made_and_carries_its_hosts() -> anyhow::Result<()> {
        for entry in CATALOG {
            let network = entry.start().with_context(|| entry.name)?;
            network.host("client")?;
            network.host("server")?;
            assert!(network.describe().contains("10.77.1.2"));
        }
        Ok(())
    }
}
