//! What happened, in numbers.

use std::collections::BTreeMap;
use std::fmt;

use port_hopping::causes::Cause;
use rustix::io::Errno;

/// Counters of everything that goes one way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Direction {
    /// Datagrams that came.
    pub received_datagrams: u64,
    /// Their bytes.
    pub received_bytes: u64,
    /// Datagrams that the kernel took.
    pub sent_datagrams: u64,
    /// Their bytes.
    pub sent_bytes: u64,
    /// How often the kernel's send buffer was full.
    pub blocked: u64,
    /// Datagrams that were dropped because too much waited.
    pub dropped: u64,
    /// Datagrams that the system refused to send.
    pub refused: u64,
    /// Errors of the system by their number, whether they cost a datagram or not.
    pub errors: BTreeMap<i32, u64>,
}

impl Direction {
    /// Datagrams that were to be sent and were not.
    pub(crate) fn lost(&self) -> u64 {
        self.dropped + self.refused
    }

    /// Notes an error that cost `datagrams`.
    pub(crate) fn refuse(&mut self, errno: Errno, datagrams: u64) {
        self.refused += datagrams;
        // Bounded by the number of errors there are.
        *self.errors.entry(errno.raw_os_error()).or_default() += 1;
    }
}

/// All counters of one end. They only grow, but for `flows` and `ports`, which say how many there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    /// From programs towards the target.
    pub up: Direction,
    /// From the target towards programs.
    pub down: Direction,
    /// Flows there are: senders that have a socket of their own.
    pub flows: u64,
    /// Listening sockets there are.
    pub ports: u64,
    /// Flows that were opened.
    pub opened: u64,
    /// Flows that ended because they were idle.
    pub expired: u64,
    /// Flows that had to make room for others.
    pub evicted: u64,
    /// Datagrams of senders that got no socket.
    pub no_socket: u64,
    /// Datagrams that went nowhere because no address of the other end is known or no knock was answered.
    pub no_way: u64,
    /// Datagrams from addresses that had no right to send them.
    pub strangers: u64,
    /// Hops by their cause (client).
    pub hops: BTreeMap<Cause, u64>,
    /// Hops that were undone because the new port brought nothing back (client without a key).
    pub undone: u64,
    /// Knocks that were sent (client) or were good (server).
    pub knocks: u64,
    /// Ports that could not be opened (server).
    pub ports_missing: u64,
}

impl fmt::Display for Counters {
    /// One line: what is not zero.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "flows={} ports={}", self.flows, self.ports)?;
        for (name, way) in [("up", &self.up), ("down", &self.down)] {
            write!(f, " {name}={}/{}B", way.sent_datagrams, way.sent_bytes)?;
            for (what, count) in [("blocked", way.blocked), ("dropped", way.dropped), ("refused", way.refused)] {
                if count > 0 {
                    write!(f, " {name}_{what}={count}")?;
                }
            }
            for (errno, count) in &way.errors {
                write!(f, " {name}_errno{errno}={count}")?;
            }
        }
        let rest = [
            ("opened", self.opened),
            ("expired", self.expired),
            ("evicted", self.evicted),
            ("no_socket", self.no_socket),
            ("no_way", self.no_way),
            ("strangers", self.strangers),
            ("undone", self.undone),
            ("knocks", self.knocks),
            ("ports_missing", self.ports_missing),
        ];
        for (name, count) in rest.into_iter().filter(|(_, count)| *count > 0) {
            write!(f, " {name}={count}")?;
        }
        for (cause, count) in &self.hops {
            write!(f, " hops_{}={count}", label(*cause))?;
        }
        Ok(())
    }
}

fn label(cause: Cause) -> &'static str {
    match cause {
        Cause::Interval => "interval",
        Cause::Bytes => "bytes",
        Cause::Loss => "loss",
        Cause::Rate => "rate",
        Cause::Silence => "silence",
        Cause::PeerAsked => "peer",
        Cause::OperatorAsked => "asked",
        Cause::SocketFailed => "refused",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_names_what_happened_and_nothing_else() {
        let mut counters = Counters { flows: 2, ports: 1, ..Counters::default() };
        assert_eq!(counters.to_string(), "flows=2 ports=1 up=0/0B down=0/0B");
        counters.up.refuse(Errno::PERM, 3);
        counters.hops.insert(Cause::Bytes, 4);
        assert_eq!(counters.to_string(), "flows=2 ports=1 up=0/0B up_refused=3 up_errno1=1 down=0/0B hops_bytes=4");
    }
}
