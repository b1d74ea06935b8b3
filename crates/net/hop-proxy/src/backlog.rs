//! What waits for a socket that cannot send.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use os_net::datagram::{Departing, Train};

/// Most bytes that wait for one socket, beside what the kernel holds. When full, the oldest datagrams go: what is late
/// is of less use than what is not. Holds at least two of the largest datagrams.
pub const BACKLOG_BYTES_MAX: usize = 256 * 1024;

/// Most trains that wait for one socket, so that small ones do not take more memory than large ones.
pub const BACKLOG_TRAINS_MAX: usize = 512;

/// Trains with their destinations, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    waiting: VecDeque<Waiting>,
    bytes: usize,
}

#[derive(Debug)]
struct Waiting {
    to: Option<SocketAddr>,
    from: Option<IpAddr>,
    bytes: Box<[u8]>,
    segment_bytes: usize,
    traffic_class: u8,
    /// Datagrams of the front that have gone already.
    gone: usize,
}

impl Waiting {
    fn departing(&self) -> Option<Departing<'_>> {
        let train = Train::new(&self.bytes, self.segment_bytes, self.traffic_class).without_first(self.gone)?;
        Some(Departing { to: self.to, from: self.from, train })
    }

    fn datagrams(&self) -> usize {
        self.departing().map_or(0, |departing| departing.train.datagrams())
    }
}

impl Backlog {
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Puts a train at the end; returns how many datagrams had to go for it.
    pub(crate) fn push(&mut self, departing: &Departing<'_>) -> u64 {
        let train = &departing.train;
        self.bytes += train.bytes().len();
        self.waiting.push_back(Waiting {
            to: departing.to,
            from: departing.from,
            bytes: train.bytes().into(),
            segment_bytes: train.segment_bytes(),
            traffic_class: train.traffic_class(),
            gone: 0,
        });
        let mut dropped = 0;
        while self.bytes > BACKLOG_BYTES_MAX || self.waiting.len() > BACKLOG_TRAINS_MAX {
            let Some(oldest) = self.pop() else { break };
            dropped += oldest.datagrams() as u64;
        }
        dropped
    }

    /// The oldest trains, at most `count`.
    pub(crate) fn front(&self, count: usize) -> Vec<Departing<'_>> {
        self.waiting.iter().take(count).filter_map(Waiting::departing).collect()
    }

    /// Forgets `trains` whole ones from the front, and `datagrams` of the one behind.
    pub(crate) fn take(&mut self, trains: usize, datagrams: usize) {
        for _ in 0..trains {
            self.pop();
        }
        if let Some(front) = self.waiting.front_mut() {
            front.gone += datagrams;
        }
    }

    /// Gives everything another destination: what waited for a way that has been found.
    pub(crate) fn aim(&mut self, to: SocketAddr) {
        for waiting in &mut self.waiting {
            waiting.to = Some(to);
        }
    }

    /// Datagrams that wait.
    pub(crate) fn datagrams(&self) -> u64 {
        self.waiting.iter().map(|waiting| waiting.datagrams() as u64).sum()
    }

    fn pop(&mut self) -> Option<Waiting> {
        let waiting = self.waiting.pop_front()?;
        self.bytes -= waiting.bytes.len();
        Some(waiting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn departing(bytes: &[u8], segment_bytes: usize) -> Departing<'_> {
        Departing { to: None, from: None, train: Train::new(bytes, segment_bytes, 0) }
    }

    #[test]
    fn the_oldest_go_when_it_is_full_and_are_counted() {
        let mut backlog = Backlog::default();
        let body = vec![1; 65_000];
        assert_eq!((0..4).map(|_| backlog.push(&departing(&body, 1_000))).sum::<u64>(), 0);
        assert_eq!(backlog.push(&departing(&body, 0)), 65);
        assert_eq!(backlog.datagrams(), 3 * 65 + 1);
        let mut small = Backlog::default();
        let dropped: u64 = (0..600).map(|_| small.push(&departing(&[], 0))).sum();
        assert_eq!((dropped, small.datagrams()), (88, 512));
    }

    #[test]
    fn what_went_is_forgotten_and_the_rest_keeps_its_order() {
        let mut backlog = Backlog::default();
        backlog.push(&departing(&[1, 1, 2, 2, 3], 2));
        backlog.push(&departing(&[9], 0));
        backlog.take(0, 2);
        let front: Vec<Vec<u8>> = backlog.front(9).iter().map(|departing| departing.train.bytes().to_vec()).collect();
        assert_eq!(front, [vec![3], vec![9]]);
        backlog.take(1, 0);
        assert_eq!((backlog.front(9).len(), backlog.bytes), (1, 1));
        backlog.aim(([127, 0, 0, 1], 9).into());
        assert_eq!(backlog.front(9)[0].to, Some(([127, 0, 0, 1], 9).into()));
        backlog.take(1, 0);
        assert!(backlog.is_empty() && backlog.bytes == 0);
    }
}
