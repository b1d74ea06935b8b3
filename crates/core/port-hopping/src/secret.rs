//! The pseudorandom function that makes ports and addresses (docs/spec/hops.md, "Places").

use crate::hosts::Ipv6Prefix;
use crate::ports::PortSet;
use aes::Aes128;
use aes::cipher::{BlockEncrypt, KeyInit};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk};
use identity::HopKey;
use std::fmt;
use std::net::Ipv6Addr;
use zeroize::Zeroizing;

/// What is made of a step: the first byte of the block.
const KIND_PORT: u8 = 0;
const KIND_ADDRESS: u8 = 1;
const KIND_WORD: u8 = 2;

/// Makes places out of steps: whoever has it knows where the next packets go, nobody else can tell the places from
/// random ones. A step is the hop index of a link, or the number of a window.
#[derive(Clone)]
pub struct HopSecret(Aes128);

impl HopSecret {
    /// The secret of a link: the port key of the responder's direction (docs/spec/link.md, section 4).
    pub fn of_link(port_key: &[u8; 16]) -> Self {
        Self(Aes128::new(port_key.into()))
    }

    /// The secret of a stand-alone hopper.
    pub fn of_key(key: &HopKey) -> Self {
        Self(Aes128::new((&*expand(key, &[b"hushwire hop 1 places"])).into()))
    }

    /// The port of try `attempt` of a step.
    pub fn port(&self, ports: &PortSet, step: u64, attempt: u8) -> u16 {
        let block = self.block(KIND_PORT, step, attempt);
        ports.pick(u64::from_be_bytes(block[..8].try_into().expect("8 of 16 bytes")))
    }

    /// The ports of tries 0 to `attempts` - 1 in this order, each once.
    pub fn ports(&self, ports: &PortSet, step: u64, attempts: u8) -> Vec<u16> {
        let mut found = Vec::with_capacity(attempts.into());
        for port in (0..attempts).map(|attempt| self.port(ports, step, attempt)) {
            if !found.contains(&port) {
                found.push(port);
            }
        }
        found
    }

    /// The address of a prefix for try `attempt` of a step.
    pub fn address(&self, prefix: Ipv6Prefix, step: u64, attempt: u8) -> Ipv6Addr {
        prefix.address(u128::from_be_bytes(self.block(KIND_ADDRESS, step, attempt)))
    }

    /// A random number for a step.
    pub(crate) fn word(&self, step: u64) -> u64 {
        u64::from_be_bytes(self.block(KIND_WORD, step, 0)[..8].try_into().expect("8 of 16 bytes"))
    }

    /// AES(secret, kind 1 | 6 zero bytes | attempt 1 | step 8).
    fn block(&self, kind: u8, step: u64, attempt: u8) -> [u8; 16] {
        let mut block = aes::Block::default();
        block[0] = kind;
        block[7] = attempt;
        block[8..].copy_from_slice(&step.to_be_bytes());
        self.0.encrypt_block(&mut block);
        block.into()
    }
}

impl fmt::Debug for HopSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HopSecret(..)")
    }
}

/// HKDF-Expand-SHA256 of a hop key (RFC 5869, 2.3): 16 bytes.
pub(crate) fn expand(key: &HopKey, info: &[&[u8]]) -> Zeroizing<[u8; 16]> {
    struct Sixteen;
    impl KeyType for Sixteen {
        fn len(&self) -> usize {
            16
        }
    }
    let prk = Prk::new_less_safe(HKDF_SHA256, key.expose());
    let mut out = Zeroizing::new([0; 16]);
    let okm = prk.expand(info, Sixteen).expect("16 bytes, below the limit of HKDF");
    okm.fill(&mut *out).expect("the length that was asked for");
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn places_of_steps_are_even_and_differ_between_secrets() {
        let ports: PortSet = "20000-20009".parse().expect("ports");
        let (one, other) = (HopSecret::of_link(&[1; 16]), HopSecret::of_link(&[2; 16]));
        let (mut count, mut same) = ([0u32; 10], 0);
        for step in 0..10_000 {
            let port = one.port(&ports, step, 0);
            count[usize::from(port - 20_000)] += 1;
            same += u32::from(port == other.port(&ports, step, 0));
        }
        // Standard error 30 in each: five of them.
        assert!(count.iter().all(|count| (850..=1150).contains(count)), "{count:?}");
        assert!((850..=1150).contains(&same), "{same}");
    }

    #[test]
    fn tries_and_kinds_are_independent_inputs() {
        let secret = HopSecret::of_link(&[3; 16]);
        let all: std::collections::BTreeSet<[u8; 16]> = [(0, 5, 0), (0, 5, 1), (0, 6, 0), (1, 5, 0), (0, 0, 5)]
            .map(|(kind, step, try_)| secret.block(kind, step, try_))
            .into();
        assert_eq!(all.len(), 5);
    }

    proptest! {
        #[test]
        fn places_lie_in_their_sets(key: [u8; 16], step: u64, attempt: u8, first in 1u16.., more in 0u16..50) {
            let secret = HopSecret::of_link(&key);
            let ports: PortSet = format!("{first}-{}", first.saturating_add(more)).parse().expect("ports");
            prop_assert!(ports.contains(secret.port(&ports, step, attempt)));
            let several = secret.ports(&ports, step, 3);
            prop_assert!((1..=3).contains(&several.len()) && several[0] == secret.port(&ports, step, 0));
            let prefix: Ipv6Prefix = "2001:db8::/64".parse().expect("a prefix");
            prop_assert!(prefix.contains(secret.address(prefix, step, attempt)));
        }
    }
}
