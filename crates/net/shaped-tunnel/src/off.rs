//! The loop of mode `off`: packets, the doorbell and time-outs wake it, and it sends at once.

use crate::driven::Driven;
use crate::process::{Going, RunError, Shell, now};
use link::Now;
use os_net::slot_sender::Way;
use os_net::udp::{RecvBuffers, SEND_PACKETS_MAX, SendError};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::time::Duration;
use tracing::debug;

/// Batches sent before anything is received.
const SEND_ROUNDS: usize = 8;
/// How often is looked at what is due while the kernel has no room for a batch, unless packets come. Most of what is due then is to be
/// sent, and stays due until there is room.
const STUCK_LOOK: Duration = Duration::from_millis(10);

/// State of the loop.
pub(crate) struct OffLoop<'a, N> {
    shell: &'a mut Shell<N>,
    buffers: RecvBuffers,
    out: Vec<u8>,
    /// A batch that the kernel's buffer had no room for. Nothing that was sealed is dropped.
    stuck: Option<Way>,
}

impl<'a, N: Driven> OffLoop<'a, N> {
    pub(crate) fn new(shell: &'a mut Shell<N>) -> Self {
        Self { shell, buffers: RecvBuffers::new(), out: Vec::new(), stuck: None }
    }

    pub(crate) fn run(mut self) -> Result<(), RunError> {
        loop {
            let received = self.shell.receive(&mut self.buffers)?;
            let now = now();
            self.shell.node.handle_timeout_if_due(now);
            self.shell.node.handle_queues(now);
            let sent = self.send();
            self.shell.drain_events();
            self.shell.report(now);
            if self.shell.handle_channel()? == Going::Ended {
                return Ok(());
            }
            if received == 0 && !sent {
                self.sleep()?;
            }
        }
    }

    /// Sends what there is. True if something went out.
    fn send(&mut self) -> bool {
        let mut any = false;
        for _ in 0..SEND_ROUNDS {
            let way = self.stuck.take().or_else(|| {
                self.out.clear();
                let route = self.shell.node.poll_transmit(now(), SEND_PACKETS_MAX, &mut self.out)?;
                Some(self.shell.sockets.way(route))
            });
            let Some(way) = way else { break };
            match way.socket.send_batch_from(way.from, way.to, &self.out, self.shell.packet_bytes) {
                Ok(sent) => {
                    any |= sent.packets > 0;
                    self.shell.reporter.sent(sent.packets as u64);
                    if sent.blocked {
                        self.out.drain(..sent.packets * self.shell.packet_bytes);
                        self.stuck = Some(way);
                        break;
                    }
                }
                Err(error) => {
                    debug!(%error, "a batch was not sent");
                    self.shell.reporter.send_failed(error);
                    if let SendError::Unreachable(_) = error {
                        let packets = self.out.len() / self.shell.packet_bytes;
                        self.shell.handle_unreachable(&way, packets as u64);
                    }
                }
            }
        }
        any
    }

    /// Sleeps until a packet, the doorbell, the supervisor or a time-out. The flag that asks for the doorbell
    /// is raised before the queues are looked at once more, so no wake-up is lost.
    fn sleep(&mut self) -> Result<(), RunError> {
        let now = now();
        if self.stuck.is_some() {
            // What the queues bring could not leave either.
            return self.wait(now, false);
        }
        let Some(queues) = self.shell.node.queues() else { return self.wait(now, false) };
        if !queues.prepare_sleep() {
            return Ok(());
        }
        let waited = self.wait(now, true);
        if let Some(queues) = self.shell.node.queues() {
            queues.awake();
        }
        waited
    }

    fn wait(&mut self, now: Now, bell: bool) -> Result<(), RunError> {
        let longest = self.shell.sleep_max();
        let timeout = self.shell.node.next_wake(now);
        let until = timeout.map(|at| at.saturating_duration_since(now.instant));
        let until = rest(until, longest, self.stuck.is_some());
        let timeout = Timespec { tv_sec: until.as_secs() as i64, tv_nsec: i64::from(until.subsec_nanos()) };
        let shell = &*self.shell;
        let mut watched = shell.sockets.watched(PollFlags::IN);
        watched.push(PollFd::new(shell.channel(), PollFlags::IN));
        if let Some(way) = &self.stuck {
            watched.push(PollFd::new(&*way.socket, PollFlags::OUT));
        }
        if bell && let Some(queues) = shell.node.queues_ref() {
            watched.push(PollFd::from_borrowed_fd(queues.bell_fd(), PollFlags::IN));
        }
        match poll(&mut watched, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(RunError::Socket(error.into())),
        }
    }
}

/// How long to sleep if nothing else wakes. `until`: when something is due.
fn rest(until: Option<Duration>, longest: Duration, is_stuck: bool) -> Duration {
    let least = if is_stuck { STUCK_LOOK } else { Duration::ZERO };
    until.map_or(longest, |until| until.max(least)).min(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_does_not_wake_a_loop_that_cannot_send() {
        let (ms, longest) = (Duration::from_millis, Duration::from_secs(1));
        for (until, free, stuck) in [
            (None, longest, longest),
            (Some(ms(0)), ms(0), ms(10)),
            (Some(ms(40)), ms(40), ms(40)),
            (Some(ms(1_500)), longest, longest),
        ] {
            assert_eq!([rest(until, longest, false), rest(until, longest, true)], [free, stuck], "{until:?}");
        }
    }
}
