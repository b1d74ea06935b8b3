//! What a relay says about itself, signed by itself.

use crate::charter::NetworkId;
use crate::error::{DocumentError, Problem};
use crate::label::Label;
use crate::lines::{Lines, hex, key, number};
use crate::roles::Roles;
use crate::subnet::Subnet;
use identity::{DoorKey, LinkKey, NodeId, NodeSecret, OnionKey, SIGNATURE_LEN};
use onion::Interval;
use port_hopping::ports::PortSet;
use shaping::RateClass;
use std::fmt;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

/// Addresses of a relay at most; further ones are refused.
pub const ADDRESSES_MAX: usize = 8;
/// Onion keys of a relay at most: of the document's interval and of the next one. Further ones are refused.
pub const ONION_KEYS_MAX: usize = 2;
/// Separate ranges of hop ports at most; more are refused.
pub const HOP_RANGES_MAX: usize = 32;
/// What is signed before the lines.
const SIGNATURE_CONTEXT: &[u8] = b"hushwire relay descriptor 1";

/// A relay, as whoever uses it has to know it.
#[derive(Clone, PartialEq, Eq)]
pub struct Descriptor {
    /// Its name.
    pub node_id: NodeId,
    /// The static key of its links.
    pub link_key: LinkKey,
    /// What its door wants strangers to know.
    pub door_key: DoorKey,
    /// The keys of its hop handshakes, by interval, ascending: 1 to [`ONION_KEYS_MAX`].
    pub onion_keys: Vec<(Interval, OnionKey)>,
    /// Where its door is, the first one preferred: 1 to [`ADDRESSES_MAX`].
    pub addresses: Vec<SocketAddr>,
    /// The ports that its links may hop to; `None` when they stay at the door.
    pub hop_ports: Option<PortSet>,
    /// Its places on circuits.
    pub roles: Roles,
    /// Who runs it: no circuit uses two relays of one.
    pub operator: Label,
    /// What it forwards at most.
    pub bandwidth: RateClass,
}

impl Descriptor {
    /// The onion key of an interval.
    pub fn onion_key(&self, interval: Interval) -> Option<OnionKey> {
        self.onion_keys.iter().find(|(of, _)| *of == interval).map(|(_, key)| *key)
    }

    /// Where on the network it is: one subnet for each address.
    pub fn subnets(&self) -> impl Iterator<Item = Subnet> + '_ {
        self.addresses.iter().map(|address| Subnet::of(address.ip()))
    }

    /// Signs the descriptor for one network.
    ///
    /// # Errors
    /// When a value is not one that a document may have, or the secret is another node's.
    pub fn sign(self, network: NetworkId, secret: &NodeSecret) -> Result<SignedDescriptor, Problem> {
        self.check()?;
        if secret.node_id() != self.node_id {
            return Err(Problem::OtherNode);
        }
        let signature = secret.sign(&message(network, &self.text()));
        Ok(SignedDescriptor { descriptor: self, signature })
    }

    /// What a text cannot hold, or may not.
    pub(crate) fn check(&self) -> Result<(), Problem> {
        if self.onion_key(Interval::LASTING).is_some() {
            return Err(Problem::Lasting);
        }
        self.check_values()
    }

    /// The same for a relay that no text will hold.
    pub(crate) fn check_values(&self) -> Result<(), Problem> {
        let onion_keys = 1..=ONION_KEYS_MAX;
        if !onion_keys.contains(&self.onion_keys.len()) {
            return Err(Problem::TooMany { keyword: "onion-key", max: ONION_KEYS_MAX });
        }
        if self.onion_keys.windows(2).any(|pair| pair[0].0 >= pair[1].0) {
            return Err(Problem::Order { keyword: "onion-key" });
        }
        if !(1..=ADDRESSES_MAX).contains(&self.addresses.len()) {
            return Err(Problem::TooMany { keyword: "address", max: ADDRESSES_MAX });
        }
        for (place, address) in self.addresses.iter().enumerate() {
            check_address(*address)?;
            if self.addresses[..place].contains(address) {
                return Err(Problem::Value { keyword: "address", rule: "different from the relay's other ones" });
            }
        }
        if self.hop_ports.as_ref().is_some_and(|ports| ports.ranges().len() > HOP_RANGES_MAX) {
            return Err(Problem::TooMany { keyword: "hop-ports", max: HOP_RANGES_MAX });
        }
        if self.roles.is_empty() {
            return Err(Problem::Value { keyword: "roles", rule: Roles::RULE });
        }
        Ok(())
    }

    pub(crate) fn text(&self) -> String {
        let mut text = format!("relay {}\nlink-key {}\n", self.node_id, self.link_key);
        let _fits = writeln!(text, "door-key {}", self.door_key.reveal().as_str());
        for (interval, key) in &self.onion_keys {
            let _fits = writeln!(text, "onion-key {} {key}", interval.0);
        }
        for address in &self.addresses {
            let _fits = writeln!(text, "address {address}");
        }
        if let Some(ports) = &self.hop_ports {
            let _fits = writeln!(text, "hop-ports {ports}");
        }
        let (roles, operator, class) = (self.roles, &self.operator, self.bandwidth.number());
        let _fits = write!(text, "roles {roles}\noperator {operator}\nbandwidth-class {class}\n");
        text
    }

    pub(crate) fn read(lines: &mut Lines<'_>) -> Result<Self, DocumentError> {
        let node_id = lines.take_key("relay")?;
        let link_key = lines.take_key("link-key")?;
        let door_key = lines.take_key("door-key")?;
        let onion_keys = read_onion_keys(lines)?;
        let addresses = read_addresses(lines)?;
        let hop_ports = match lines.take_if("hop-ports") {
            None => None,
            Some(value) => Some(value.parse::<PortSet>().map_err(|_| {
                let rule = "ports and ranges from 1 to 65535, such as 40000-49999,50001";
                lines.here(Problem::Value { keyword: "hop-ports", rule })
            })?),
        };
        let roles = lines.take("roles")?;
        let roles = Roles::parse(roles).map_err(|problem| lines.here(problem))?;
        let operator = lines.take("operator")?;
        let operator = Label::new(operator, "operator").map_err(|problem| lines.here(problem))?;
        let class = lines.take("bandwidth-class")?;
        let class = number("bandwidth-class", class).ok().and_then(|class| u8::try_from(class).ok());
        let bandwidth = class.and_then(|class| RateClass::new(class).ok()).ok_or_else(|| {
            lines.here(Problem::Value { keyword: "bandwidth-class", rule: "the number of a rate class, 0 to 52" })
        })?;
        let descriptor =
            Self { node_id, link_key, door_key, onion_keys, addresses, hop_ports, roles, operator, bandwidth };
        descriptor.check().map_err(|problem| lines.here(problem))?;
        Ok(descriptor)
    }
}

impl fmt::Debug for Descriptor {
    /// Which relays a node uses is private: `Debug` may end in a log, so it shows none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Descriptor(..)")
    }
}

/// A descriptor with the signature of the node that it describes, made for one network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedDescriptor {
    descriptor: Descriptor,
    signature: [u8; SIGNATURE_LEN],
}

impl SignedDescriptor {
    /// Reads a file that holds one descriptor.
    ///
    /// # Errors
    /// When it is not as [`SignedDescriptor::text`] writes it, or its node did not sign it for this network.
    pub fn parse(bytes: &[u8], network: NetworkId) -> Result<Self, DocumentError> {
        let mut lines = Lines::new(bytes)?;
        let signed = Self::read(&mut lines, Some(network))?;
        lines.finish()?;
        Ok(signed)
    }

    /// Without a network nobody looks at the signature: for the fuzz body, which cannot sign.
    pub(crate) fn read(lines: &mut Lines<'_>, network: Option<NetworkId>) -> Result<Self, DocumentError> {
        let start = lines.at();
        let descriptor = Descriptor::read(lines)?;
        let text = descriptor.text();
        lines.check_form(start, &text)?;
        let signature = lines.take_signature("node-signature")?;
        if network.is_some_and(|network| !descriptor.node_id.verify(&message(network, &text), &signature)) {
            return Err(lines.here(Problem::NodeSignature));
        }
        Ok(Self { descriptor, signature })
    }

    /// True when the node signed it for this network.
    pub fn is_for(&self, network: NetworkId) -> bool {
        self.descriptor.node_id.verify(&message(network, &self.descriptor.text()), &self.signature)
    }

    /// The lines, signature included.
    pub fn text(&self) -> String {
        let mut text = self.descriptor.text();
        let _fits = writeln!(text, "node-signature {}", hex(&self.signature));
        text
    }

    /// What it says.
    pub fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }
}

fn message(network: NetworkId, text: &str) -> Vec<u8> {
    [SIGNATURE_CONTEXT, &network.0, text.as_bytes()].concat()
}

fn read_onion_keys(lines: &mut Lines<'_>) -> Result<Vec<(Interval, OnionKey)>, DocumentError> {
    let mut keys = Vec::new();
    let mut value = lines.take("onion-key")?;
    loop {
        if keys.len() >= ONION_KEYS_MAX {
            return Err(lines.here(Problem::TooMany { keyword: "onion-key", max: ONION_KEYS_MAX }));
        }
        let split = value
            .split_once(' ')
            .ok_or(Problem::Value { keyword: "onion-key", rule: "the number of an interval and a key" });
        let read = split.and_then(|(interval, text)| {
            Ok((Interval(number("onion-key", interval)?), key::<OnionKey>("onion-key", text)?))
        });
        keys.push(read.map_err(|problem| lines.here(problem))?);
        match lines.take_if("onion-key") {
            Some(next) => value = next,
            None => return Ok(keys),
        }
    }
}

fn read_addresses(lines: &mut Lines<'_>) -> Result<Vec<SocketAddr>, DocumentError> {
    let mut addresses = Vec::new();
    let mut value = lines.take("address")?;
    loop {
        if addresses.len() >= ADDRESSES_MAX {
            return Err(lines.here(Problem::TooMany { keyword: "address", max: ADDRESSES_MAX }));
        }
        let address = value.parse::<SocketAddr>().map_err(|_| ADDRESS_RULE);
        let address = address.and_then(|address| check_address(address).map(|()| address));
        addresses.push(address.map_err(|problem| lines.here(problem))?);
        match lines.take_if("address") {
            Some(next) => value = next,
            None => return Ok(addresses),
        }
    }
}

const ADDRESS_RULE: Problem = Problem::Value {
    keyword: "address",
    rule: "an address of one machine with a port, such as 192.0.2.1:4433 or [2001:db8::1]:4433",
};

pub(crate) fn check_address(address: SocketAddr) -> Result<(), Problem> {
    let ip = address.ip();
    let scoped = matches!(address, SocketAddr::V6(v6) if v6.scope_id() != 0 || v6.flowinfo() != 0);
    let mapped = matches!(ip, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some());
    let usable = !ip.is_unspecified() && !ip.is_multicast() && address.port() != 0 && !scoped && !mapped;
    if usable { Ok(()) } else { Err(ADDRESS_RULE) }
}
