//! A watched socket with what waits to be sent on it.

use std::io;

use os_net::datagram::{DatagramSocket, Departing, Ended, Inbox};
use rustix::io::Errno;

use crate::backlog::Backlog;
use crate::counters::Direction;
use crate::poller::{Poller, Ready, Token};

/// Most trains that are sent from a backlog in one turn.
const DRAINED_A_TURN_MAX: usize = 64;

/// A socket in a [`Poller`]. Idle, it takes a few words; room is taken when the kernel's buffer is full.
#[derive(Debug)]
pub(crate) struct Outlet {
    socket: DatagramSocket,
    token: Token,
    /// Present while something waits; then, and only then, the socket is watched for writing.
    backlog: Option<Box<Backlog>>,
}

impl Outlet {
    /// Watches a socket for reading.
    pub(crate) fn open(socket: DatagramSocket, token: Token, poller: &Poller) -> io::Result<Self> {
        poller.add(&socket, token)?;
        Ok(Self { socket, token, backlog: None })
    }

    pub(crate) fn socket(&self) -> &DatagramSocket {
        &self.socket
    }

    /// Unregisters, frees what waits, closes. Returns how many datagrams waited.
    pub(crate) fn close(self, poller: &Poller) -> u64 {
        poller.remove(&self.socket);
        self.backlog.map_or(0, |backlog| backlog.datagrams())
    }

    /// Receives a batch. Errors that only say what became of an earlier send are counted, and nothing came.
    pub(crate) fn receive(&self, inbox: &mut Inbox, tally: &mut Direction) -> usize {
        match self.socket.receive(inbox) {
            Ok(count) => {
                for arrived in inbox.iter() {
                    tally.received_datagrams += arrived.train.datagrams() as u64;
                    tally.received_bytes += arrived.train.bytes().len() as u64;
                }
                count
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => {
                tally.refuse(Errno::from_io_error(&error).unwrap_or(Errno::IO), 0);
                0
            }
        }
    }

    /// Sends trains, behind those that wait already. What the kernel refuses is counted and lost, what it has no room
    /// for waits. Returns the last refusal.
    pub(crate) fn send(&mut self, poller: &Poller, trains: &[Departing<'_>], tally: &mut Direction) -> Option<Errno> {
        if let Some(backlog) = &mut self.backlog {
            tally.dropped += trains.iter().map(|departing| backlog.push(departing)).sum::<u64>();
            return None;
        }
        let (done, datagrams, refusal) = send_all(&self.socket, trains, tally);
        let waiting = trains.get(done..).unwrap_or_default();
        if waiting.is_empty() {
            return refusal;
        }
        let mut backlog = Box::<Backlog>::default();
        for (place, departing) in waiting.iter().enumerate() {
            let rest = if place == 0 { departing.train.without_first(datagrams) } else { Some(departing.train) };
            if let Some(train) = rest {
                tally.dropped += backlog.push(&Departing { train, ..*departing });
            }
        }
        tally.blocked += 1;
        // Without the event nothing would ever leave: then it is lost at once.
        match poller.watch_writing(&self.socket, self.token, true) {
            Ok(()) => self.backlog = Some(backlog),
            Err(_) => tally.dropped += backlog.datagrams(),
        }
        refusal
    }

    /// Sends what waits if an event says that there is room.
    pub(crate) fn drain_if(&mut self, ready: Ready, poller: &Poller, tally: &mut Direction) {
        if ready.writable {
            self.drain(poller, tally);
        }
    }

    /// Sends what waits, as far as there is room.
    fn drain(&mut self, poller: &Poller, tally: &mut Direction) {
        let Some(backlog) = &mut self.backlog else { return };
        let front = backlog.front(DRAINED_A_TURN_MAX);
        let (done, datagrams, _) = send_all(&self.socket, &front, tally);
        backlog.take(done, datagrams);
        if backlog.is_empty() && poller.watch_writing(&self.socket, self.token, false).is_ok() {
            self.backlog = None;
        }
    }

    /// Takes over what waited elsewhere.
    pub(crate) fn adopt(&mut self, poller: &Poller, waited: &mut Backlog, tally: &mut Direction) {
        loop {
            let front = waited.front(DRAINED_A_TURN_MAX);
            let count = front.len();
            if count == 0 {
                return;
            }
            self.send(poller, &front, tally);
            waited.take(count, 0);
        }
    }
}

/// Sends until all went or were refused, or the kernel has no room. Returns the whole trains that are settled, the
/// datagrams that went of the next one, and the last refusal.
fn send_all(socket: &DatagramSocket, trains: &[Departing<'_>], tally: &mut Direction) -> (usize, usize, Option<Errno>) {
    let mut done = 0;
    let mut refusal = None;
    let mut told = false;
    while let Some(rest) = trains.get(done..).filter(|rest| !rest.is_empty()) {
        let sent = socket.send(rest);
        for departing in rest.iter().take(sent.trains) {
            tally.sent_datagrams += departing.train.datagrams() as u64;
            tally.sent_bytes += departing.train.bytes().len() as u64;
        }
        tally.sent_datagrams += sent.datagrams as u64;
        done += sent.trains;
        told &= sent.trains == 0;
        match sent.ended {
            Ended::Done => break,
            Ended::Blocked => return (done, sent.datagrams, refusal),
            // What a connected socket says of an earlier datagram; this one was not tried.
            Ended::Refused(Errno::CONNREFUSED) if !told && sent.datagrams == 0 => {
                told = true;
                refusal = Some(Errno::CONNREFUSED);
                tally.refuse(Errno::CONNREFUSED, 0);
            }
            Ended::Refused(errno) => {
                let all = trains.get(done).map_or(0, |departing| departing.train.datagrams());
                tally.refuse(errno, all.saturating_sub(sent.datagrams) as u64);
                refusal = Some(errno);
                done += 1;
                told = false;
            }
        }
    }
    (done, 0, refusal)
}
