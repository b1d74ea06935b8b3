//! Names, resolved by a thread of their own: the system's resolver may take seconds, in which packets shall pass.

use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use port_hopping::hosts::HostName;

use crate::wake::Handle;

/// Most addresses of one name that are used.
pub(crate) const ADDRESSES_A_NAME_MAX: usize = 16;

/// What became of a name.
pub(crate) struct Resolved {
    /// The number that was given with the question.
    pub(crate) place: usize,
    pub(crate) addresses: io::Result<Vec<IpAddr>>,
}

/// Asks and answers. At most one question a place is under way; the caller sees to that.
pub(crate) struct Resolver {
    questions: Sender<(usize, HostName)>,
    answers: Receiver<Resolved>,
}

impl Resolver {
    /// Starts the thread. It ends with the value, after the question that it is at.
    pub(crate) fn start(wake: Handle) -> io::Result<Self> {
        let (questions, asked) = channel::<(usize, HostName)>();
        let (give, answers) = channel();
        thread::Builder::new().name("resolver".into()).spawn(move || {
            for (place, name) in asked {
                let addresses = (name.as_str(), 0).to_socket_addrs().map(|found| {
                    let mut addresses: Vec<IpAddr> = Vec::new();
                    for address in found.map(|address| address.ip()) {
                        if !addresses.contains(&address) && addresses.len() < ADDRESSES_A_NAME_MAX {
                            addresses.push(address);
                        }
                    }
                    addresses
                });
                if give.send(Resolved { place, addresses }).is_err() {
                    return;
                }
                wake.ring();
            }
        })?;
        Ok(Self { questions, answers })
    }

    pub(crate) fn ask(&self, place: usize, name: &HostName) {
        // The thread ends only with this value.
        let _ = self.questions.send((place, name.clone()));
    }

    pub(crate) fn answer(&self) -> Option<Resolved> {
        self.answers.try_recv().ok()
    }
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Resolver")
    }
}
