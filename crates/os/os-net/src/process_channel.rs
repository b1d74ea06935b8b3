//! Messages with descriptors between the supervisor and the processes that it starts.
//!
//! A channel is one end of a connected `SOCK_SEQPACKET` socket pair. A message is one JSON value of at most
//! [`MESSAGE_BYTES_MAX`] bytes with at most [`DESCRIPTORS_MAX`] descriptors (`SCM_RIGHTS`); message boundaries are
//! kept, and descriptors arrive with the message that they were sent with. Every descriptor that is made or received
//! here is closed on exec.
//!
//! The socket is non-blocking. [`Channel::try_receive`] and [`Channel::send`] never wait; [`Channel::receive`] waits
//! with `poll(2)`; [`AsyncChannel`] waits under tokio.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, sockopt,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::confine::Confinement;
use crate::readiness::Registered;

/// Number of the descriptor at which a started process finds its end of the channel.
pub const CHILD_DESCRIPTOR: RawFd = 3;

/// Largest message in bytes of JSON. A larger one is refused by the sender; the receiver refuses what does not fit.
pub const MESSAGE_BYTES_MAX: usize = 256 * 1024;

/// Most descriptors in one message. More are refused by the sender (the kernel's limit is 253).
pub const DESCRIPTORS_MAX: usize = 32;

/// What the supervisor tells a process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ToProcess {
    /// The first message: the role's configuration. With it come the segment and doorbell set, then the role's own
    /// descriptors, in the order that the role's `Boot` states.
    Boot {
        /// The role's `Boot`, as JSON.
        config: serde_json::Value,
    },
    /// The sibling process died: drop the old segments and every flow in them, use the set that comes with this.
    Attach {
        /// Generation of the new segments.
        generation: u64,
    },
    /// The answer to [`FromProcess::OpenSocket`]. With it comes the bound UDP socket, unless there is none.
    Socket {
        /// The number that the process gave.
        number: u32,
        /// Why there is no socket, for the log.
        refused: Option<String>,
    },
    /// The answer to [`FromProcess::Introduce`]. With it comes the segment of the other end, if they have met.
    Introduced {
        /// The number that the process gave.
        number: u32,
        /// What came of it.
        meeting: Meeting,
    },
    /// Something that only this role understands.
    Order {
        /// The role's own order, as JSON.
        body: serde_json::Value,
    },
    /// Finish what can be finished and end.
    Stop {
        /// Milliseconds until the supervisor kills the process.
        deadline_ms: u64,
    },
}

/// What a process tells the supervisor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum FromProcess {
    /// The process has set up everything and serves.
    Ready,
    /// Figures for `hushwire status`, about once a second.
    Status {
        /// The role's own figures.
        body: serde_json::Value,
    },
    /// The process cannot open sockets itself and asks for one that is bound to the node's own address.
    OpenSocket {
        /// Comes back with the answer.
        number: u32,
        /// Which of the sockets that the process has from its start it shares the address with: 0 is the first.
        beside: u32,
        /// The port; 0 leaves it to the system.
        port: u16,
        /// Whether another port will do if this one is taken.
        any_other: bool,
    },
    /// The process cannot open sockets itself and asks to be introduced to the other end of a unix connection
    /// (docs/spec/swap.md, 1). With it come the connection, which is not kept, and the segment to offer.
    Introduce {
        /// Comes back with the answer.
        number: u32,
    },
    /// Text that is to be there at the next start of this role, after a crash too. The last one counts.
    Keep {
        /// The whole text.
        text: String,
    },
    /// Something that only the supervisor can do, such as what needs a lasting key.
    Ask {
        /// The role's own question, as JSON.
        body: serde_json::Value,
    },
    /// What the process has given up, sent once after its start.
    Confined {
        /// What is in force.
        confinement: Confinement,
    },
    /// Something that a person should read; the process usually ends after it.
    Fault {
        /// What failed, where, why, and what to do about it, in one sentence.
        sentence: String,
    },
}

/// What came of an introduction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Meeting {
    /// The other end does not wait for one; nothing was offered to it.
    Absent,
    /// The segment was offered, and no other came in time.
    Silent,
    /// Segments were exchanged.
    Met,
}

/// Why a channel cannot be made or taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum OpenError {
    /// The descriptor is not open or not a `SOCK_SEQPACKET` socket: the process was not started by a supervisor.
    #[error("descriptor {0} is not a process channel; this command is only run by a supervisor")]
    NotAChannel(RawFd),
    /// The system refused to make or configure the socket (no descriptors, no memory).
    #[error("cannot make a process channel: {0}")]
    System(Errno),
}

impl From<OpenError> for io::Error {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::System(errno) => errno.into(),
            OpenError::NotAChannel(_) => Self::new(io::ErrorKind::InvalidInput, error),
        }
    }
}

/// Why a message was not sent. Nothing of it was sent then.
#[derive(Debug, Error)]
pub enum SendError {
    /// The other side has not read for so long that its buffer is full. Status may be dropped, orders be repeated.
    #[error("the other process does not read its channel")]
    Full,
    /// The other side ended.
    #[error("the other process has closed its channel")]
    Closed,
    /// The message is larger than [`MESSAGE_BYTES_MAX`].
    #[error("a message of {0} bytes is above the limit of {MESSAGE_BYTES_MAX}")]
    TooLarge(usize),
    /// More than [`DESCRIPTORS_MAX`] descriptors.
    #[error("{0} descriptors are above the limit of {DESCRIPTORS_MAX} per message")]
    TooManyDescriptors(usize),
    /// The value cannot be written as JSON (a map with keys that are no strings).
    #[error("the message cannot be written as JSON: {0}")]
    Encode(#[source] serde_json::Error),
    /// Any other answer of the system, such as too many descriptors in flight.
    #[error("sending on the process channel failed: {0}")]
    System(Errno),
}

/// Why there is no message.
#[derive(Debug, Error)]
pub enum ReceiveError {
    /// The other side ended. A started process exits on it at once.
    #[error("the other process has closed its channel")]
    Closed,
    /// The message or its descriptors were cut off: the sender does not keep to the limits, or this process has no
    /// free descriptors. Descriptors that did arrive are closed.
    #[error("a message on the process channel was cut off: above the limits, or no free descriptor (ulimit -n)")]
    Truncated,
    /// Not the JSON that was expected.
    #[error("a message on the process channel cannot be understood: {0}")]
    Decode(#[source] serde_json::Error),
    /// Any other answer of the system.
    #[error("receiving on the process channel failed: {0}")]
    System(Errno),
}

/// A message with the descriptors that came with it, in the order in which they were sent.
#[derive(Debug)]
pub struct Received<M> {
    /// The message.
    pub message: M,
    /// Its descriptors, all close-on-exec.
    pub descriptors: Vec<OwnedFd>,
}

/// One end of a process channel. Readable when a message waits or the other end is closed.
#[derive(Debug)]
pub struct Channel {
    socket: OwnedFd,
}

impl Channel {
    /// Two connected ends.
    pub fn pair() -> Result<(Self, Self), OpenError> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (one, other) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
            .map_err(OpenError::System)?;
        Ok((Self::configured(one)?, Self::configured(other)?))
    }

    /// Takes over a channel that this process was started with, usually [`CHILD_DESCRIPTOR`].
    ///
    /// To be called once, before anything else in the process opens descriptors: the number is taken to be ours.
    pub fn from_inherited(descriptor: RawFd) -> Result<Self, OpenError> {
        if descriptor < 0 {
            return Err(OpenError::NotAChannel(descriptor));
        }
        {
            // SAFETY: a borrow for the length of this block; a number that is not open makes the calls fail with EBADF.
            let borrowed = unsafe { BorrowedFd::borrow_raw(descriptor) };
            if sockopt::socket_type(borrowed) != Ok(SocketType::SEQPACKET) {
                return Err(OpenError::NotAChannel(descriptor));
            }
        }
        // SAFETY: the descriptor is open (checked above) and, by this function's contract, owned by nobody else.
        let socket = unsafe { OwnedFd::from_raw_fd(descriptor) };
        Self::configured(socket)
    }

    fn configured(socket: OwnedFd) -> Result<Self, OpenError> {
        let run = || {
            rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
            let flags = rustix::fs::fcntl_getfl(&socket)?;
            rustix::fs::fcntl_setfl(&socket, flags | rustix::fs::OFlags::NONBLOCK)?;
            // The kernel refuses a packet above the send buffer, so the buffer must hold the largest message. The
            // kernel doubles the figure and caps it by net.core.wmem_max, whose default (twice 208 KiB) suffices.
            sockopt::set_socket_send_buffer_size(&socket, 2 * MESSAGE_BYTES_MAX)
        };
        run().map_err(OpenError::System)?;
        Ok(Self { socket })
    }

    /// A second handle of the same end. The other side sees the end only when all handles are closed.
    pub fn try_clone(&self) -> Result<Self, OpenError> {
        let socket = self
            .socket
            .try_clone()
            .map_err(|error| OpenError::System(Errno::from_io_error(&error).unwrap_or(Errno::IO)))?;
        Ok(Self { socket })
    }

    /// Sends one message with descriptors, which stay the caller's. Never waits.
    pub fn send<M: Serialize>(&self, message: &M, descriptors: &[BorrowedFd<'_>]) -> Result<(), SendError> {
        let bytes = serde_json::to_vec(message).map_err(SendError::Encode)?;
        if bytes.len() > MESSAGE_BYTES_MAX {
            return Err(SendError::TooLarge(bytes.len()));
        }
        if descriptors.len() > DESCRIPTORS_MAX {
            return Err(SendError::TooManyDescriptors(descriptors.len()));
        }
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(SendError::TooManyDescriptors(descriptors.len()));
        }
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        loop {
            match rustix::net::sendmsg(&self.socket, &[IoSlice::new(&bytes)], &mut control, flags) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN | Errno::NOBUFS) => return Err(SendError::Full),
                Err(Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN) => return Err(SendError::Closed),
                Err(errno) => return Err(SendError::System(errno)),
            }
        }
    }

    /// Takes a message if one waits. Never waits.
    pub fn try_receive<M: DeserializeOwned>(&self) -> Result<Option<Received<M>>, ReceiveError> {
        let mut bytes = vec![0; MESSAGE_BYTES_MAX];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let received = loop {
            match rustix::net::recvmsg(&self.socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, flags) {
                Ok(received) => break received,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(None),
                Err(Errno::CONNRESET) => return Err(ReceiveError::Closed),
                Err(errno) => return Err(ReceiveError::System(errno)),
            }
        };
        let mut descriptors = Vec::new();
        for part in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = part {
                descriptors.extend(rights);
            }
        }
        if received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
            return Err(ReceiveError::Truncated);
        }
        // No JSON value is empty, so no bytes can only be the end.
        if received.bytes == 0 {
            return Err(ReceiveError::Closed);
        }
        let message = serde_json::from_slice(&bytes[..received.bytes]).map_err(ReceiveError::Decode)?;
        Ok(Some(Received { message, descriptors }))
    }

    /// Waits for a message. `None` for `timeout` waits for ever; `Ok(None)` says that the time is over.
    pub fn receive<M: DeserializeOwned>(&self, timeout: Option<Duration>) -> Result<Option<Received<M>>, ReceiveError> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            if let Some(received) = self.try_receive()? {
                return Ok(Some(received));
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Ok(None);
            }
            let left = left.and_then(|left| Timespec::try_from(left).ok());
            match rustix::event::poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], left.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(ReceiveError::System(errno)),
            }
        }
    }

    /// Wraps the channel for waiting under tokio. Must be called inside a tokio runtime with its IO driver enabled.
    pub fn into_async(self) -> Result<AsyncChannel, OpenError> {
        match Registered::from_channel(self) {
            Ok(inner) => Ok(AsyncChannel { inner }),
            Err(error) => Err(OpenError::System(Errno::from_io_error(&error).unwrap_or(Errno::IO))),
        }
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for Channel {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// A [`Channel`] under tokio.
#[derive(Debug)]
pub struct AsyncChannel {
    inner: Registered<Channel>,
}

impl AsyncChannel {
    /// Waits for the next message. Cancel-safe: a message is taken only when it is returned.
    pub async fn receive<M: DeserializeOwned>(&self) -> Result<Received<M>, ReceiveError> {
        loop {
            let io = |error: io::Error| ReceiveError::System(Errno::from_io_error(&error).unwrap_or(Errno::IO));
            self.inner.readable().await.map_err(io)?;
            let received = self.inner.try_read(|channel| match channel.try_receive() {
                Ok(None) => Err(io::ErrorKind::WouldBlock.into()),
                Ok(Some(received)) => Ok(Ok(received)),
                Err(error) => Ok(Err(error)),
            });
            match received {
                Ok(outcome) => return outcome,
                Err(blocked) if blocked.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(io(error)),
            }
        }
    }

    /// As [`Channel::send`]; never waits.
    pub fn send<M: Serialize>(&self, message: &M, descriptors: &[BorrowedFd<'_>]) -> Result<(), SendError> {
        self.inner.get_ref().send(message, descriptors)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek, Write};

    use super::*;

    type Outcome = Result<(), Box<dyn std::error::Error>>;

    #[test]
    fn messages_keep_their_order_and_their_descriptors() -> Outcome {
        let (supervisor, process) = Channel::pair()?;
        let mut file = std::fs::File::from(rustix::fs::memfd_create("note", rustix::fs::MemfdFlags::CLOEXEC)?);
        file.write_all(b"written before")?;
        file.rewind()?;
        let boot = ToProcess::Boot { config: serde_json::json!({ "max_flows": 1024 }) };
        supervisor.send(&boot, &[file.as_fd(), supervisor.as_fd()])?;
        supervisor.send(&ToProcess::Stop { deadline_ms: 5000 }, &[])?;

        let first = process.try_receive::<ToProcess>()?.ok_or("no message")?;
        assert_eq!(first.message, boot);
        assert_eq!(first.descriptors.len(), 2);
        for descriptor in &first.descriptors {
            assert!(rustix::io::fcntl_getfd(descriptor)?.contains(rustix::io::FdFlags::CLOEXEC));
        }
        let mut text = String::new();
        let received = first.descriptors.into_iter().next().ok_or("no descriptor")?;
        std::fs::File::from(received).read_to_string(&mut text)?;
        assert_eq!(text, "written before");

        let second = process.receive::<ToProcess>(Some(Duration::from_secs(30)))?.ok_or("no message")?;
        assert_eq!(second.message, ToProcess::Stop { deadline_ms: 5000 });
        assert!(process.receive::<ToProcess>(Some(Duration::from_millis(5)))?.is_none());
        Ok(())
    }

    #[test]
    fn the_largest_message_passes_and_a_larger_one_is_refused() -> Outcome {
        let (supervisor, process) = Channel::pair()?;
        // {"Fault":{"sentence":"..."}} has 25 bytes beside the text.
        let largest = FromProcess::Fault { sentence: "x".repeat(MESSAGE_BYTES_MAX - 25) };
        process.send(&largest, &[])?;
        assert_eq!(supervisor.try_receive::<FromProcess>()?.ok_or("no message")?.message, largest);
        let larger = FromProcess::Fault { sentence: "x".repeat(MESSAGE_BYTES_MAX - 24) };
        assert!(
            matches!(process.send(&larger, &[]), Err(SendError::TooLarge(bytes)) if bytes == MESSAGE_BYTES_MAX + 1)
        );
        let many = vec![process.as_fd(); DESCRIPTORS_MAX + 1];
        assert!(matches!(process.send(&FromProcess::Ready, &many), Err(SendError::TooManyDescriptors(33))));
        process.send(&FromProcess::Ready, &many[..DESCRIPTORS_MAX])?;
        assert_eq!(supervisor.try_receive::<FromProcess>()?.ok_or("no message")?.descriptors.len(), DESCRIPTORS_MAX);
        Ok(())
    }

    #[test]
    fn a_reader_that_stands_still_is_reported_and_not_waited_for() -> Outcome {
        let (supervisor, process) = Channel::pair()?;
        let status = FromProcess::Status { body: serde_json::Value::String("x".repeat(10_000)) };
        let mut sent = 0;
        let refusal = loop {
            match process.send(&status, &[]) {
                Ok(()) => sent += 1,
                Err(refusal) => break refusal,
            }
            assert!(sent < 10_000, "the channel has no bound");
        };
        assert!(matches!(refusal, SendError::Full));
        for _ in 0..sent {
            assert!(supervisor.try_receive::<FromProcess>()?.is_some());
        }
        assert!(supervisor.try_receive::<FromProcess>()?.is_none());
        Ok(())
    }

    #[test]
    fn the_end_of_the_other_side_is_told_from_silence() -> Outcome {
        let (supervisor, process) = Channel::pair()?;
        process.send(&FromProcess::Ready, &[])?;
        drop(process);
        assert!(matches!(supervisor.try_receive::<FromProcess>(), Ok(Some(_))));
        assert!(matches!(supervisor.receive::<FromProcess>(None), Err(ReceiveError::Closed)));
        assert!(matches!(supervisor.send(&ToProcess::Attach { generation: 2 }, &[]), Err(SendError::Closed)));
        Ok(())
    }

    #[test]
    fn garbage_is_an_error_and_its_descriptors_are_closed() -> Outcome {
        let (one, other) = Channel::pair()?;
        let (reader, writer) = rustix::pipe::pipe()?;
        one.send(&serde_json::json!({ "Nonsense": [1, 2] }), &[writer.as_fd()])?;
        drop(writer);
        assert!(matches!(other.try_receive::<ToProcess>(), Err(ReceiveError::Decode(_))));
        // The last writing end is gone, so the pipe is at its end.
        assert_eq!(rustix::io::read(&reader, &mut [0; 1])?, 0);
        Ok(())
    }

    #[test]
    fn a_descriptor_that_is_no_channel_is_refused() -> Outcome {
        let (reader, _writer) = rustix::pipe::pipe()?;
        let number = reader.as_raw_fd();
        assert_eq!(Channel::from_inherited(number).err(), Some(OpenError::NotAChannel(number)));
        assert_eq!(Channel::from_inherited(-1).err(), Some(OpenError::NotAChannel(-1)));
        assert_eq!(Channel::from_inherited(1_000_000).err(), Some(OpenError::NotAChannel(1_000_000)));
        Ok(())
    }

    #[test]
    fn waiting_under_tokio_sees_messages_and_the_end() -> Outcome {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let (supervisor, process) = Channel::pair()?;
            let supervisor = supervisor.into_async()?;
            process.send(&FromProcess::Ready, &[])?;
            assert_eq!(supervisor.receive::<FromProcess>().await?.message, FromProcess::Ready);
            let waiting = supervisor.receive::<FromProcess>();
            let closing = async { drop(process) };
            let (outcome, ()) = tokio::join!(waiting, closing);
            assert!(matches!(outcome, Err(ReceiveError::Closed)));
            Ok(())
        })
    }
}
