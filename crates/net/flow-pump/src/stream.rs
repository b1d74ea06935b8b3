//! The pump of a stream flow: socket to out-ring and in-ring to socket, half-closes, resets.

use crate::figures::Figures;
use crate::port::FlowPort;
use crate::socket::Socket;
use proxy_protocols::answer::{self, Protocol};
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};
use wire::flow::ResetReason;

/// Bytes that one flow moves in one direction before the others get their turn.
pub const TURN_BYTES: usize = 256 * 1024;

/// Tries of one flow in one direction that moved nothing although its socket was called ready, before the others get their
/// turn: whoever writes a ring can call it ready at will.
const TRIES_MAX: u32 = 64;

/// What a stream begins with.
#[derive(Debug, Default)]
pub struct Start {
    /// Bytes from the application that came with its request.
    pub early: Vec<u8>,
    /// The protocol in which the application waits for an answer before its destination's first byte.
    pub answer: Option<Protocol>,
}

/// How a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Both directions were closed in good order.
    Finished,
    /// The other side of the queues reset the flow for this reason. `answered`: the application has had its answer
    /// or waits for none, so that nothing but a reset can tell it.
    Reset {
        /// Why.
        reason: ResetReason,
        /// Whether an answer in the application's protocol is too late.
        answered: bool,
    },
    /// The socket failed or was reset by its other end; the flow has been reset too.
    SocketFailed,
}

/// Moves bytes until the flow is over. The queue pair is closed when this returns; the socket is the caller's to
/// close. Cancelling resets the flow, and so does the death of the process, on the socket's side too.
pub async fn pump(port: FlowPort, socket: &Socket, start: Start, figures: &Figures) -> End {
    let mut pump = Pump {
        port: &port,
        socket,
        figures,
        early: start.early,
        early_written: 0,
        answer: start.answer,
        saying: Vec::new(),
        said: 0,
        socket_ended: false,
        far_ended: false,
    };
    socket.set_reset_on_close(true);
    let end = poll_fn(|context| {
        pump.port.register(context.waker());
        let polled = pump.poll(context);
        pump.port.flush();
        polled
    })
    .await;
    let end = end.unwrap_or(End::SocketFailed);
    socket.set_reset_on_close(false);
    port.close(ResetReason::ByPeer);
    end
}

struct Pump<'a> {
    port: &'a FlowPort,
    socket: &'a Socket,
    figures: &'a Figures,
    early: Vec<u8>,
    early_written: usize,
    /// Still to be given.
    answer: Option<Protocol>,
    saying: Vec<u8>,
    said: usize,
    /// The socket's end of file has been passed on.
    socket_ended: bool,
    /// The other side's end of file has been passed on.
    far_ended: bool,
}

impl Pump<'_> {
    /// An error is the socket's.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<io::Result<End>> {
        if let Some(reason) = self.port.reset_received() {
            return Poll::Ready(Ok(End::Reset { reason, answered: self.answer.is_none() }));
        }
        self.give_answer();
        let inwards = self.poll_inwards(context)?;
        let outwards = self.poll_outwards(context)?;
        if self.socket_ended && self.far_ended {
            return Poll::Ready(Ok(End::Finished));
        }
        if inwards == Turn::Spent || outwards == Turn::Spent {
            context.waker().wake_by_ref();
        }
        Poll::Pending
    }

    fn give_answer(&mut self) {
        if let Some(protocol) = self.answer
            && let Some(bound) = self.port.connected()
        {
            self.saying = answer::established(protocol, bound);
            self.answer = None;
        }
    }

    /// Socket to out-ring. A full ring stops the reading of this socket and of nothing else.
    fn poll_inwards(&mut self, context: &mut Context<'_>) -> io::Result<Turn> {
        if !self.write_early() {
            return Ok(Turn::Waiting);
        }
        let (mut moved, mut in_vain) = (0, 0);
        while !self.socket_ended {
            if moved >= TURN_BYTES || in_vain >= TRIES_MAX {
                return Ok(Turn::Spent);
            }
            if self.port.room() == 0 || !is_ready(self.socket.poll_read_ready(context))? {
                break;
            }
            match self.socket.fill(self.port, TURN_BYTES) {
                Ok(0) => {
                    self.socket_ended = true;
                    self.port.send_fin();
                }
                Ok(count) => {
                    moved += count;
                    self.figures.add_in(count);
                }
                Err(error) if is_transient(&error) => in_vain += 1,
                Err(error) => return Err(error),
            }
        }
        Ok(Turn::Waiting)
    }

    /// In-ring to socket, behind the answer.
    fn poll_outwards(&mut self, context: &mut Context<'_>) -> io::Result<Turn> {
        if !self.say(context)? {
            return Ok(Turn::Waiting);
        }
        let (mut moved, mut in_vain) = (0, 0);
        while !self.far_ended {
            if moved >= TURN_BYTES || in_vain >= TRIES_MAX {
                return Ok(Turn::Spent);
            }
            if self.port.unread() == 0 {
                if self.port.is_at_end() {
                    self.far_ended = true;
                    // The other end may have gone already: then its half is closed anyway.
                    let _ = self.socket.shutdown_write();
                }
                break;
            }
            if !is_ready(self.socket.poll_write_ready(context))? {
                break;
            }
            match self.socket.drain(self.port, TURN_BYTES) {
                Ok(count) => {
                    moved += count;
                    self.figures.add_out(count);
                }
                Err(error) if is_transient(&error) => in_vain += 1,
                Err(error) => return Err(error),
            }
        }
        Ok(Turn::Waiting)
    }

    /// Puts the early bytes into the ring. True: all of them are there.
    fn write_early(&mut self) -> bool {
        let left = &self.early[self.early_written..];
        if left.is_empty() {
            return true;
        }
        let count = self.port.write(left);
        self.early_written += count;
        self.figures.add_in(count);
        self.early_written == self.early.len()
    }

    /// Writes the answer to the socket. True: it was written, or none is due.
    fn say(&mut self, context: &mut Context<'_>) -> io::Result<bool> {
        if self.answer.is_some() {
            return Ok(false);
        }
        while self.said < self.saying.len() {
            if !is_ready(self.socket.poll_write_ready(context))? {
                return Ok(false);
            }
            let left = &self.saying[self.said..];
            match self.socket.try_write(left) {
                Ok(count) => self.said += count,
                Err(error) if is_transient(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

/// Whether a direction stopped because its share of the turn is spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    Waiting,
    Spent,
}

fn is_ready(polled: Poll<io::Result<()>>) -> io::Result<bool> {
    match polled {
        Poll::Ready(result) => result.map(|()| true),
        Poll::Pending => Ok(false),
    }
}

fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
