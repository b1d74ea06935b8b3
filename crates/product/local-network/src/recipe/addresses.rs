//! Where the nodes of a network on one machine are. On Linux all of 127.0.0.0/8 is this machine; every node has a subnet of its own,
//! as paths want it.

use super::RecipeError;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

/// Kinds of doors, in the second byte of an address.
pub(super) const DOOR_MEMBER: u8 = 1;
pub(super) const DOOR_RELAY: u8 = 2;
pub(super) const DOOR_EXIT: u8 = 3;
/// Where members reach each other.
pub(super) const CLUSTER: u8 = 9;
/// Second bytes of one network.
const BLOCK: u8 = 16;
/// Blocks beside that of [`Addresses::fixed`] and of `LocalNetwork`.
const BLOCKS: u32 = 15;
/// The port of every door, and of members among each other, where they are always the same.
const DOOR_PORT: u16 = 4433;
const CLUSTER_PORT: u16 = 4500;

/// Addresses of a network on one machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    first: u8,
    is_fixed: bool,
}

impl Addresses {
    /// Always the same, for a machine or a namespace that has no other network.
    pub fn fixed() -> Self {
        Self { first: 0, is_fixed: true }
    }

    /// Ports that are free, on addresses that a network with another `seed`, such as a process id, rarely has.
    pub fn free(seed: u32) -> Self {
        // Below 16 * 16.
        Self { first: (1 + seed % BLOCKS) as u8 * BLOCK, is_fixed: false }
    }

    /// Whether members of a network with fixed addresses reach each other at this one.
    pub fn is_cluster(address: IpAddr) -> bool {
        matches!(address, IpAddr::V4(address) if address.octets()[1] == CLUSTER)
    }

    pub(super) fn door(self, kind: u8, number: u8) -> Result<SocketAddr, RecipeError> {
        self.address(kind, number, DOOR_PORT)
    }

    /// Where the others reach a member.
    ///
    /// # Errors
    /// When the system has no port.
    pub fn cluster(self, number: u8) -> Result<SocketAddr, RecipeError> {
        self.address(CLUSTER, number, CLUSTER_PORT)
    }

    fn address(self, kind: u8, number: u8, port: u16) -> Result<SocketAddr, RecipeError> {
        let address = Ipv4Addr::new(127, self.first + kind, number + 1, 1);
        if self.is_fixed {
            return Ok(SocketAddr::from((address, port)));
        }
        // It is not held until the node takes it. Should somebody be quicker, the node says so.
        UdpSocket::bind((address, 0)).and_then(|socket| socket.local_addr()).map_err(RecipeError::Port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_has_a_subnet_of_its_own_in_the_block_of_its_network() {
        let mut subnets = std::collections::BTreeSet::new();
        for seed in 0..BLOCKS {
            let addresses = Addresses::free(seed);
            for kind in [DOOR_MEMBER, DOOR_RELAY, DOOR_EXIT, CLUSTER] {
                for number in [0, 1, 200] {
                    let found = addresses.address(kind, number, DOOR_PORT).expect("a port");
                    let IpAddr::V4(ip) = found.ip() else { panic!("{found} is IPv4") };
                    assert!(ip.is_loopback() && ip.octets()[1] >= BLOCK && found.port() >= 1024, "{found}");
                    assert!(subnets.insert([ip.octets()[1], ip.octets()[2]]), "{found}");
                }
            }
        }
        let fixed = Addresses::fixed();
        assert_eq!(fixed.door(DOOR_RELAY, 3).ok(), Some(SocketAddr::from(([127, 2, 4, 1], 4433))));
        let cluster = fixed.cluster(0).expect("it is fixed");
        assert!(Addresses::is_cluster(cluster.ip()) && !Addresses::is_cluster(IpAddr::from([127, 2, 9, 1])));
    }
}
