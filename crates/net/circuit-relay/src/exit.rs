//! The shaped process of an exit over circuits: a relay whose circuits' ends are joined to the queues of the node.

mod boot;
mod join;
mod slots;

use boot::BootError;
pub use boot::{BootSlots, ExitBoot};

use crate::relay::{CircuitRelay, Door, RelaySettings, StartError};
use flow_queue::{QueueSide, Side};
use join::ExitJoin;
use os_net::confine::{self, Needs};
use os_net::process_channel::Channel;
use os_net::schedule;
use os_net::udp::UdpSocket;
use shaped_node::CircuitExit;
use shaped_tunnel::{HandedDocumentError, NoiseRing, handed_document};
use shaping::ReadyNoise;
use slots::SlotClock;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;
use thiserror::Error;
use wire::packet::PacketSize;

/// How long circuits may go on at most when the process is stopped by a signal of the loop; the supervisor's order says how
/// long by itself.
const DRAIN: Duration = Duration::from_secs(2);

/// Why the process ended by itself. The supervisor prints it and starts another.
#[derive(Debug, Error)]
pub enum ExitError {
    /// The boot message cannot be used.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// A descriptor that the boot message promises did not come.
    #[error("the supervisor did not hand over {0}")]
    Descriptor(&'static str),
    /// The network's document cannot be had.
    #[error(transparent)]
    Document(#[from] HandedDocumentError),
    /// The segments cannot be mapped.
    #[error("cannot map the queues: {0}")]
    Queues(#[from] flow_queue::OpenError),
    /// The relay does not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Its network does not have it as an exit.
    #[error(
        "the document does not have this node as an exit or directory: give its operators a descriptor with `--role exit` (or `directory`)"
    )]
    NotAnExit,
    /// The process could not be set up as asked.
    #[error("cannot set up the process: {0}")]
    Setup(#[source] io::Error),
    /// The door's socket failed.
    #[error("the network socket failed: {0}")]
    Socket(#[source] io::Error),
}

/// Runs the shaped process of an exit over circuits until its channel closes or it is told to stop. `fds` are in the order
/// that [`ExitBoot`] states.
///
/// # Errors
/// When the process cannot do its work; the text is one sentence for the supervisor's user.
pub fn run_exit(boot: ExitBoot, channel: Channel, fds: Vec<OwnedFd>) -> Result<(), ExitError> {
    let mut fds = fds.into_iter();
    let set: Vec<OwnedFd> = fds.by_ref().take(flow_queue::DESCRIPTORS).collect();
    let queues = QueueSide::open(&boot.queues, Side::Shaped, true, set)?;
    let door = fds.next().ok_or(ExitError::Descriptor("a network socket"))?;
    let slot_door = door.try_clone().and_then(UdpSocket::from_owned_fd).map_err(ExitError::Socket)?;
    let door = UdpSocket::from_owned_fd(door).map_err(ExitError::Socket)?;
    let replay = fds.next().ok_or(ExitError::Descriptor("the replay file"))?;
    let document = handed_document(fds.next(), boot.document_bytes)?;
    let onion_keys = boot.onion_keys()?;
    let packet_size = document.charter().packet_size();
    let exit = CircuitExit::new(boot.exit_config(packet_size)?, noise(&boot, packet_size)?);
    let settings = RelaySettings {
        door: Door::Open(door),
        node: boot.relay_config()?,
        document,
        onion_keys,
        replay: Some(replay),
        drain: DRAIN,
        seed: boot::random()?,
    };
    let join = ExitJoin::new(exit, queues, channel, boot.queues);
    let mut relay = CircuitRelay::new(settings, join)?;
    if !relay.is_exit() {
        return Err(ExitError::NotAnExit);
    }
    if let Some(core) = boot.core {
        schedule::pin_to_core(core).map_err(|error| ExitError::Setup(io::Error::other(error)))?;
    }
    schedule::set_exact_timers().map_err(|error| ExitError::Setup(io::Error::other(error)))?;
    let realtime = boot.slots.as_ref().and_then(|slots| slots.realtime);
    let confinement = boot.confine.then(|| confine::apply(&Needs::shaped(realtime)));
    if let Some(slots) = &boot.slots {
        // The sender thread is confined by what this one has given up.
        let clock = SlotClock::start(slots, boot.core, slot_door, packet_size.packet()).map_err(ExitError::Setup)?;
        relay.join_mut().set_clock(clock);
    }
    relay.join_mut().begin(confinement);
    relay.run().map_err(ExitError::Socket)
}

/// Where the exit takes samples that measurements are blurred with, in modes that release some.
fn noise(boot: &ExitBoot, packet_size: PacketSize) -> Result<Box<dyn ReadyNoise + Send>, ExitError> {
    let Some(slots) = &boot.slots else { return Ok(Box::new(None)) };
    Ok(match slots.sigma(packet_size)? {
        Some(sigma) => Box::new(NoiseRing::start(sigma).map_err(ExitError::Setup)?),
        None => Box::new(None),
    })
}
