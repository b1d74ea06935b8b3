#![doc = include_str!("../README.md")]

mod association;
mod boot;
mod contacts;
mod dial;
mod directory;
mod exit_role;
mod turns;

pub use boot::Boot;
pub use directory::DIRECTORY_FLOWS_MAX;
pub use flow_pump::process::RunError;

use flow_pump::process;
use os_net::process_channel::Channel;
use std::os::fd::OwnedFd;

/// The whole life of the process, until its channel closes, it is stopped, or the queues break.
///
/// `fds`: the queue set of the unshaped side, nothing else.
pub fn run(boot: Boot, channel: Channel, fds: Vec<OwnedFd>) -> Result<(), RunError> {
    let geometry = boot.queues;
    process::run(geometry, false, channel, fds, dial::LOOKUPS_MAX, |context| exit_role::ExitRole::start(boot, context))
}
