//! What clients ask of a relay at which they meet: names, sizes, and the proof that a key is one's own
//! (docs/spec/onion.md, "Meeting at a relay").

use crate::keys::BindingKey;
use identity::NodeId;
use packet_crypto::keys::expand;
use std::fmt;

/// Bytes of what one client says to another through a relay, at most: a sealed introduction, or the answer to one.
pub const SEALED_MAX: usize = 2_400;
/// Bytes of a cookie and of a service's key.
const NAME_LEN: usize = 32;
/// Bytes of an Ed25519 signature.
const SIGNATURE_LEN: usize = 64;
/// In front of what a service signs for an introduction point, and the label of what binds it to the circuit.
const PROOF_LABEL: &[u8] = b"hushwire onion 1 introduction";

/// Names a meeting at a rendezvous point: 32 random bytes of the client, which it tells the service alone.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cookie(pub [u8; NAME_LEN]);

impl fmt::Debug for Cookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cookie(..)")
    }
}

/// The Ed25519 key under which a service waits at an introduction point.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServiceKey(pub [u8; NAME_LEN]);

impl fmt::Debug for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServiceKey(..)")
    }
}

/// What a service signs with its key to wait at a relay: it belongs to one hop of one circuit, so the signature is of no use to
/// whoever sees it.
pub(crate) fn introduction_proof(binding: &BindingKey) -> Vec<u8> {
    let bound = expand::<32>(&binding.0, &[PROOF_LABEL]);
    [PROOF_LABEL, &*bound].concat()
}

/// What a client asks of its last hop beside circuits. The number is the kind of the control message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Ask {
    /// Be my rendezvous point: whoever knows this cookie may meet me.
    EstablishRendezvous = 6,
    /// Be my introduction point: pass on to me what clients say to this key.
    EstablishIntroduction = 7,
    /// Pass this on to whoever waits under this key.
    Introduce = 8,
    /// Pass this on to whoever waits under this cookie, and join us.
    Rendezvous = 9,
}

impl Ask {
    /// All of them.
    #[cfg(test)]
    pub(crate) const ALL: [Self; 4] =
        [Self::EstablishRendezvous, Self::EstablishIntroduction, Self::Introduce, Self::Rendezvous];

    pub(crate) fn new(kind: u8) -> Option<Self> {
        match kind {
            6 => Some(Self::EstablishRendezvous),
            7 => Some(Self::EstablishIntroduction),
            8 => Some(Self::Introduce),
            9 => Some(Self::Rendezvous),
            _ => None,
        }
    }
}

/// What the parts of an ask have made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked<'a> {
    EstablishRendezvous(Cookie),
    EstablishIntroduction(ServiceKey, &'a [u8; SIGNATURE_LEN]),
    Introduce(ServiceKey, &'a [u8]),
    Rendezvous(Cookie, &'a [u8]),
}

impl<'a> Asked<'a> {
    /// Reads it; `None` if its length is none of its kind.
    pub(crate) fn read(ask: Ask, message: &'a [u8]) -> Option<Self> {
        let (name, rest) = message.split_first_chunk::<NAME_LEN>()?;
        let is_sealed = (1..=SEALED_MAX).contains(&rest.len());
        match ask {
            Ask::EstablishRendezvous => rest.is_empty().then_some(Self::EstablishRendezvous(Cookie(*name))),
            Ask::EstablishIntroduction => {
                let signature = rest.try_into().ok()?;
                Some(Self::EstablishIntroduction(ServiceKey(*name), signature))
            }
            Ask::Introduce => is_sealed.then_some(Self::Introduce(ServiceKey(*name), rest)),
            Ask::Rendezvous => is_sealed.then_some(Self::Rendezvous(Cookie(*name), rest)),
        }
    }

    /// What travels in parts.
    pub(crate) fn write(&self) -> (Ask, Vec<u8>) {
        match self {
            Self::EstablishRendezvous(cookie) => (Ask::EstablishRendezvous, cookie.0.to_vec()),
            Self::EstablishIntroduction(key, signature) => {
                (Ask::EstablishIntroduction, [&key.0[..], &signature[..]].concat())
            }
            Self::Introduce(key, sealed) => (Ask::Introduce, [&key.0, *sealed].concat()),
            Self::Rendezvous(cookie, answer) => (Ask::Rendezvous, [&cookie.0, *answer].concat()),
        }
    }

    /// Whether a service's signature is one of its key for this hop.
    pub(crate) fn is_proof(key: &ServiceKey, signature: &[u8; SIGNATURE_LEN], binding: &BindingKey) -> bool {
        NodeId(key.0).verify(&introduction_proof(binding), signature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use identity::NodeSecret;
    use zeroize::Zeroizing;

    #[test]
    fn every_ask_survives_a_round_trip() {
        let (cookie, key, signature) = (Cookie([1; 32]), ServiceKey([2; 32]), [3; 64]);
        let long = [4; SEALED_MAX];
        let all = [
            Asked::EstablishRendezvous(cookie),
            Asked::EstablishIntroduction(key, &signature),
            Asked::Introduce(key, &long),
            Asked::Introduce(key, &long[..1]),
            Asked::Rendezvous(cookie, &long),
        ];
        for asked in all {
            let (ask, message) = asked.write();
            assert_eq!(Asked::read(ask, &message), Some(asked));
            assert_eq!(Ask::new(ask as u8), Some(ask));
        }
        for (ask, lengths) in [
            (Ask::EstablishRendezvous, vec![0, 31, 33]),
            (Ask::EstablishIntroduction, vec![32, 95, 97]),
            (Ask::Introduce, vec![32, 33 + SEALED_MAX]),
            (Ask::Rendezvous, vec![31, 32, 33 + SEALED_MAX]),
        ] {
            for length in lengths {
                assert_eq!(Asked::read(ask, &vec![0; length]), None, "{ask:?} of {length} bytes");
            }
        }
    }

    /// The vector of docs/spec/onion.md.
    #[test]
    fn what_is_signed_is_that_of_the_specification() {
        let proof = introduction_proof(&BindingKey(Zeroizing::new([0x44; 32])));
        let (label, bound) = proof.split_at(29);
        assert_eq!(label, b"hushwire onion 1 introduction");
        let bound: String = bound.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(bound, "f6ef3e8cf8a3feba4f4c0d6c6a3a1cf062718ec6ea554fe52784fa847553d47f");
    }

    #[test]
    fn a_proof_belongs_to_one_key_and_one_circuit() {
        let (secret, binding) = (NodeSecret::from_seed([1; 32]), BindingKey(Zeroizing::new([2; 32])));
        let key = ServiceKey(secret.node_id().0);
        let signature = secret.sign(&introduction_proof(&binding));
        assert!(Asked::is_proof(&key, &signature, &binding));
        assert!(!Asked::is_proof(&key, &signature, &BindingKey(Zeroizing::new([3; 32]))));
        assert!(!Asked::is_proof(&ServiceKey(NodeSecret::from_seed([4; 32]).node_id().0), &signature, &binding));
        assert_eq!(format!("{:?} {key:?}", Cookie([7; 32])), "Cookie(..) ServiceKey(..)");
    }
}
