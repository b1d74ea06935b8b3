//! Services that a program asks for by name, without a flow.

use super::{RecordsFrom, SOUGHT_MAX, SOUGHT_OF_CLIENT_MAX, ServiceFailure, takes_flows};
use crate::circuits::{Circuits, Group, TunnelId, TunnelsFull};
use identity::AccessSecret;
use link::Now;
use onion_service::ServiceAddress;
use thiserror::Error;
use tunnel_plan::PathRules;
use wire::flow::ResetReason;

/// A service that a program wants a tunnel to.
#[derive(Debug, Clone)]
pub struct ServiceWish {
    /// Whose tunnel it is. Flows with its number for a client may use it.
    pub group: Group,
    /// The key for a service that lets in only those that it knows.
    pub access: Option<AccessSecret>,
    /// The tunnel that the service's record is asked for through: built for this, of these rules, as another group's, and retired when
    /// that is over.
    pub directory: (Group, PathRules),
}

/// Why a service is not even sought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SeekRefused {
    /// Packets have no room for the layer between client and service.
    #[error("packets of this network are too small for services: its `packet_size` would have to be 1348 or more")]
    PacketSize,
    /// No service can have this address.
    #[error("no service can have this address: its key is none")]
    Address,
    /// There are [`SOUGHT_MAX`].
    #[error("{SOUGHT_MAX} services are sought or held, and a tunnel to one has to end before another is sought")]
    Full,
    /// The client has [`SOUGHT_OF_CLIENT_MAX`].
    #[error(
        "one client has {SOUGHT_OF_CLIENT_MAX} services at a time, and a tunnel to one has to end before another is sought"
    )]
    ClientFull,
    /// There are as many tunnels as there may be.
    #[error(transparent)]
    Tunnels(#[from] TunnelsFull),
}

impl SeekRefused {
    /// What a flow is told.
    pub(super) fn reason(self) -> ResetReason {
        match self {
            Self::PacketSize => ResetReason::NotOffered,
            Self::Address => ResetReason::NameUnknown,
            Self::Full | Self::ClientFull | Self::Tunnels(_) => ResetReason::TooManyFlows,
        }
    }
}

/// Where a service stands that a program wished for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceState {
    /// It is being sought.
    Sought,
    /// Its tunnel takes flows.
    Up(TunnelId),
    /// It has no tunnel that takes flows, and is not sought; why, if it was not reached.
    Over(Option<ServiceFailure>),
}

impl Circuits {
    /// The tunnel to a service that a program wishes for. Without one it is sought from now on.
    pub(crate) fn wish(&mut self, now: Now, address: ServiceAddress, wish: ServiceWish) -> Result<u64, SeekRefused> {
        let ServiceWish { group, access, directory: (directory, rules) } = wish;
        match self.tunnel_to(address, group) {
            Some(number) => Ok(number),
            None => self.seek_anew(now, (address, group), group.0, access, RecordsFrom::Built(directory, rules)),
        }
    }

    /// Where the tunnel with this number stands, which is or was one to a service.
    pub(crate) fn service_state(&self, number: u64) -> ServiceState {
        match self.tunnels.get(&number).filter(|tunnel| takes_flows(tunnel)) {
            Some(tunnel) if tunnel.is_up() => ServiceState::Up(tunnel.id()),
            Some(_) => ServiceState::Sought,
            None => {
                let failure = self.services.failures.iter().find(|(of, _)| *of == number);
                ServiceState::Over(failure.map(|(_, failure)| *failure))
            }
        }
    }
}
