#![doc = include_str!("../README.md")]
#![cfg_attr(
    any(test, loom, fuzzing),
    allow(dead_code, reason = "a program of unit tests must not replace its own libc, so nobody calls the hooks")
)]

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
compile_error!(
    "calls with a variable number of arguments are replaced by ones with a fixed number, as 64-bit Linux allows"
);

// The protocol between the two ends. The loom models run it with the rest replaced.
mod buffers;
mod link;
mod plain;
mod readiness;
mod receive;
mod send;
mod sync;

#[cfg(loom)]
mod model;
#[cfg(loom)]
use model::{cancel, governor, lock, real, relay, rendezvous, statistics, table};

#[cfg(not(loom))]
mod alone;
#[cfg(not(loom))]
mod cancel;
#[cfg(not(loom))]
mod connection;
#[cfg(not(loom))]
mod epoll;
#[cfg(all(any(test, fuzzing), not(loom)))]
pub mod fuzz;
#[cfg(not(loom))]
mod governor;
#[cfg(not(loom))]
mod holders;
#[cfg(not(loom))]
mod hooks;
#[cfg(not(loom))]
mod lock;
#[cfg(not(loom))]
mod real;
#[cfg(not(loom))]
mod relay;
#[cfg(not(loom))]
mod rendezvous;
#[cfg(not(loom))]
mod reserved;
#[cfg(not(loom))]
mod selection;
#[cfg(not(loom))]
mod sock_diag;
#[cfg(not(loom))]
mod statistics;
#[cfg(not(loom))]
mod table;
