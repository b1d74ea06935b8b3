//! A machine for each node: a namespace of its own with one cable to a switch, beside which stand the servers and those who use the
//! network.
//!
//! ```text
//!  d0  d1  d2  r0 .. r5  x0  x1  e0  e1  s0      a namespace each, `hwlab-PID-NUMBER-NAME`
//!   │   │   │   │    │   │   │   │   │   │       cables (veth); packets cross them one by one
//!  ─┴───┴───┴───┴────┴───┴───┴───┴───┴───┴─      the switch, with a tap, in the namespace of servers and programs
//! ```
//!
//! The addresses are those of the recipe, all of them in 127.0.0.0/8, so commands and files are those that one machine has. Here that is
//! a network like any other: no namespace has it on its loopback, and the kernel is told to let it out (`route_localnet`).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use local_network::{Addresses, Kind, Node};

use super::lines::entry_address;
use super::service::{ENTRY_OF_SERVICE, SERVICE};
use crate::network::{Namespace, UPLINK};

/// What the switch is called where servers and programs are.
pub const SWITCH: &str = "switch";
/// The length of the prefix of all addresses.
const PREFIX: u8 = 8;
/// Where connections come from that are bound to no address, such as those of mirrors: in this part of the network, so that the lines of
/// relays are told from them.
const UNBOUND_NET: u8 = 5;
/// Numbers of one kind there.
const OF_A_KIND: u8 = 40;
/// The port of an entry's proxy.
const PROXY_PORT: u16 = 1080;

/// The switch.
#[derive(Debug)]
pub struct Switch {
    here: Namespace,
}

impl Switch {
    /// Makes it, and the namespace of those who are at no machine of the network. To them it is 127.0.0.1.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn new() -> anyhow::Result<Self> {
        let here = Namespace::new(SWITCH)?;
        here.set_up(&format!("link add name {SWITCH} gso_max_segs 1 type bridge\n"))?;
        join(&here, SWITCH, &[Ipv4Addr::LOCALHOST.into()])?;
        // `join` asks whether a node's address is its machine's, and all commands are run here.
        here.set_kernel(&[("ipv4/ip_nonlocal_bind", "1")])?;
        Ok(Self { here })
    }

    /// Where servers and programs are.
    pub fn here(&self) -> &Namespace {
        &self.here
    }

    /// A machine for a node, with the addresses that a node of its kind and number has.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(super) fn add(&self, node: &Node) -> anyhow::Result<Namespace> {
        let (name, machine) = (&node.name, Namespace::new(&node.name)?);
        self.here.set_up(&format!(
            "link add name to-{name} gso_max_segs 1 type veth peer name {UPLINK} gso_max_segs 1 netns {}\n\
             link set to-{name} master {SWITCH} up\n",
            machine.name()
        ))?;
        join(&machine, UPLINK, &addresses(node)?)?;
        self.here.wait_until_carries(&format!("to-{name}"))?;
        Ok(machine)
    }

    /// Gives a machine one more address.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(super) fn add_address(machine: &Namespace, address: IpAddr) -> anyhow::Result<()> {
        machine.set_up(&line(UPLINK, address))
    }
}

/// Where an entry's proxy is, which is an address that its links may come from too.
pub(super) fn proxy(number: u8) -> SocketAddr {
    (entry_address(number), PROXY_PORT).into()
}

/// Takes 127.0.0.0/8 from the loopback, and gives these addresses of it to an interface.
fn join(machine: &Namespace, interface: &str, addresses: &[IpAddr]) -> anyhow::Result<()> {
    machine.set_kernel(&[("ipv4/conf/all/route_localnet", "1")])?;
    let lines: String = addresses.iter().map(|address| line(interface, *address)).collect();
    machine
        .set_up(&format!("address del {}/{PREFIX} dev lo\nlink set {interface} up\n{lines}", Ipv4Addr::LOCALHOST))?;
    machine.wait_until_carries(interface)
}

fn line(interface: &str, address: IpAddr) -> String {
    format!("address add {address}/{PREFIX} dev {interface} scope global\n")
}

/// All addresses of a node, the one of unbound sockets first: the kernel takes the first one.
fn addresses(node: &Node) -> anyhow::Result<Vec<IpAddr>> {
    let number = node.name.get(1..).and_then(|number| number.parse::<u8>().ok()).unwrap_or_default();
    let kind = node.kind as u8;
    let unbound = Ipv4Addr::new(127, UNBOUND_NET, kind * OF_A_KIND + number + 1, 1);
    let mut all = vec![unbound.into()];
    all.extend(match node.kind {
        Kind::Member => vec![node.address.ip(), Addresses::fixed().cluster(number)?.ip()],
        Kind::Relay | Kind::Exit => vec![node.address.ip()],
        Kind::Entry => vec![entry_address(number)],
        Kind::Service => vec![entry_address(ENTRY_OF_SERVICE), entry_address(SERVICE)],
    });
    Ok(all)
}
