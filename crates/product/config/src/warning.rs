//! What can be used but should be thought about.

use crate::hops::{INTERVAL_FAST_S, PORTS_FEW};
use crate::{Config, ListenKind, Mode, Role};
use std::fmt;

/// A setting that works and costs something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Warning {
    /// `shaping.mode = "off"`.
    ModeOff,
    /// The same over circuits.
    ModeOffOverCircuits,
    /// An exit without peers.
    NoPeers,
    /// An exit that cannot tell where it is.
    NoPublicAddress,
    /// A proxy that other machines can use without a login.
    OpenProxy,
    /// A packet size that few others use.
    PacketSize,
    /// Hops in quick succession.
    FastHops,
    /// Hops below the floor.
    HopsBelowFloor,
    /// Few ports to hop over.
    FewHopPorts,
}

impl Warning {
    /// The key that it is about.
    pub fn key(self) -> &'static str {
        match self {
            Self::ModeOff | Self::ModeOffOverCircuits => "shaping.mode",
            Self::NoPeers => "peers",
            Self::NoPublicAddress => "network.public_address",
            Self::OpenProxy => "listen",
            Self::PacketSize => "network.packet_size",
            Self::FastHops => "hops.interval",
            Self::HopsBelowFloor => "hops.unsafe_below_floor",
            Self::FewHopPorts => "network.hop_ports",
        }
    }

    /// Whether the node then does not do what it is for.
    pub fn is_alarm(self) -> bool {
        matches!(self, Self::ModeOff | Self::ModeOffOverCircuits)
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ModeOff => {
                "nothing hides when and how much is sent; an observer sees every burst. \
                 Use \"constant\" unless you only measure"
            }
            Self::ModeOffOverCircuits => {
                "nothing hides when and how much is sent; whoever sees both ends of a circuit can tell that they belong \
                 together. Use \"constant\" unless speed matters more"
            }
            Self::NoPeers => "no entry is answered; add the line that the entry's `hushwire keys show` prints",
            Self::NoPublicAddress => "`hushwire keys show` prints a line without an address, which no entry can dial",
            Self::OpenProxy => {
                "other machines can use this proxy without a login; set users_file, or listen on a loopback address"
            }
            Self::FastHops => {
                "an observer sees flows between the same two addresses that each last some seconds; longer ones look more \
                 like others'"
            }
            Self::HopsBelowFloor => {
                "an observer sees short flows between the same two addresses, one after the other, as no other program has \
                 them. This is for tests"
            }
            Self::FewHopPorts => {
                "with fewer than 1024 ports an observer sees the same ports come again within minutes, and a network that \
                 slows a flow down remembers them"
            }
            Self::PacketSize => "both nodes need the same packet size, and one that others do not use stands out",
        })
    }
}

impl Config {
    /// Everything to think about, the worst last.
    pub fn warnings(&self) -> Vec<Warning> {
        let mut warnings = Vec::new();
        if self.network.packet_size != wire::packet::PacketSize::DEFAULT {
            warnings.push(Warning::PacketSize);
        }
        match &self.role {
            Role::Entry(entry) => {
                let open = |kind: &ListenKind| !matches!(kind, ListenKind::Proxy { login_required: true, .. });
                if entry.listeners.iter().any(|listener| !listener.listen.is_local() && open(&listener.kind)) {
                    warnings.push(Warning::OpenProxy);
                }
                match &entry.hops {
                    Some(hops) if hops.below_floor => warnings.push(Warning::HopsBelowFloor),
                    Some(hops) if hops.timers.interval().min().as_secs() < INTERVAL_FAST_S => {
                        warnings.push(Warning::FastHops);
                    }
                    Some(_) | None => {}
                }
            }
            // Its address and its clients are the business of its network.
            Role::Exit(exit) if exit.network.is_some() => {}
            Role::Exit(exit) => {
                if exit.public_address.is_none() {
                    warnings.push(Warning::NoPublicAddress);
                }
                if exit.hop_ports.as_ref().is_some_and(|ports| ports.len() < PORTS_FEW) {
                    warnings.push(Warning::FewHopPorts);
                }
                if exit.peers.is_empty() {
                    warnings.push(Warning::NoPeers);
                }
            }
        }
        if self.shaping.mode == Mode::Off {
            let is_over_circuits = match &self.role {
                Role::Entry(entry) => entry.network.is_some(),
                Role::Exit(exit) => exit.network.is_some(),
            };
            warnings.push(if is_over_circuits { Warning::ModeOffOverCircuits } else { Warning::ModeOff });
        }
        warnings
    }
}
