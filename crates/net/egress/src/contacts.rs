//! Whom an association has written to, and what the names that it writes to stand for.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};
use wire::flow::HostName;

/// Addresses that one association may have answers from; a further one takes the place of the oldest.
pub(crate) const CONTACTS_MAX: usize = 256;
/// Names that one association remembers; a further one takes the place of the one that is looked up longest ago.
pub(crate) const NAMES_MAX: usize = 16;
/// How long a looked-up name is remembered.
pub(crate) const NAME_LIFE: Duration = Duration::from_secs(60);

/// Addresses that were written to. Only they may answer: an association is no open port.
#[derive(Debug, Default)]
pub(crate) struct Contacts(VecDeque<IpAddr>);

impl Contacts {
    pub(crate) fn add(&mut self, address: IpAddr) {
        if self.0.back() == Some(&address) || self.contains(address) {
            return;
        }
        if self.0.len() == CONTACTS_MAX {
            self.0.pop_front();
        }
        self.0.push_back(address);
    }

    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address)
    }
}

/// Names with the address that is used for each, by port: the policy may allow one port and not another.
#[derive(Debug, Default)]
pub(crate) struct Names(BTreeMap<(HostName, u16), (SocketAddr, Instant)>);

impl Names {
    pub(crate) fn add(&mut self, name: HostName, port: u16, address: SocketAddr, now: Instant) {
        if self.0.len() >= NAMES_MAX {
            let oldest = self.0.iter().min_by_key(|(_, (_, since))| *since).map(|(key, _)| key.clone());
            if let Some(oldest) = oldest {
                self.0.remove(&oldest);
            }
        }
        self.0.insert((name, port), (address, now));
    }

    pub(crate) fn find(&mut self, name: &HostName, port: u16, now: Instant) -> Option<SocketAddr> {
        let key = (name.clone(), port);
        let (address, since) = self.0.get(&key)?;
        if now.saturating_duration_since(*since) < NAME_LIFE {
            return Some(*address);
        }
        self.0.remove(&key);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contacts_are_bounded_and_forget_the_oldest() {
        let mut contacts = Contacts::default();
        let address = |number: u16| IpAddr::from([10, 0, (number >> 8) as u8, number as u8]);
        for number in 0..=CONTACTS_MAX as u16 {
            contacts.add(address(number));
            contacts.add(address(number));
        }
        assert!(!contacts.contains(address(0)));
        assert!(contacts.contains(address(1)) && contacts.contains(address(CONTACTS_MAX as u16)));
    }

    #[test]
    fn names_are_bounded_and_age() {
        let mut names = Names::default();
        let now = Instant::now();
        let address = SocketAddr::from(([192, 0, 2, 1], 53));
        let name = |number: usize| HostName::new(&format!("n{number}.test")).expect("a name");
        for number in 0..=NAMES_MAX {
            names.add(name(number), 53, address, now + Duration::from_secs(number as u64));
        }
        assert_eq!(names.find(&name(0), 53, now), None);
        assert_eq!(names.find(&name(1), 53, now + Duration::from_secs(2)), Some(address));
        assert_eq!(names.find(&name(1), 54, now + Duration::from_secs(2)), None);
        assert_eq!(names.find(&name(1), 53, now + NAME_LIFE + Duration::from_secs(1)), None);
    }
}
