//! What to do about each problem.

use super::Problem;

impl Problem {
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
            Self::Rate | Self::RateTooFast | Self::Bytes => self.size_remedy(),
            Self::QueueSize | Self::QueueMemory | Self::TunnelMemory => self.size_remedy(),
            Self::EmptyPath | Self::SocketPathTooLong | Self::SocketAddress => self.place_remedy().into(),
            Self::IpAddress | Self::PortZero | Self::Unspecified => self.place_remedy().into(),
            Self::Destination(_) => "write a host name or address and a port, such as \"example.org:443\"".into(),
            Self::Peer(_) | Self::PeerWithoutAddress | Self::PeerTwice => self.peer_remedy().into(),
            Self::TooManyPeers(_) | Self::Address(_) => self.peer_remedy().into(),
            Self::Rule { .. } => "write such as \"allow *:443\" or \"deny 192.0.2.0/24\"; see docs/config.md".into(),
            Self::AddressOrUnix | Self::NotOfThisKind { .. } | Self::NoListener => self.listener_remedy().into(),
            Self::ListenerTwice | Self::TooManyListeners(_) => self.listener_remedy().into(),
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

    /// What to do about a rate, or a number of bytes.
    fn size_remedy(&self) -> String {
        match self {
            Self::Rate => "write a number and bit/s, kbit/s, Mbit/s or Gbit/s, such as \"256 kbit/s\"".into(),
            Self::RateTooFast => {
                format!("write at most \"{} bit/s\"", shaping::RateClass::FASTEST.bits_per_second())
            }
            Self::QueueSize => "write \"256 KiB\" unless you have measured that another size is better".into(),
            Self::QueueMemory => "lower queues.max_flows or queues.queue_size".into(),
            Self::TunnelMemory => "write \"512 MiB\", or what this machine can spare".into(),
            _ => "write a number and B, kB, KiB, MB, MiB, GB or GiB, such as \"256 KiB\"".into(),
        }
    }

    /// What to do about the other node of a pair.
    fn peer_remedy(&self) -> &'static str {
        match self {
            Self::Peer(_) => "copy the whole line that the other node's `hushwire keys show` prints",
            Self::PeerWithoutAddress => {
                "set network.public_address at the exit and copy the line of its `hushwire keys show`"
            }
            Self::PeerTwice => "remove one of the two",
            Self::TooManyPeers(_) => "start another exit",
            _ => "write such as \"exit.example:4433\" or \"203.0.113.7:4433\"",
        }
    }

    /// What to do about a listener.
    fn listener_remedy(&self) -> &'static str {
        match self {
            Self::AddressOrUnix => "keep exactly one of `address` and `unix`",
            Self::NotOfThisKind { .. } => "remove it, or change `kind`",
            Self::NoListener => "add [[listen]] with kind = \"proxy\" and address = \"127.0.0.1:1080\"",
            Self::ListenerTwice => "give one of them another address",
            _ => "remove some",
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

pub(super) fn quoted(words: &[&str]) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
    words.join(" or ")
}
