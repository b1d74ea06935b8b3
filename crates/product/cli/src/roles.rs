//! What each process of a node runs.

use crate::plan::names;
use node::Role;
use os_net::confine::Needs;
use os_net::process_channel::Channel;
use serde::de::DeserializeOwned;
use std::error::Error;
use std::os::fd::OwnedFd;

type Outcome = Result<(), Box<dyn Error>>;

/// All roles, by the names that the supervisor uses.
pub(crate) const ROLES: &[Role] = &[
    Role { name: names::UNSHAPED_SERVER, needs: |_| Some(Needs::ingress()), run: unshaped_server },
    // The shaped processes confine themselves, once the sender thread has its priority.
    Role { name: names::SHAPED_CLIENT, needs: |_| None, run: shaped },
    Role { name: names::SHAPED_SERVER, needs: |_| None, run: shaped },
    Role { name: names::SHAPED_RELAY, needs: |_| None, run: shaped_relay },
    Role { name: names::SHAPED_SERVICE, needs: |_| None, run: shaped_service },
    Role { name: names::UNSHAPED_CLIENT, needs: |_| Some(Needs::egress()), run: unshaped_client },
];

fn unshaped_server(boot: serde_json::Value, channel: Channel, descriptors: Vec<OwnedFd>) -> Outcome {
    Ok(ingress::run(read(boot)?, channel, descriptors)?)
}

fn unshaped_client(boot: serde_json::Value, channel: Channel, descriptors: Vec<OwnedFd>) -> Outcome {
    Ok(egress::run(read(boot)?, channel, descriptors)?)
}

fn shaped(boot: serde_json::Value, channel: Channel, descriptors: Vec<OwnedFd>) -> Outcome {
    Ok(shaped_tunnel::run(read(boot)?, channel, descriptors)?)
}

fn shaped_relay(boot: serde_json::Value, channel: Channel, descriptors: Vec<OwnedFd>) -> Outcome {
    Ok(circuit_relay::run_exit(read(boot)?, channel, descriptors)?)
}

fn shaped_service(boot: serde_json::Value, channel: Channel, descriptors: Vec<OwnedFd>) -> Outcome {
    Ok(shaped_tunnel::run_service(read(boot)?, channel, descriptors)?)
}

fn read<T: DeserializeOwned>(boot: serde_json::Value) -> Result<T, serde_json::Error> {
    serde_json::from_value(boot)
}
