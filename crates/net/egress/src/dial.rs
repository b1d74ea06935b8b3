//! From a destination to a connection: policy, name look-up, attempts.

use crate::turns::Turns;
use proxy_protocols::exit_policy::{ExitPolicy, Verdict};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use wire::flow::{Destination, Host, HostName, ResetReason};

/// Names that are looked up at once, each in a thread of its own. More wait, within their flow's time.
pub(crate) const LOOKUPS_MAX: usize = 32;
/// Destinations that are dialled at once. More wait, within their flow's time.
pub(crate) const DIALS_MAX: usize = 512;
/// Destinations that one client's flows dial at once. More wait, within their flow's time.
pub(crate) const CLIENT_DIALS_MAX: usize = 128;
/// Addresses of one name that are tried; the rest are not looked at.
pub(crate) const ADDRESSES_MAX: usize = 8;
/// How long an attempt has the field for itself before the next address is tried beside it (RFC 8305,
/// section 5, recommends 250 ms).
pub(crate) const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Turns destinations into connections, within bounds that all flows share.
pub(crate) struct Dialler {
    policy: ExitPolicy,
    connect_timeout: Duration,
    bind: Vec<IpAddr>,
    dials: Turns,
    /// One permit for each thread that looks up a name, held by that thread: a look-up whose flow has given up
    /// still takes its place.
    lookups: Arc<Semaphore>,
}

impl Dialler {
    pub(crate) fn new(policy: ExitPolicy, connect_timeout: Duration, bind: Vec<IpAddr>) -> Self {
        let dials = Turns::new(DIALS_MAX, CLIENT_DIALS_MAX);
        let lookups = Arc::new(Semaphore::new(LOOKUPS_MAX));
        Self { policy, connect_timeout, bind, dials, lookups }
    }

    /// Tries the configured source addresses, so that a wrong one is said at start and not with each flow.
    pub(crate) fn check_sources(&self) -> io::Result<()> {
        let tried = |address: &IpAddr| new_socket(address.is_ipv4())?.bind(SocketAddr::new(*address, 0));
        self.bind.iter().try_for_each(tried)
    }

    /// Connects on behalf of a client, or says why not. Cancel-safe.
    pub(crate) async fn connect(&self, client: u64, destination: &Destination) -> Result<TcpStream, ResetReason> {
        let dial = async {
            let addresses = self.addresses(destination).await?;
            let _turn = self.dials.take(client).await;
            self.race(addresses).await
        };
        timeout(self.connect_timeout, dial).await.unwrap_or(Err(ResetReason::TimedOut))
    }

    /// The addresses of a destination that may be dialled, best first.
    async fn addresses(&self, destination: &Destination) -> Result<Vec<SocketAddr>, ResetReason> {
        match &destination.host {
            Host::Ip(address) if self.allows(None, *address, destination.port) => {
                Ok(vec![SocketAddr::new(*address, destination.port)])
            }
            Host::Ip(_) => Err(ResetReason::Denied),
            Host::Name(name) => self.resolve(name, destination.port).await,
        }
    }

    /// The addresses of a name that may be dialled: families take turns, the resolver's first one leads.
    pub(crate) async fn resolve(&self, name: &HostName, port: u16) -> Result<Vec<SocketAddr>, ResetReason> {
        if self.policy.check_name(name, port) == Verdict::Denied {
            return Err(ResetReason::Denied);
        }
        let mut found = self.look_up(name, port).await;
        if found.is_empty() {
            return Err(ResetReason::NameUnknown);
        }
        found.retain(|address| self.allows(Some(name), address.ip(), port));
        if found.is_empty() {
            return Err(ResetReason::Denied);
        }
        Ok(take_turns(found))
    }

    /// What the system's resolver says; nothing if the name is unknown to it.
    async fn look_up(&self, name: &HostName, port: u16) -> Vec<SocketAddr> {
        let permit = self.lookups.clone().acquire_owned().await;
        let name = name.as_str().to_owned();
        let resolved = tokio::task::spawn_blocking(move || {
            let found = (name.as_str(), port).to_socket_addrs().map(Iterator::collect);
            drop(permit);
            found.unwrap_or_default()
        });
        resolved.await.unwrap_or_default()
    }

    /// Whether the policy lets an address be dialled.
    pub(crate) fn allows(&self, name: Option<&HostName>, address: IpAddr, port: u16) -> bool {
        self.policy.check_address(name, address, port) == Verdict::Allowed
    }

    /// The address to leave from.
    pub(crate) fn source(&self, ipv4: bool) -> SocketAddr {
        let any = if ipv4 { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let chosen = self.bind.iter().find(|address| address.is_ipv4() == ipv4);
        SocketAddr::new(chosen.copied().unwrap_or(any), 0)
    }

    /// Tries one address after the other, the next one as soon as an attempt has failed or taken
    /// [`ATTEMPT_DELAY`]. The first that answers wins and the others are given up.
    async fn race(&self, addresses: Vec<SocketAddr>) -> Result<TcpStream, ResetReason> {
        let mut left = addresses.into_iter();
        let mut attempts = JoinSet::new();
        let mut failure = None;
        loop {
            match left.next() {
                Some(address) => {
                    attempts.spawn_local(attempt(self.source(address.is_ipv4()), address));
                }
                None if attempts.is_empty() => return Err(failure.unwrap_or(ResetReason::Unreachable)),
                None => {}
            }
            let alone = if left.len() == 0 { Duration::MAX } else { ATTEMPT_DELAY };
            match timeout(alone, attempts.join_next()).await {
                Ok(Some(Ok(Ok(stream)))) => return Ok(stream),
                Ok(Some(Ok(Err(error)))) => failure = Some(more_telling(failure, reason(&error))),
                // Nothing yet, or an attempt that was cancelled: go on with the next address.
                Ok(Some(Err(_)) | None) | Err(_) => {}
            }
        }
    }
}

async fn attempt(source: SocketAddr, address: SocketAddr) -> io::Result<TcpStream> {
    let socket = new_socket(address.is_ipv4())?;
    if !source.ip().is_unspecified() {
        // Whatever the reason, it is not the destination's.
        socket.bind(source).map_err(|_| io::ErrorKind::AddrNotAvailable)?;
    }
    socket.connect(address).await
}

fn new_socket(ipv4: bool) -> io::Result<TcpSocket> {
    if ipv4 { TcpSocket::new_v4() } else { TcpSocket::new_v6() }
}

fn reason(error: &io::Error) -> ResetReason {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => ResetReason::Refused,
        io::ErrorKind::TimedOut => ResetReason::TimedOut,
        // The exit's own firewall.
        io::ErrorKind::PermissionDenied => ResetReason::Denied,
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => ResetReason::Unreachable,
        kind => {
            tracing::debug!(%kind, "a destination could not be dialled for a reason of this machine");
            ResetReason::Unreachable
        }
    }
}

/// Of several addresses that failed the one that says most about the server counts.
fn more_telling(known: Option<ResetReason>, new: ResetReason) -> ResetReason {
    let rank = |reason: &ResetReason| match reason {
        ResetReason::Refused => 3,
        ResetReason::TimedOut => 2,
        ResetReason::Denied => 1,
        _ => 0,
    };
    known.filter(|known| rank(known) >= rank(&new)).unwrap_or(new)
}

fn take_turns(found: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_ipv4 = found.first().is_some_and(SocketAddr::is_ipv4);
    let (mut leading, mut others): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|address| address.is_ipv4() == first_is_ipv4);
    leading.reverse();
    others.reverse();
    let mut turns = Vec::new();
    while turns.len() < ADDRESSES_MAX && !(leading.is_empty() && others.is_empty()) {
        turns.extend(leading.pop());
        turns.extend(others.pop());
    }
    turns.truncate(ADDRESSES_MAX);
    turns
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn families_take_turns_and_only_so_many_addresses_are_tried() {
        let found = ["192.0.2.1:1", "192.0.2.2:1", "[2001:db8::1]:1", "192.0.2.3:1"].map(address).to_vec();
        let order = ["192.0.2.1:1", "[2001:db8::1]:1", "192.0.2.2:1", "192.0.2.3:1"].map(address).to_vec();
        assert_eq!(take_turns(found), order);
        let many: Vec<_> = (1..=40).map(|last| SocketAddr::from(([192, 0, 2, last], 1))).collect();
        assert_eq!(take_turns(many.clone()), many[..ADDRESSES_MAX]);
    }

    #[test]
    fn a_refusal_says_more_than_silence() {
        let failures = [ResetReason::Unreachable, ResetReason::Refused, ResetReason::TimedOut];
        let told = failures.into_iter().fold(None, |known, new| Some(more_telling(known, new)));
        assert_eq!(told, Some(ResetReason::Refused));
    }

    fn dialler(policy: &str) -> Dialler {
        let policy = ExitPolicy::parse(policy).unwrap_or_else(|error| panic!("{error}"));
        Dialler::new(policy, Duration::from_secs(30), Vec::new())
    }

    fn to(host: &str, port: u16) -> Destination {
        let host = match host.parse() {
            Ok(address) => Host::Ip(address),
            Err(_) => Host::Name(HostName::new(host).expect("a name")),
        };
        Destination { host, port }
    }

    async fn outcome(dialler: &Dialler, destination: Destination) -> Result<(), ResetReason> {
        tokio::task::LocalSet::new().run_until(dialler.connect(1, &destination)).await.map(|_| ())
    }

    #[tokio::test]
    async fn the_policy_is_asked_about_names_and_their_addresses() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let port = listener.local_addr().expect("its address").port();
        let closed = dialler("");
        assert_eq!(outcome(&closed, to("127.0.0.1", port)).await, Err(ResetReason::Denied));
        assert_eq!(outcome(&closed, to("localhost", port)).await, Err(ResetReason::Denied));
        let open = dialler("deny evil.test\nallow 127.0.0.0/8");
        assert_eq!(outcome(&open, to("127.0.0.1", port)).await, Ok(()));
        assert_eq!(outcome(&open, to("localhost", port)).await, Ok(()));
        assert_eq!(outcome(&open, to("evil.test", port)).await, Err(ResetReason::Denied));
    }

    #[tokio::test]
    async fn source_addresses_are_tried_at_start_and_used() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let port = listener.local_addr().expect("its address").port();
        let from = |text: &str| {
            let policy = ExitPolicy::parse("allow 127.0.0.0/8").unwrap_or_else(|error| panic!("{error}"));
            Dialler::new(policy, Duration::from_secs(30), vec![text.parse().expect("an address")])
        };
        let right = from("127.0.0.3");
        assert!(right.check_sources().is_ok());
        assert_eq!(outcome(&right, to("127.0.0.1", port)).await, Ok(()));
        let (_, seen) = listener.accept().await.expect("a connection");
        assert_eq!(seen.ip(), IpAddr::from([127, 0, 0, 3]));
        let wrong = from("192.0.2.1");
        assert_eq!(wrong.check_sources().map_err(|error| error.kind()), Err(io::ErrorKind::AddrNotAvailable));
        assert_eq!(outcome(&wrong, to("127.0.0.1", port)).await, Err(ResetReason::Unreachable));
    }

    #[tokio::test]
    async fn failures_have_their_reasons() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let port = listener.local_addr().expect("its address").port();
        drop(listener);
        let open = dialler("allow 127.0.0.0/8");
        assert_eq!(outcome(&open, to("127.0.0.1", port)).await, Err(ResetReason::Refused));
        assert_eq!(outcome(&open, to("a..b", port)).await, Err(ResetReason::NameUnknown));
    }
}
