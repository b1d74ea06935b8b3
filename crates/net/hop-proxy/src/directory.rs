//! Where hosts are: addresses of names, asked for again on failure, and addresses that fail.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use port_hopping::hosts::Host;
use redact::Sensitive;

use crate::resolver::Resolver;
use crate::wake::Handle;

/// How long an address that refused or was unreachable is passed over while there is another one.
pub(crate) const FAILING_TIME: Duration = Duration::from_secs(10);
/// A name that failed is asked for again after this time, and no name is asked for more often.
pub(crate) const ASK_AGAIN: Duration = Duration::from_secs(5);
/// The longest wait for names at the start.
const NAMES_WAIT_MAX: Duration = Duration::from_secs(3);
/// Most addresses that are remembered as failing. When full, the one that is free the soonest is forgotten.
const FAILING_MAX: usize = 256;

/// Hosts and what is known of them.
#[derive(Debug)]
pub(crate) struct Directory {
    places: Vec<Place>,
    failing: BTreeMap<IpAddr, Instant>,
    resolver: Option<Resolver>,
}

#[derive(Debug)]
struct Place {
    host: Host,
    addresses: Vec<IpAddr>,
    /// Asked, and no answer yet.
    asking: bool,
    /// Not to be asked before.
    again: Option<Instant>,
    /// Whether a failure has been said since the last success.
    said: bool,
}

impl Directory {
    /// A directory of hosts, by their place in the list. Names are asked for at once.
    pub(crate) fn new(hosts: impl IntoIterator<Item = Host>, wake: &Handle, now: Instant) -> io::Result<Self> {
        let places: Vec<Place> = hosts
            .into_iter()
            .map(|host| {
                let addresses = if let Host::Address(address) = host { vec![address] } else { Vec::new() };
                Place { host, addresses, asking: false, again: None, said: false }
            })
            .collect();
        let named = places.iter().any(|place| matches!(place.host, Host::Name(_)));
        let resolver = if named { Some(Resolver::start(wake.clone())?) } else { None };
        let mut directory = Self { places, failing: BTreeMap::new(), resolver };
        for place in 0..directory.places.len() {
            directory.ask(place, now);
        }
        Ok(directory)
    }

    /// Waits a moment at the start, so that the first datagrams are not lost to a resolver that answers as usual.
    pub(crate) fn wait_for_names(&mut self) {
        let begin = Instant::now();
        while begin.elapsed() < NAMES_WAIT_MAX && self.places.iter().any(|place| place.asking) {
            std::thread::sleep(Duration::from_millis(2));
            self.take_answers(Instant::now());
        }
    }

    /// The host of a place.
    pub(crate) fn host(&self, place: usize) -> Option<&Host> {
        self.places.get(place).map(|place| &place.host)
    }

    /// The known addresses of a place; none of a prefix.
    pub(crate) fn addresses(&self, place: usize) -> &[IpAddr] {
        self.places.get(place).map_or(&[], |place| &place.addresses)
    }

    /// The address to use: the first that does not fail, else the first.
    pub(crate) fn best(&self, place: usize, now: Instant) -> Option<IpAddr> {
        let addresses = self.addresses(place);
        addresses.iter().find(|address| !self.is_failing(**address, now)).or(addresses.first()).copied()
    }

    /// Whether an address failed lately.
    pub(crate) fn is_failing(&self, address: IpAddr, now: Instant) -> bool {
        self.failing.get(&address).is_some_and(|until| *until > now)
    }

    /// Whether the host of a place has that address.
    pub(crate) fn contains(&self, place: usize, address: IpAddr) -> bool {
        self.places.get(place).is_some_and(|place| match (&place.host, address) {
            (Host::Prefix(prefix), IpAddr::V6(address)) => prefix.contains(address),
            _ => place.addresses.contains(&address),
        })
    }

    /// Notes that an address failed, and asks for its name again.
    pub(crate) fn fail(&mut self, place: usize, address: IpAddr, now: Instant) {
        if self.failing.len() >= FAILING_MAX && !self.failing.contains_key(&address) {
            let soonest = self.failing.iter().min_by_key(|(_, until)| **until).map(|(address, _)| *address);
            soonest.map(|address| self.failing.remove(&address));
        }
        self.failing.insert(address, now + FAILING_TIME);
        self.ask(place, now);
    }

    /// Asks for the name of a place, unless that was done a moment ago.
    pub(crate) fn ask(&mut self, place: usize, now: Instant) {
        let Some(resolver) = &self.resolver else { return };
        let Some(entry) = self.places.get_mut(place) else { return };
        let Host::Name(name) = &entry.host else { return };
        if entry.asking || entry.again.is_some_and(|again| again > now) {
            return;
        }
        entry.asking = true;
        entry.again = Some(now + ASK_AGAIN);
        resolver.ask(place, name);
    }

    /// Takes what the resolver found. Returns the places whose addresses changed.
    pub(crate) fn take_answers(&mut self, now: Instant) -> Vec<usize> {
        let mut changed = Vec::new();
        while let Some(resolved) = self.resolver.as_ref().and_then(Resolver::answer) {
            let Some(place) = self.places.get_mut(resolved.place) else { continue };
            place.asking = false;
            match resolved.addresses {
                Ok(addresses) if !addresses.is_empty() => {
                    place.said = false;
                    if place.addresses != addresses {
                        place.addresses = addresses;
                        changed.push(resolved.place);
                    }
                }
                failed => {
                    // Old addresses stay in use; a name is rarely gone for good.
                    place.again = Some(now + ASK_AGAIN);
                    if !std::mem::replace(&mut place.said, true) {
                        let error = failed.err().map_or_else(|| "no address".to_owned(), |error| error.to_string());
                        tracing::warn!(host = %Sensitive::new(&place.host), %error, "a name is not resolved; trying again");
                    }
                }
            }
        }
        changed
    }

    /// Asks again for names without an address. Returns when to call it next.
    pub(crate) fn poll(&mut self, now: Instant) -> Option<Instant> {
        self.resolver.as_ref()?;
        let missing: Vec<usize> = (0..self.places.len())
            .filter(|place| self.addresses(*place).is_empty() && matches!(self.host(*place), Some(Host::Name(_))))
            .collect();
        for place in &missing {
            self.ask(*place, now);
        }
        (!missing.is_empty()).then(|| now + ASK_AGAIN)
    }
}
