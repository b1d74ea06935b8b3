//! What is wrong with a file, where, why, and what to do about it.

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use proxy_protocols::exit_policy::PolicyFault;
use std::ops::Range;
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

    /// What to do about a problem of a hop client or server.
    fn hop_remedy(&self) -> &'static str {
        match self {
            Self::Endpoints(_) => "write such as \"hop.example:20000-50000\"",
            Self::Ports(_) => "write such as \"20000-50000\"",
            Self::HopTarget => "write a host and one port, such as \"127.0.0.1:443\"",
            Self::ByteSpan => "write such as \"64 MB..256 MB\"",
            Self::TooManyOfThese(_) => "remove some",
            Self::Offer(link::OfferError::TooManyRanges(_)) => "write fewer and longer ranges",
            Self::Offer(link::OfferError::TooManyAddresses(_)) => "remove some",
            Self::HopAddress(_) => "write such as \"192.0.2.7\" or \"2001:db8::/64\"",
            Self::HopAddressesWithoutPorts => "add `hop_ports`, or remove it",
            Self::HopAddressesOfOne | Self::HopAddressesOfOtherFamily => {
                "bind to \"[::]\" or, without IPv6, \"0.0.0.0\""
            }
            _ => "write \"20s..40s\" unless you have measured that another interval is better",
        }
    }

    /// What to do about a limit of `[budget]`.
    fn limit_remedy(&self) -> String {
        match self {
            Self::LimitOfOtherMode { would, .. } => format!("write `{would}` instead, or remove it"),
            Self::LimitTooSmall { least, .. } => format!("write at least {least}, or use mode \"constant\""),
            Self::LimitBeyondWindow { .. } => "write less, lengthen the window, or limit the lifetime".into(),
            _ => "write less, or remove it".into(),
        }
    }

    /// What to do about a number of a mode's settings.
    fn number_remedy(&self) -> &'static str {
        match self {
            Self::NotFinite => "write such as 1.0 or 1e-6",
            Self::Share => "write such as 0.15 or 1.125",
            Self::NoSigma => "raise epsilon or lower the quota",
            _ => "raise the noise multiplier",
        }
    }

    /// What to do about a problem of a node of a network of relays.
    fn network_remedy(&self) -> &'static str {
        match self {
            Self::OfNetwork(_) => "write it as `hushwire network describe --help` says",
            Self::ExitPortsOfExits => {
                "write the ports of servers that the exit reaches, such as \"80,443\", or remove them"
            }
            Self::NotOverCircuits => "remove it, or remove `network.file`",
            Self::OnlyOverCircuits => "add `network.file` with the document of a network, or remove it",
            Self::OneTunnelWhenShaped => "remove it, or write shaping.mode = \"off\"",
            Self::NearAddress => {
                "write an address such as \"192.0.2.7\", or a name that `ip link` shows, such as \"eth0\""
            }
            Self::FromTwice => "remove one of them",
            Self::FromOfGuards => "name one, or write network.hops = 1",
            Self::FromAndBind => "remove it, or remove `network.from`",
            Self::Paths(_) => "write network.legs = 1, or network.hops = 3",
            _ => "add a table [cluster], [mirror], [relay], [exit], [entry] or [service]",
        }
    }

    /// What to do about a problem of a node of a cluster.
    fn cluster_remedy(&self) -> &'static str {
        match self {
            Self::Json(_) => {
                "names and strings stand in double quotes, a comma between two values, none behind the last"
            }
            Self::ClusterId => "write the 64 hexadecimal digits that the other members have",
            Self::NodeId(_) => "copy the whole line that `hushwire pki show` or `hushwire keys new` prints",
            Self::MemberName(_) => "write the name in the member's certificate; `hushwire pki show` prints it",
            Self::MemberCount => "list every member once",
            Self::TermFiles => "name both files, or neither",
            _ => "remove one of the two, or correct it",
        }
    }

    /// What to do about a problem of a service node.
    fn service_remedy(&self) -> &'static str {
        match self {
            Self::NoHost => "`hushwire service add` writes one",
            Self::TooManyHosts(_) => "start another service node",
            Self::HostName => "write such as \"web\"",
            Self::HostTwice => "remove one of the two, or correct it",
            Self::AccessKey(_) => "copy the line that the client's `hushwire service client new` prints",
            Self::ServiceMode => "write \"constant\" or \"off\"",
            _ => "write such as ports = [{ port = 80, to = \"127.0.0.1:8080\" }]",
        }
    }

    /// What to do about a path or an address.
    fn place_remedy(&self) -> &'static str {
        match self {
            Self::EmptyPath => "write a path; a relative one starts at this file's folder",
            Self::SocketPathTooLong => "choose a shorter path, such as one under /run",
            Self::SocketAddress => "write such as \"127.0.0.1:1080\" or \"[::1]:1080\"; names are not looked up",
            Self::IpAddress => "write such as \"192.0.2.7\" or \"2001:db8::7\", without a port",
            Self::PortZero => "write the number of a free port",
            _ => "write the address under which this node is reached from outside",
        }
    }

    /// What to do about it.
    pub fn remedy(&self) -> String {
        match self {
            Self::Syntax(_) => "strings stand in double quotes, tables in [brackets]; see https://toml.io".into(),
            Self::UnknownKey { nearest: Some(key) } => format!("did you mean `{key}`?"),
            Self::UnknownKey { nearest: None } => "remove it; docs/config.md lists every key".into(),
            Self::OtherRole { .. } => "remove it here, or set `role`".into(),
            Self::OfNetwork(_) | Self::ExitPortsOfExits | Self::NoPart => self.network_remedy().into(),
            Self::Missing { role } => {
                let role = role.unwrap_or("entry|exit");
                format!("add it; `hushwire init --role {role}` writes a complete file")
            }
            Self::WrongType { expected, .. } => format!("write {expected}"),
            Self::OutOfRange { min, max, unit } => format!("write a whole number of {unit} from {min} to {max}"),
            Self::OneOf { words } => format!("write {}", quoted(words)),
            Self::Rate => "write a number and bit/s, kbit/s, Mbit/s or Gbit/s, such as \"256 kbit/s\"".into(),
            Self::RateTooFast => {
                format!("write at most \"{} bit/s\"", shaping::RateClass::FASTEST.bits_per_second())
            }
            Self::Bytes => "write a number and B, kB, KiB, MB, MiB, GB or GiB, such as \"256 KiB\"".into(),
            Self::QueueSize => "write \"256 KiB\" unless you have measured that another size is better".into(),
            Self::QueueMemory => "lower queues.max_flows or queues.queue_size".into(),
            Self::TunnelMemory => "write \"512 MiB\", or what this machine can spare".into(),
            Self::EmptyPath | Self::SocketPathTooLong | Self::SocketAddress => self.place_remedy().into(),
            Self::IpAddress | Self::PortZero | Self::Unspecified => self.place_remedy().into(),
            Self::Destination(_) => "write a host name or address and a port, such as \"example.org:443\"".into(),
            Self::Peer(_) => "copy the whole line that the other node's `hushwire keys show` prints".into(),
            Self::PeerWithoutAddress => {
                "set network.public_address at the exit and copy the line of its `hushwire keys show`".into()
            }
            Self::PeerTwice => "remove one of the two".into(),
            Self::TooManyPeers(_) => "start another exit".into(),
            Self::Address(_) => "write such as \"exit.example:4433\" or \"203.0.113.7:4433\"".into(),
            Self::Rule { .. } => "write such as \"allow *:443\" or \"deny 192.0.2.0/24\"; see docs/config.md".into(),
            Self::AddressOrUnix => "keep exactly one of `address` and `unix`".into(),
            Self::NotOfThisKind { .. } => "remove it, or change `kind`".into(),
            Self::NoListener => "add [[listen]] with kind = \"proxy\" and address = \"127.0.0.1:1080\"".into(),
            Self::ListenerTwice => "give one of them another address".into(),
            Self::TooManyListeners(_) => "remove some".into(),
            Self::Epsilon => {
                "write 1.0 unless you know why another loss is right; docs/privacy.md says what it means".into()
            }
            Self::Delta => "write 1e-6: it should be far below one in the number of clients".into(),
            Self::Dp(error) => dp_remedy(error),
            Self::Queue(_) => "change the value named".into(),
            Self::LimitOfOtherMode { .. } | Self::LimitTooSmall { .. } => self.limit_remedy(),
            Self::LimitBehind { .. } | Self::LimitBeyondWindow { .. } => self.limit_remedy(),
            Self::Stepped(_) => "name more classes, or raise the fastest rate".into(),
            Self::Endpoints(_) | Self::Ports(_) | Self::Interval(_) | Self::HopsTooFast(_) => self.hop_remedy().into(),
            Self::HopAddress(_) | Self::HopAddressesWithoutPorts => self.hop_remedy().into(),
            Self::HopAddressesOfOne | Self::HopAddressesOfOtherFamily => self.hop_remedy().into(),
            Self::HopTarget | Self::ByteSpan | Self::TooManyOfThese(_) | Self::Offer(_) => self.hop_remedy().into(),
            Self::NotFinite | Self::Share | Self::NoSigma | Self::QueueCost => self.number_remedy().into(),
            Self::Json(_) | Self::ClusterId | Self::NodeId(_) | Self::TermFiles => self.cluster_remedy().into(),
            Self::MemberName(_) | Self::MemberTwice | Self::MemberCount => self.cluster_remedy().into(),
            Self::NotOverCircuits | Self::OnlyOverCircuits => self.network_remedy().into(),
            Self::OneTunnelWhenShaped | Self::Paths(_) | Self::NearAddress => self.network_remedy().into(),
            Self::FromTwice | Self::FromOfGuards | Self::FromAndBind => self.network_remedy().into(),
            Self::NoHost | Self::TooManyHosts(_) | Self::HostName | Self::HostTwice => self.service_remedy().into(),
            Self::NoHostPort | Self::HostPort | Self::AccessKey(_) | Self::ServiceMode => self.service_remedy().into(),
            Self::Core => "write the numbers that `lscpu --extended` shows".into(),
        }
    }
}

/// One problem of a file at its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Diagnostic {
    /// The key, as a path such as `network.packet_size` or `listen[0].kind`; empty for the file as a whole.
    pub key: String,
    /// Bytes of the file that are meant.
    pub span: Range<usize>,
    /// What is wrong with them.
    pub problem: Problem,
}

/// All problems of a file in the order of their places.
#[derive(Debug, Clone, PartialEq)]
pub struct Diagnostics(Vec<Diagnostic>);

impl Diagnostics {
    /// The single problems.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.0.iter()
    }

    /// The same problems in a JSON text that lacks the first `bytes` and has `length` bytes.
    pub(crate) fn in_json(self, bytes: usize, length: usize) -> Self {
        let back = |at: usize| at.saturating_sub(bytes).min(length);
        let moved = |one: Diagnostic| Diagnostic {
            span: back(one.span.start)..back(one.span.end),
            problem: match one.problem {
                Problem::Syntax(message) => Problem::Json(message),
                other => other,
            },
            ..one
        };
        Self(self.0.into_iter().map(moved).collect())
    }

    /// `1 problem`, `3 problems`.
    pub fn summary(&self) -> String {
        match self.0.len() {
            1 => "1 problem".to_owned(),
            several => format!("{several} problems"),
        }
    }

    /// What a person reads: for each problem the key, file, line, caret, why, and what to do.
    ///
    /// `text` is the file's content. Peer strings in it hold a secret door key, so they are shown as stars.
    pub fn render(&self, path: &str, text: &str, colour: bool) -> String {
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        let shown = without_secrets(text);
        let reports: Vec<String> = self.0.iter().map(|one| one.render(&renderer, path, &shown)).collect();
        reports.join("\n\n")
    }
}

impl Diagnostic {
    fn render(&self, renderer: &Renderer, path: &str, text: &str) -> String {
        let title =
            if self.key.is_empty() { self.problem.to_string() } else { format!("`{}`: {}", self.key, self.problem) };
        let end = self.span.end.min(text.len());
        let caret = AnnotationKind::Primary.span(self.span.start.min(end)..end);
        let report: &[Group<'_>] = &[Level::ERROR
            .primary_title(title)
            .element(Snippet::source(text).path(path).annotation(caret))
            .element(Level::HELP.message(self.problem.remedy()))];
        renderer.render(report)
    }
}

/// Collects problems while a file is read.
#[derive(Debug, Default)]
pub(crate) struct Report {
    found: Vec<Diagnostic>,
    /// Keys that were asked for, present or not.
    pub(crate) asked: std::collections::BTreeSet<String>,
    /// The file's role, once it is known.
    pub(crate) role: Option<&'static str>,
}

impl Report {
    pub(crate) fn add(&mut self, key: String, span: Range<usize>, problem: Problem) {
        self.found.push(Diagnostic { key, span, problem });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    pub(crate) fn into_diagnostics(mut self) -> Diagnostics {
        self.found.sort_by_key(|diagnostic| diagnostic.span.start);
        Diagnostics(self.found)
    }
}

/// The settings of mode `dp` hang together with the rates of the direction, which stand in another table.
fn dp_remedy(error: &shaping::DpError) -> String {
    use shaping::DpError;
    match error {
        DpError::DeltaAboveCeiling { .. } => "lower dp.quota, or raise the fastest rate of this direction".into(),
        DpError::OneClass(_) | DpError::Classes { .. } | DpError::NeverAboveFloor { .. } => {
            "raise the fastest rate of this direction, or use mode \"constant\"".into()
        }
        DpError::TooLittleNoise { .. } => "lower dp.epsilon".into(),
        _ => "change the value named".into(),
    }
}

/// The text with every peer string starred out, byte for byte, so that spans still fit.
fn without_secrets(text: &str) -> String {
    const PREFIX: &str = "hushwire:";
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(PREFIX) {
        let (before, from) = rest.split_at(start + PREFIX.len());
        shown.push_str(before);
        let end = from.find(|letter: char| !letter.is_ascii_graphic() || letter == '"' || letter == '\'');
        let secret = end.unwrap_or(from.len());
        shown.extend(std::iter::repeat_n('*', secret));
        rest = &from[secret..];
    }
    shown.push_str(rest);
    shown
}

fn quoted(words: &[&str]) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
    words.join(" or ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peer_strings_are_never_shown() {
        let text = "peer = \"hushwire:abc-DEF@192.0.2.1:7\" # x\npeers = ['hushwire:zz']\n";
        let shown = without_secrets(text);
        assert_eq!(shown.len(), text.len());
        assert_eq!(shown, "peer = \"hushwire:*******************\" # x\npeers = ['hushwire:**']\n");
    }
}
