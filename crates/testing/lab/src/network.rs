//! A provider's network in namespaces: hosts around a router that throttles, blocks, loses or translates.
//!
//! ```text
//!  client ─┐                ┌─ server        every host: IPv4, IPv6, and a routed /64 it answers for
//!          ├─── provider ───┤                every link: a cable (veth), or a line (TUN) with delay and rate
//!  client2 ┘    (rules)     └─ relay
//! ```
//!
//! The names of namespaces are `hwlab-PID-NUMBER-HOST`; the interface of a host is called [`UPLINK`], and the router's
//! towards it `to-HOST`. Nothing reaches the machine's own network. All of it goes with the [`Network`]; what a killed
//! process left behind is removed by the next one that makes a namespace.

mod catalog;
mod line;
mod namespace;
mod rules;
mod throttle;

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, ensure};

pub use catalog::{CATALOG, Entry, find};
pub use line::{Line, LineCounters, LinePlan, LineSide, Way};
pub use namespace::Namespace;
pub use rules::{Chance, Nat, Rule};
pub use throttle::{BURST_BYTES, Begins, FLOW_FORGOTTEN_AFTER, FlowThrottle, Throttle, Tuple};

use rules::Inside;

/// What a host calls its interface.
pub const UPLINK: &str = "uplink";
/// Hosts of one network.
const HOSTS_MAX: usize = 200;
/// Letters of a host's name, so that `to-HOST` is a valid name of an interface.
const NAME_MAX: usize = 12;
/// Packets that wait in front of an interface without a queue of its own.
const QUEUE_PACKETS: u32 = 5000;

/// What packets are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// An address of the loopback.
    pub fn loopback(self, port: u16) -> SocketAddr {
        let host: IpAddr = match self {
            Self::V4 => Ipv4Addr::LOCALHOST.into(),
            Self::V6 => Ipv6Addr::LOCALHOST.into(),
        };
        (host, port).into()
    }

    /// The address of a host.
    pub fn of(self, host: &Host) -> IpAddr {
        match self {
            Self::V4 => host.ipv4().into(),
            Self::V6 => host.ipv6().into(),
        }
    }
}

/// A host that is to be.
#[derive(Clone, Debug, PartialEq)]
pub struct HostPlan {
    /// At most twelve letters, digits and `-`; unique.
    pub name: String,
    /// How it is connected.
    pub link: Link,
    /// Bytes of the largest IP packet on its link, both ways.
    pub mtu: u16,
    /// Whether packets may cross its cable in bundles that are cut apart late (GSO). It is much faster, but then rules
    /// and limits see one large packet where a real provider sees many. A line never has bundles.
    pub has_bundles: bool,
}

/// The connection of a host with the provider.
#[derive(Clone, Debug, PartialEq)]
pub enum Link {
    /// Without delay.
    Cable,
    /// With whatever the plan says.
    Line(Box<LinePlan>),
}

impl HostPlan {
    /// A host at a cable.
    pub fn cable(name: &str) -> Self {
        Self { name: name.to_owned(), link: Link::Cable, mtu: 1500, has_bundles: false }
    }

    /// A host at a line.
    pub fn line(name: &str, plan: LinePlan) -> Self {
        Self { link: Link::Line(Box::new(plan)), ..Self::cable(name) }
    }

    /// The same whose packets may cross the cable in bundles.
    #[must_use]
    pub fn with_bundles(self) -> Self {
        Self { has_bundles: true, ..self }
    }
}

/// A link that forwards no faster than tokens come, after which packets wait (the kernel's `tbf`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenBucket {
    /// Counted in whole Ethernet frames.
    pub bits_per_second: u64,
    /// Bytes sent at once after a pause; at least a packet, and what the rate gives in a timer tick.
    pub burst_bytes: u32,
    /// The longest a packet may wait; what would wait longer is dropped.
    pub wait_max: Duration,
}

impl TokenBucket {
    /// A rate with bursts of 32 kB and a queue of 50 ms.
    pub fn new(bits_per_second: u64) -> Self {
        Self { bits_per_second, burst_bytes: 32 << 10, wait_max: Duration::from_millis(50) }
    }
}

/// A host of a network.
#[derive(Debug)]
pub struct Host {
    line: Option<Line>,
    namespace: Namespace,
    name: String,
    interface_at_provider: String,
    /// 1 for the first host; part of every address.
    number: u8,
    mtu: u16,
}

impl Host {
    /// Its name in the plan.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where its processes run.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Its line, if it has one.
    pub fn line(&self) -> Option<&Line> {
        self.line.as_ref()
    }

    /// Its IPv4 address.
    pub fn ipv4(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, self.number, 2)
    }

    /// Its IPv6 address.
    pub fn ipv6(&self) -> Ipv6Addr {
        Ipv6Addr::new(0xfd77, self.number.into(), 0, 0, 0, 0, 0, 2)
    }

    /// The first address of the /64 that is routed to it. A socket bound to `::` receives on each of
    /// them; one bound to a single one of them needs `IPV6_FREEBIND`.
    pub fn ipv6_prefix(&self) -> Ipv6Addr {
        Ipv6Addr::new(0xfd77, self.number.into(), 1, 0, 0, 0, 0, 0)
    }

    /// The provider's address on its link, which is what others see of a host behind a NAT.
    pub fn gateway_ipv4(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, self.number, 1)
    }

    /// The same in IPv6.
    pub fn gateway_ipv6(&self) -> Ipv6Addr {
        Ipv6Addr::new(0xfd77, self.number.into(), 0, 0, 0, 0, 0, 1)
    }

    /// Takes its interface down, as a person or a suspended machine does: its addresses of IPv6 and all its routes go.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn take_down(&self) -> anyhow::Result<()> {
        self.namespace.set_up(&format!("link set {UPLINK} down\n"))
    }

    /// Brings its interface up, with the same addresses and routes as in the beginning, and waits until it carries
    /// packets.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn bring_up(&self) -> anyhow::Result<()> {
        let (ipv4, ipv6, prefix) = (self.ipv4(), self.ipv6(), self.ipv6_prefix());
        let (gateway_ipv4, gateway_ipv6) = (self.gateway_ipv4(), self.gateway_ipv6());
        self.namespace.set_up(&format!(
            "link set {UPLINK} mtu {} txqueuelen {QUEUE_PACKETS} up\n\
             address replace {ipv4}/24 dev {UPLINK}\n\
             address replace {ipv6}/64 dev {UPLINK} nodad\n\
             route replace default via {gateway_ipv4}\n\
             route replace default via {gateway_ipv6}\n\
             route replace local {prefix}/64 dev lo\n",
            self.mtu
        ))?;
        self.namespace.wait_until_carries(UPLINK)
    }

    /// What the provider's end of its link has, for `ip -batch`.
    fn lines_at_provider(&self) -> String {
        let interface = &self.interface_at_provider;
        format!(
            "link set {interface} mtu {} txqueuelen {QUEUE_PACKETS} up\n\
             address replace {}/24 dev {interface}\n\
             address replace {}/64 dev {interface} nodad\n\
             route replace {}/64 via {}\n",
            self.mtu,
            self.gateway_ipv4(),
            self.gateway_ipv6(),
            self.ipv6_prefix(),
            self.ipv6(),
        )
    }

    fn inside(&self) -> Inside<'_> {
        Inside { interface: &self.interface_at_provider, ipv4: self.ipv4(), ipv6: self.ipv6() }
    }
}

/// Packets that one rule has dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// How many.
    pub packets: u64,
    /// Their bytes, as IP packets.
    pub bytes: u64,
}

/// A provider with its hosts.
#[derive(Debug)]
pub struct Network {
    hosts: Vec<Host>,
    provider: Namespace,
}

impl Network {
    /// Makes the provider and all hosts. The provider forwards everything between them, and has no rules yet.
    ///
    /// # Errors
    /// If this process is not root, a program is missing, or a plan is not valid.
    pub fn start(plans: &[HostPlan]) -> anyhow::Result<Self> {
        ensure!(plans.len() <= HOSTS_MAX, "a network of the lab has at most {HOSTS_MAX} hosts");
        let provider = Namespace::new("provider")?;
        provider.set_kernel(&[("ipv4/ip_forward", "1"), ("ipv6/conf/all/forwarding", "1")])?;
        let mut network = Self { hosts: Vec::new(), provider };
        for plan in plans {
            network.add(plan)?;
        }
        Ok(network)
    }

    /// Adds a host while the network runs.
    ///
    /// # Errors
    /// As [`Network::start`].
    pub fn add(&mut self, plan: &HostPlan) -> anyhow::Result<&Host> {
        let name = &plan.name;
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        ensure!(
            (1..=NAME_MAX).contains(&name.len()) && name.bytes().all(is_plain),
            "`{name}` is no name of a host: at most {NAME_MAX} letters, digits and `-`"
        );
        ensure!(self.hosts.len() < HOSTS_MAX, "a network of the lab has at most {HOSTS_MAX} hosts");
        ensure!(self.hosts.iter().all(|host| host.name != *name), "two hosts are called `{name}`");
        let number = u8::try_from(self.hosts.len() + 1).context("more hosts than addresses")?;
        let namespace = Namespace::new(name)?;
        let interface_at_provider = format!("to-{name}");
        let mut cable = String::new();
        let line = match &plan.link {
            Link::Cable => {
                let bundles = if plan.has_bundles { "" } else { "gso_max_segs 1" };
                cable = format!(
                    "link add name {interface_at_provider} {bundles} type veth peer name {UPLINK} {bundles} netns {}\n",
                    namespace.name()
                );
                None
            }
            Link::Line(line) => {
                let provider = (&self.provider, interface_at_provider.as_str());
                Some(Line::start((&namespace, UPLINK), provider, LinePlan::clone(line))?)
            }
        };
        let host = Host { line, namespace, name: name.clone(), interface_at_provider, number, mtu: plan.mtu };
        self.provider.set_up(&(cable + &host.lines_at_provider()))?;
        host.bring_up()?;
        self.provider.wait_until_carries(&host.interface_at_provider)?;
        self.hosts.push(host);
        self.hosts.last().context("the host was added just before")
    }

    /// A host by its name.
    ///
    /// # Errors
    /// If there is none of that name.
    pub fn host(&self, name: &str) -> anyhow::Result<&Host> {
        let found = self.hosts.iter().find(|host| host.name == name);
        found.with_context(|| format!("the network has no host `{name}`"))
    }

    /// All hosts in the order in which they were added.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// The namespace of the router.
    pub fn provider(&self) -> &Namespace {
        &self.provider
    }

    /// Replaces all rules. What earlier ones knew about flows is forgotten; translations of a NAT stay for flows that
    /// have one.
    ///
    /// # Errors
    /// If a rule names an unknown host, or nftables refuses.
    pub fn set_rules(&self, rules: &[Rule]) -> anyhow::Result<()> {
        let script = rules::script(rules, |name| self.host(name).map(Host::inside))?;
        self.provider.set_rules(&script)
    }

    /// What each rule in force has dropped, in their order.
    ///
    /// # Errors
    /// If nftables cannot be asked.
    pub fn dropped(&self) -> anyhow::Result<Vec<Dropped>> {
        let listed = self.provider.output("nft", &["-j", "list", "counters", "table", "inet", rules::TABLE])?;
        let listed: serde_json::Value = serde_json::from_slice(&listed).context("nft prints JSON")?;
        let counters = listed["nftables"].as_array().context("nft prints a list")?;
        let mut dropped = Vec::new();
        loop {
            let name = rules::counter(dropped.len());
            let found = counters.iter().map(|entry| &entry["counter"]).find(|counter| counter["name"] == name.as_str());
            let Some(counter) = found else { return Ok(dropped) };
            let number = |key: &str| counter[key].as_u64().context("a counter has numbers");
            dropped.push(Dropped { packets: number("packets")?, bytes: number("bytes")? });
        }
    }

    /// Limits one direction of a host's link, or lifts the limit.
    ///
    /// # Errors
    /// If there is no such host, or the kernel refuses.
    pub fn set_rate(&self, host: &str, way: Way, limit: Option<TokenBucket>) -> anyhow::Result<()> {
        let host = self.host(host)?;
        let (namespace, interface) = match way {
            Way::Up => (&host.namespace, UPLINK),
            Way::Down => (&self.provider, host.interface_at_provider.as_str()),
        };
        let mut arguments = vec!["qdisc", "replace", "dev", interface, "root"];
        let (rate, burst, wait);
        match limit {
            None => arguments.push("pfifo"),
            Some(limit) => {
                rate = format!("{}bit", limit.bits_per_second);
                burst = limit.burst_bytes.to_string();
                wait = format!("{}us", limit.wait_max.as_micros());
                arguments.extend(["tbf", "rate", &rate, "burst", &burst, "latency", &wait]);
            }
        }
        namespace.output("tc", &arguments)?;
        Ok(())
    }

    /// How long the provider remembers a UDP flow that is silent, for its NAT; the kernel's own is 30 s, and 120 s once
    /// answers came. In whole seconds.
    ///
    /// # Errors
    /// If the kernel does not track flows, which it begins with the first rule of a NAT.
    pub fn set_nat_memory(&self, time: Duration) -> anyhow::Result<()> {
        let seconds = time.as_secs().to_string();
        let names = ["netfilter/nf_conntrack_udp_timeout", "netfilter/nf_conntrack_udp_timeout_stream"];
        self.provider.set_kernel(&names.map(|name| (name, seconds.as_str())))
    }

    /// What a person needs to use it by hand: each host with its addresses and a command that opens a shell there.
    pub fn describe(&self) -> String {
        let mut text = String::new();
        let enter = |namespace: &Namespace| format!("ip netns exec {} bash", namespace.name());
        for host in &self.hosts {
            let written = writeln!(
                text,
                "{:<12} {:<12} {:<12} {}/64 routed\n{:<12} {}",
                host.name,
                host.ipv4().to_string(),
                host.ipv6().to_string(),
                host.ipv6_prefix(),
                "",
                enter(&host.namespace)
            );
            debug_assert!(written.is_ok(), "writing to a string cannot fail");
        }
        let provider = enter(&self.provider);
        text + &format!(
            "{:<12} forwards between them; `nft list ruleset` shows the rules\n{:<12} {provider}\n",
            "provider", ""
        )
    }
}
