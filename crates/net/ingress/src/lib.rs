#![doc = include_str!("../README.md")]

mod accept;
mod association;
mod boot;
mod clients;
mod connection;
mod entry_role;
mod gate;
mod half_open;
mod service_names;

pub use boot::{Boot, ForwardTo, Limits, Listener, Login, Service, SocketKind};
pub use flow_pump::process::RunError;

use flow_pump::process;
use os_net::process_channel::Channel;
use std::os::fd::OwnedFd;

/// No name is looked up here and no file read.
const BLOCKING_THREADS: usize = 1;

/// The whole life of the process, until its channel closes, it is stopped, or the queues break.
///
/// `fds`: the queue set of the unshaped side, then one listening socket for each of [`Boot::listeners`], in order.
pub fn run(boot: Boot, channel: Channel, fds: Vec<OwnedFd>) -> Result<(), RunError> {
    let geometry = boot.queues;
    process::run(geometry, true, channel, fds, BLOCKING_THREADS, |context| entry_role::EntryRole::start(boot, context))
}
