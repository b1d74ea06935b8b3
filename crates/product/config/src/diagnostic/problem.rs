//! What can be wrong in a configuration.

use super::remedy::quoted;
use proxy_protocols::exit_policy::PolicyFault;
use thiserror::Error;

/// Why a key's value, or the file as a whole, cannot be used.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum Problem {
    /// The file is not TOML.
    #[error("the file is not TOML: {0}")]
    Syntax(Box<str>),
    /// No key has this name.
    #[error("there is no such key")]
    UnknownKey {
        /// The key that was probably meant.
        nearest: Option<&'static str>,
    },
    /// What a document of a network cannot have.
    #[error("{0}")]
    OfNetwork(Box<str>),
    /// Ports of an exit without the role, or the other way round.
    #[error("a relay has these ports exactly if `roles` has `exit`")]
    ExitPortsOfExits,
    /// A node's file without a part.
    #[error("the node has no part")]
    NoPart,
    /// The key belongs to the other role.
    #[error("this key belongs in the file of an {role}")]
    OtherRole {
        /// The role that has the key.
        role: &'static str,
    },
    /// The key has no default and is not there.
    #[error("this key must be given")]
    Missing {
        /// The file's role, as far as it is known.
        role: Option<&'static str>,
    },
    /// The value is of another TOML type.
    #[error("expected {expected}, found {found}")]
    WrongType {
        /// What the key takes.
        expected: &'static str,
        /// What the file has.
        found: &'static str,
    },
    /// A whole number outside its range.
    #[error("outside {min}..={max} {unit}")]
    OutOfRange {
        /// Smallest value.
        min: u64,
        /// Largest value.
        max: u64,
        /// What is counted.
        unit: &'static str,
    },
    /// A word that is none of the choices.
    #[error("expected one of {}", quoted(.words))]
    OneOf {
        /// The choices.
        words: &'static [&'static str],
    },
    /// Not a rate.
    #[error("not a rate")]
    Rate,
    /// A rate above the fastest class.
    #[error("no rate class is that fast")]
    RateTooFast,
    /// Not a number of bytes.
    #[error("not a size")]
    Bytes,
    /// A queue size outside its range, or no power of two.
    #[error("a queue has a power of two of bytes, from 16 KiB to 4 MiB")]
    QueueSize,
    /// The segments would not fit the memory that a node may take for them.
    #[error("max_flows queue pairs of this size take more than 8 GiB of memory")]
    QueueMemory,
    /// A bound on what tunnels hold that is out of its range.
    #[error("tunnels may hold 16 MiB to 1 TiB")]
    TunnelMemory,
    /// An empty path.
    #[error("a path cannot be empty")]
    EmptyPath,
    /// A unix socket's path that the kernel cannot take.
    #[error("a unix socket's path has at most 107 bytes")]
    SocketPathTooLong,
    /// Not an address with a port.
    #[error("not an address with a port")]
    SocketAddress,
    /// Not an address.
    #[error("not an IP address")]
    IpAddress,
    /// A port of 0 where others must know the port.
    #[error("port 0 lets the system choose, so nobody could be told the port")]
    PortZero,
    /// An address that no other node can send to.
    #[error("other nodes cannot send to an unspecified address")]
    Unspecified,
    /// Not a host with a port.
    #[error("not a destination: {0}")]
    Destination(identity::AddressError),
    /// Not a peer string.
    #[error("{0}")]
    Peer(identity::PeerStringError),
    /// An entry's peer without an address to send to.
    #[error("this peer string has no address, so nothing can be sent to it")]
    PeerWithoutAddress,
    /// The same peer twice.
    #[error("this peer is already in the list")]
    PeerTwice,
    /// Too many peers.
    #[error("an exit serves at most {0} entries")]
    TooManyPeers(usize),
    /// Not a rule of an exit policy.
    #[error("not a rule: {fault}")]
    Rule {
        /// What is wrong with it.
        fault: PolicyFault,
        /// Where in the rule, counted in bytes from 1.
        column: usize,
    },
    /// Not an address that others can dial.
    #[error("not an address: {0}")]
    Address(identity::AddressError),
    /// A listener with neither or both of `address` and `unix`.
    #[error("a listener has either an address or the path of a unix socket")]
    AddressOrUnix,
    /// A key that a listener of this kind does not use.
    #[error("a listener of kind \"{kind}\" has no such key")]
    NotOfThisKind {
        /// The listener's kind.
        kind: &'static str,
    },
    /// An entry without listeners.
    #[error("an entry without a [[listen]] table cannot be used by any application")]
    NoListener,
    /// Two listeners on one address.
    #[error("another listener already has this address")]
    ListenerTwice,
    /// More listeners than a node opens.
    #[error("a node opens at most {0} listeners")]
    TooManyListeners(usize),
    /// NaN or infinite, or beyond every number.
    #[error("not a finite number")]
    NotFinite,
    /// An epsilon outside what makes sense.
    #[error("epsilon is a loss from 0.001 to 100")]
    Epsilon,
    /// No failure probability.
    #[error("delta is a probability above 0 and below 1")]
    Delta,
    /// A factor or share that is negative or huge.
    #[error("a factor is a number from 0 to a million")]
    Share,
    /// Epsilon, delta and quota ask for noise that does not exist.
    #[error("epsilon, delta and quota together need more noise than there can be")]
    NoSigma,
    /// Settings of mode `dp` that do not fit together.
    #[error("{0}")]
    Dp(shaping::DpError),
    /// Settings of mode `queue` that do not fit together.
    #[error("{0}")]
    Queue(shaping::QueueError),
    /// Settings of mode `queue` whose loss is beyond every number.
    #[error("the decisions of five seconds cost more than can be written down")]
    QueueCost,
    /// A limit of what the mode does not spend.
    #[error("mode \"{mode}\" spends {spends}, so this limit is never reached")]
    LimitOfOtherMode {
        /// The mode.
        mode: &'static str,
        /// What it spends.
        spends: &'static str,
        /// The key of the same limit on that.
        would: &'static str,
    },
    /// A limit that leaves no room for a single release.
    #[error("{releases} {least}, so with this limit there would be none")]
    LimitTooSmall {
        /// Which releases cost, as the beginning of the sentence.
        releases: &'static str,
        /// What they cost, rounded up to what can be written.
        least: Box<str>,
    },
    /// A limit behind another one.
    #[error("never reached: {before} before it")]
    LimitBehind {
        /// What is reached, with its verb.
        before: &'static str,
    },
    /// A limit of the window that no window can reach.
    #[error("never reached: in a window of this length the mode spends at most {most}")]
    LimitBeyondWindow {
        /// What it spends at most.
        most: Box<str>,
    },
    /// Classes of mode `stepped` that are no choice.
    #[error("within the fastest rate of this direction: {0}")]
    Stepped(shaping::SteppedError),
    /// Not hosts with ports.
    #[error("{0}")]
    Endpoints(port_hopping::hosts::HostsError),
    /// Not a set of ports.
    #[error("{0}")]
    Ports(port_hopping::ports::PortSetError),
    /// Not a time or a pair of times.
    #[error("{0}")]
    Interval(port_hopping::interval::IntervalError),
    /// Hops below the floor.
    #[error("{0}")]
    HopsTooFast(port_hopping::causes::BelowFloor),
    /// Not a target of a hop server.
    #[error("not a target")]
    HopTarget,
    /// Not two sizes in order.
    #[error("not two sizes, the smaller one first")]
    ByteSpan,
    /// A list of a hop client or server that is too long.
    #[error("at most {0} of these")]
    TooManyOfThese(usize),
    /// Neither an address nor a prefix.
    #[error("{0}")]
    HopAddress(port_hopping::targets::TargetAddressError),
    /// Addresses to hop between, and no ports.
    #[error("links do not hop without `hop_ports`")]
    HopAddressesWithoutPorts,
    /// Addresses to hop between, and a socket that has only one.
    #[error("`bind` names one address, so packets to these would not come in")]
    HopAddressesOfOne,
    /// IPv6 addresses to hop between, and a socket of IPv4.
    #[error("`bind` is of IPv4, so packets to IPv6 addresses would not come in")]
    HopAddressesOfOtherFamily,
    /// A key of a pair in the file of a node over circuits.
    #[error("with `network.file` the network's document says this, or it means nothing")]
    NotOverCircuits,
    /// A key of an entry over circuits in the file of a pair.
    #[error("without `network.file` there are no circuits, so this means nothing")]
    OnlyOverCircuits,
    /// Several tunnels at an entry that has one schedule to ask an exit for.
    #[error("with a schedule there is one tunnel: each would ask its exit for all of `shaping.down`")]
    OneTunnelWhenShaped,
    /// Neither an address of one machine nor the name of an interface.
    #[error("neither an address of this machine nor the name of a network interface")]
    NearAddress,
    /// An end of this machine that is there already.
    #[error("the same stands there twice")]
    FromTwice,
    /// Several ends of this machine, and guards.
    #[error("legs of several hops enter the network through different guards, all from one address of this machine")]
    FromOfGuards,
    /// Two keys say where packets leave.
    #[error("`from` says where packets leave, so this means nothing")]
    FromAndBind,
    /// Hops and legs that no tunnel has.
    #[error("{0}")]
    Paths(tunnel_plan::RulesError),
    /// Ports that cannot be offered.
    #[error("{0}")]
    Offer(link::OfferError),
    /// Not JSON.
    #[error("not JSON: {0}")]
    Json(Box<str>),
    /// Not the id of a cluster.
    #[error("not the id of a cluster")]
    ClusterId,
    /// Not a node id.
    #[error("not a node id: {0}")]
    NodeId(identity::KeyTextError),
    /// Not a member's name.
    #[error("{0}")]
    MemberName(cluster_node::member::NameError),
    /// A member that is there already.
    #[error("another member has the same")]
    MemberTwice,
    /// Too few or too many members.
    #[error("a cluster has 2 to {} members, this node included", cluster_node::member::MEMBERS_MAX)]
    MemberCount,
    /// One of the two files of a term outside the log.
    #[error("`term_file` and `term_state_file` go together: a term outside the log begins with a state")]
    TermFiles,
    /// A service node without a service.
    #[error("a service node without a [[host]] table has nothing to offer")]
    NoHost,
    /// More services than a node has.
    #[error("a node has at most {0} services")]
    TooManyHosts(usize),
    /// Not the name of a service.
    #[error("a service's name has 1 to 32 small letters, digits, - and _")]
    HostName,
    /// Something of a service that another one or itself has already.
    #[error("there is another one with the same")]
    HostTwice,
    /// A service without ports.
    #[error("a service without a port cannot be reached")]
    NoHostPort,
    /// Not a port of a service.
    #[error("not a port of a service")]
    HostPort,
    /// Not an access key.
    #[error("not an access key: {0}")]
    AccessKey(identity::KeyTextError),
    /// A mode that services do not have.
    #[error("a service has no mode but \"constant\" and \"off\"")]
    ServiceMode,
    /// A processor number that the kernel cannot have.
    #[error("processor numbers are 0..=1023")]
    Core,
}

impl Problem {
    /// Where in a string value the fault is, in bytes from its first; 0 for the value as a whole.
    pub(crate) fn offset_in_value(&self) -> usize {
        match self {
            Self::Rule { column, .. } => column.saturating_sub(1),
            _ => 0,
        }
    }

    /// The key that a problem of a mode's settings is shown at.
    pub(crate) fn key_of_settings(&self) -> &'static str {
        use shaping::{DpError, QueueError};
        match self {
            Self::Dp(DpError::Epoch(_)) => "epoch_s",
            Self::Dp(DpError::Gain(_)) => "gain",
            Self::Dp(DpError::Margin(_)) => "margin",
            Self::Dp(DpError::Errors(_)) => "errors",
            Self::Dp(DpError::Delta(_) | DpError::DeltaAboveCeiling { .. } | DpError::CountCap { .. }) => "quota",
            Self::Queue(QueueError::DecisionInterval { .. }) => "dp_creditor_loop_interval_us",
            Self::Queue(QueueError::SendingInterval { .. } | QueueError::UniformWithoutInterval(_)) => {
                "sending_loop_interval_us"
            }
            Self::Queue(QueueError::Decisions { .. }) => "max_decision_size",
            Self::Queue(QueueError::Sensitivity(_)) => "sensitivity",
            Self::Queue(_) | Self::QueueCost => "noise_multiplier",
            _ => "epsilon",
        }
    }
}
