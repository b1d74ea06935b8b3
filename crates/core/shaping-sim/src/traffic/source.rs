//! A workload while it runs.

use super::{Exchanges, Pace, Workload};
use crate::random::Draws;
use crate::trace::{Client, Direction, Trace, Transfer};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

/// A transfer that begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Arrival {
    pub(crate) transfer: Transfer,
    /// When the exchange began that it is part of.
    pub(crate) begun: Option<Duration>,
}

/// Transfers in the order of time. What is due at the same moment comes in the order of clients.
#[derive(Debug)]
pub(crate) struct Source {
    due: BinaryHeap<Reverse<Arrival>>,
    people: Option<People>,
}

#[derive(Debug)]
struct People {
    exchanges: Exchanges,
    persons: Vec<Person>,
    /// Requests begin before this.
    until: Duration,
}

/// Streams of its own, so that what one does changes no other's draws, and one for each kind of draw, so that how long
/// an answer takes changes nothing that does not wait for it.
#[derive(Debug)]
struct Person {
    sizes: Draws,
    pauses: Draws,
}

impl Person {
    fn new(seed: u64, client: u32) -> Self {
        let stream = 2 * u64::from(client);
        Self { sizes: Draws::new(seed, stream), pauses: Draws::new(seed, stream + 1) }
    }

    fn pause(&mut self, mean: Duration) -> Duration {
        Duration::from_secs_f64(self.pauses.exponential(mean.as_secs_f64()))
    }
}

impl Source {
    /// Exchanges begin in the first `length`; a trace is replayed up to there.
    pub(crate) fn new(workload: &Workload, length: Duration, seed: u64) -> Self {
        let (exchanges, trace, first) = match workload {
            Workload::Replay(trace) => (None, Some(trace), 0),
            Workload::Exchanges(exchanges) => (Some(exchanges), None, 0),
            Workload::Both(exchanges, trace) => (Some(exchanges), Some(trace), exchanges.clients),
        };
        let within = trace.into_iter().flat_map(Trace::transfers).filter(|transfer| transfer.at < length);
        let renumbered = within.map(|transfer| Transfer { client: Client(first + transfer.client.0), ..*transfer });
        let due = renumbered.map(|transfer| Reverse(Arrival { transfer, begun: None })).collect();
        let people = exchanges.map(|exchanges| {
            let persons = (0..exchanges.clients).map(|client| Person::new(seed, client)).collect();
            People { exchanges: *exchanges, persons, until: length }
        });
        let mut source = Self { due, people };
        for client in 0..exchanges.map_or(0, Exchanges::clients) {
            source.ask_first(Client(client));
        }
        source
    }

    /// When the next transfer begins.
    pub(crate) fn next_at(&self) -> Option<Duration> {
        self.due.peek().map(|Reverse(arrival)| arrival.transfer.at)
    }

    /// The next transfer that begins at `now` or before.
    pub(crate) fn pop(&mut self, now: Duration) -> Option<Arrival> {
        self.next_at().filter(|at| *at <= now)?;
        let Reverse(arrival) = self.due.pop()?;
        self.ask_again(arrival);
        Some(arrival)
    }

    /// The last byte of a transfer has come at `now`: its answer begins, or somebody begins to think. True if an exchange
    /// is complete.
    pub(crate) fn handle_done(&mut self, done: &Arrival, now: Duration) -> bool {
        let (Some(people), Some(begun)) = (&mut self.people, done.begun) else { return false };
        let client = done.transfer.client;
        let Some(person) = people.persons.get_mut(client.0 as usize) else { return false };
        if done.transfer.direction == Direction::Up {
            let bytes = people.exchanges.answers.draw(&mut person.sizes);
            let transfer = Transfer { at: now, client, direction: Direction::Down, bytes };
            self.due.push(Reverse(Arrival { transfer, begun: Some(begun) }));
            return false;
        }
        if let Pace::Thinking(mean) = people.exchanges.pace {
            let thinking = person.pause(mean);
            self.ask(client, now + thinking);
        }
        true
    }

    fn ask_first(&mut self, client: Client) {
        let Some(people) = &mut self.people else { return };
        let person = &mut people.persons[client.0 as usize];
        let at = match people.exchanges.pace {
            Pace::Every(interval) => interval.mul_f64(person.pauses.unit()),
            Pace::Random(mean) | Pace::Thinking(mean) => person.pause(mean),
        };
        self.ask(client, at);
    }

    /// Open loop: the next request does not wait for anything.
    fn ask_again(&mut self, arrival: Arrival) {
        let Some(people) = &mut self.people else { return };
        let Transfer { at, client, direction, .. } = arrival.transfer;
        if direction == Direction::Down || arrival.begun.is_none() {
            return;
        }
        let interval = match people.exchanges.pace {
            Pace::Every(interval) => interval,
            Pace::Random(mean) => people.persons[client.0 as usize].pause(mean),
            Pace::Thinking(_) => return,
        };
        self.ask(client, at + interval);
    }

    fn ask(&mut self, client: Client, at: Duration) {
        let Some(people) = self.people.as_ref().filter(|people| at < people.until) else { return };
        let transfer = Transfer { at, client, direction: Direction::Up, bytes: people.exchanges.request_bytes };
        self.due.push(Reverse(Arrival { transfer, begun: Some(at) }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traffic::TrafficError;

    /// Runs a workload through a network without any delay but `answer_takes`; gives the moments of requests of client 0.
    fn requests(exchanges: Exchanges, seed: u64, answer_takes: Duration) -> Vec<Duration> {
        let length = Duration::from_secs(200);
        let mut source = Source::new(&Workload::Exchanges(exchanges), length, seed);
        let mut moments = Vec::new();
        while let Some(at) = source.next_at() {
            let arrival = source.pop(at).expect("it is due");
            let up = arrival.transfer.direction == Direction::Up;
            if up && arrival.transfer.client == Client(0) {
                moments.push(at);
            }
            let took = if up { Duration::ZERO } else { answer_takes };
            assert_eq!(source.handle_done(&arrival, at + took), !up);
        }
        moments
    }

    #[test]
    fn open_loops_do_not_wait_and_closed_ones_do() -> Result<(), TrafficError> {
        let (fast, slow) = (Duration::ZERO, Duration::from_secs(20));
        for open in [Exchanges::video(3)?, Exchanges::web(3)?, Exchanges::small_requests(3)?] {
            assert_eq!(requests(open, 1, fast), requests(open, 1, slow));
        }
        assert_eq!(requests(Exchanges::video(3)?, 1, slow).len(), 40);
        for closed in [Exchanges::waiting_video(3)?, Exchanges::waiting_web(3)?] {
            assert!(requests(closed, 1, slow).len() <= 10);
            assert!(requests(closed, 1, fast).len() > 10);
        }
        Ok(())
    }

    #[test]
    fn the_clients_of_a_trace_stand_behind_the_others_and_change_none_of_them() -> Result<(), Box<dyn std::error::Error>>
    {
        let web = Exchanges::web(3)?;
        let guest = |direction| Transfer { at: Duration::from_secs(9), client: Client(1), direction, bytes: 77 };
        let trace = Trace::new(vec![guest(Direction::Up), guest(Direction::Down)])?;
        let both = Workload::Both(web, trace);
        assert_eq!(both.clients(), 5);
        let all = |workload: &Workload| {
            let mut source = Source::new(workload, Duration::from_secs(100), 1);
            std::iter::from_fn(|| source.next_at().and_then(|at| source.pop(at))).collect::<Vec<_>>()
        };
        let (guests, others): (Vec<_>, Vec<_>) = all(&both).into_iter().partition(|arrival| arrival.begun.is_none());
        assert_eq!(guests.iter().map(|guest| guest.transfer.client.0).collect::<Vec<_>>(), [4, 4]);
        assert_eq!(others, all(&Workload::Exchanges(web)));
        Ok(())
    }

    #[test]
    fn seeds_replay() -> Result<(), TrafficError> {
        let exchanges = Exchanges::web(3)?;
        assert_eq!(requests(exchanges, 7, Duration::ZERO), requests(exchanges, 7, Duration::ZERO));
        assert_ne!(requests(exchanges, 7, Duration::ZERO), requests(exchanges, 8, Duration::ZERO));
        Ok(())
    }
}
