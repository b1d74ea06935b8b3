//! The files, written.

use crate::shape::{Shape, ShapeError};
use crate::texts::{DOCUMENT, ENTRY, EXIT, Plan};
use config::{SecretFileError, create_secret_file};
use identity::{KeyFile, NodeId, OperatorSecret};
use network_document::{Charter, Descriptor, Draft, Label, NetworkId, OnionKeyFile, Problem, Roles, SignedDescriptor};
use onion::Interval;
use port_hopping::ports::{PortRange, PortSet};
use shaping::RateClass;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// The interval of the document, and of every onion key.
const INTERVAL: Interval = Interval(1);
/// Ports over which links to relays hop, at the address of each. The socket of an exit's process is its door's alone.
const HOP_PORTS: [u16; 2] = [10_000, 19_999];
/// What relays without a limit say that they forward, in bits per second.
const UNLIMITED: u64 = 100_000_000;

/// Why the files are not there.
#[derive(Debug, Error)]
pub enum WriteError {
    /// There is no such network.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// The system has no port.
    #[error("no UDP port of {address} can be opened")]
    Port {
        /// The address.
        address: Ipv4Addr,
        /// What the system said.
        source: io::Error,
    },
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    Random,
    /// A file cannot be made.
    #[error(transparent)]
    File(#[from] SecretFileError),
    /// A document cannot be like that.
    #[error("no document: {0}")]
    Document(#[from] Problem),
}

/// A network whose files are written.
#[derive(Debug, Clone)]
pub struct LocalNetwork {
    folder: PathBuf,
    relays: Vec<LocalRelay>,
    exit: LocalRelay,
}

/// One relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalRelay {
    /// What it is called in the names of its files.
    pub name: String,
    /// Its configuration.
    pub config: PathBuf,
    /// Where it listens.
    pub address: SocketAddr,
    /// Its name in the document.
    pub node_id: NodeId,
}

impl LocalNetwork {
    /// Writes all files into a folder, which must be there.
    ///
    /// # Errors
    /// When the plan is none, or a file is there already or cannot be made.
    pub fn write(folder: &Path, plan: &Plan) -> Result<Self, WriteError> {
        plan.shape.rules()?;
        // Sockets are open until all addresses are known to be free.
        let sockets: Vec<UdpSocket> = (1..=plan.shape.relays).map(free_socket).collect::<Result<_, _>>()?;
        let charter = write_charter(folder)?;
        let mut made = Vec::with_capacity(sockets.len());
        for (index, socket) in sockets.iter().enumerate() {
            let number = index + 1;
            let is_exit = number == sockets.len();
            let name = if is_exit { EXIT.to_owned() } else { format!("relay-{number}") };
            let address =
                socket.local_addr().map_err(|source| WriteError::Port { address: loopback(number), source })?;
            let text = if is_exit { plan.exit(address) } else { plan.relay(&name, address) };
            let operator = Label::new(&format!("operator-{number}"), "operator")?;
            let place = Place { name, address, roles: roles(plan.shape, is_exit), operator, rate: rate(plan, is_exit) };
            made.push(place.write(folder, charter.network, &text)?);
        }
        let (relays, descriptors): (Vec<_>, Vec<_>) = made.into_iter().unzip();
        let mut draft = Draft::new(charter.charter, INTERVAL, descriptors)?;
        draft.sign(&charter.operator)?;
        create_secret_file(&folder.join(DOCUMENT), &draft.text())?;
        create_secret_file(&folder.join(format!("{ENTRY}.keys")), &new_keys()?.reveal())?;
        create_secret_file(&folder.join(format!("{ENTRY}.toml")), &plan.entry())?;
        let mut relays = relays;
        let exit = relays.pop().expect("a shape has one relay at least");
        Ok(Self { folder: folder.to_owned(), relays, exit })
    }

    /// The relays without the exit.
    pub fn relays(&self) -> &[LocalRelay] {
        &self.relays
    }

    /// The exit.
    pub fn exit(&self) -> &LocalRelay {
        &self.exit
    }

    /// The entry's configuration.
    pub fn entry_config(&self) -> PathBuf {
        self.folder.join(format!("{ENTRY}.toml"))
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

struct Founded {
    operator: OperatorSecret,
    charter: Charter,
    network: NetworkId,
}

fn write_charter(folder: &Path) -> Result<Founded, WriteError> {
    let operator = OperatorSecret::from_seed(random()?);
    let name = Label::new("local", "name")?;
    let charter = Charter::new(name, Default::default(), vec![operator.operator_key()], 1)?;
    create_secret_file(&folder.join("operator.key"), &format!("{}\n", operator.reveal().as_str()))?;
    create_secret_file(&folder.join("network.charter"), &charter.text())?;
    let network = charter.network_id();
    Ok(Founded { operator, charter, network })
}

/// A relay before it has keys.
struct Place {
    name: String,
    address: SocketAddr,
    roles: Roles,
    operator: Label,
    rate: RateClass,
}

impl Place {
    fn write(
        self,
        folder: &Path,
        network: NetworkId,
        text: &str,
    ) -> Result<(LocalRelay, SignedDescriptor), WriteError> {
        let Self { name, address, roles, operator, rate } = self;
        let keys = new_keys()?;
        let node_id = keys.node_secret.node_id();
        let mut onion_keys = OnionKeyFile::default();
        let descriptor = Descriptor {
            node_id,
            link_key: keys.link_secret.link_key(),
            door_key: keys.door_key.clone(),
            onion_keys: vec![(INTERVAL, onion_keys.prepare(INTERVAL, random()?).onion_key())],
            addresses: vec![address],
            hop_ports: PortRange::new(HOP_PORTS[0], HOP_PORTS[1])
                .filter(|_| !roles.exit)
                .and_then(|ports| PortSet::from_ranges([ports])),
            roles,
            operator,
            bandwidth: rate,
        };
        let descriptor = descriptor.sign(network, &keys.node_secret)?;
        create_secret_file(&folder.join(format!("{name}.keys")), &keys.reveal())?;
        create_secret_file(&folder.join(format!("{name}.onion-keys")), &onion_keys.reveal())?;
        create_secret_file(&folder.join(format!("{name}.descriptor")), &descriptor.text())?;
        let config = folder.join(format!("{name}.toml"));
        create_secret_file(&config, text)?;
        Ok((LocalRelay { name, config, address, node_id }, descriptor))
    }
}

/// An exit that is the only hop is its client's door as well.
fn roles(shape: Shape, is_exit: bool) -> Roles {
    if is_exit {
        Roles { guard: shape.hops == 1, middle: false, exit: true, directory: false }
    } else {
        Roles { guard: true, middle: true, exit: false, directory: false }
    }
}

fn rate(plan: &Plan, is_exit: bool) -> RateClass {
    let unlimited = RateClass::at_least(UNLIMITED).unwrap_or(RateClass::SLOWEST);
    plan.max_rate.filter(|_| !is_exit).unwrap_or(unlimited)
}

/// A subnet of its own for every relay.
fn loopback(number: usize) -> Ipv4Addr {
    let number = u8::try_from(number).expect("a shape has fewer relays");
    Ipv4Addr::new(127, 0, number, 1)
}

fn free_socket(number: usize) -> Result<UdpSocket, WriteError> {
    let address = loopback(number);
    UdpSocket::bind((address, 0)).map_err(|source| WriteError::Port { address, source })
}

fn new_keys() -> Result<KeyFile, WriteError> {
    Ok(KeyFile::from_random([random()?, random()?, random()?]))
}

fn random() -> Result<[u8; 32], WriteError> {
    let mut bytes = [0; 32];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| WriteError::Random).map(|()| bytes)
}

#[cfg(test)]
mod tests;
