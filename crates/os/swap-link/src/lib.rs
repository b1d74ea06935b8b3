#![doc = include_str!("../README.md")]

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
compile_error!("the positions of a ring are words of 64 bits, and doors stand at abstract addresses");

pub mod buffers;
pub mod end;
pub mod link;
pub mod plain;
pub mod readiness;
pub mod receive;
pub mod send;
pub mod statistics;
mod sync;
pub mod worth;

#[cfg(loom)]
mod model;
#[cfg(loom)]
use model::{governor, lock, real};

#[cfg(not(loom))]
pub mod alone;
#[cfg(not(loom))]
pub mod governor;
#[cfg(not(loom))]
pub mod lock;
#[cfg(not(loom))]
mod native;
#[cfg(not(loom))]
pub mod real;
#[cfg(not(loom))]
pub mod rendezvous;
#[cfg(not(loom))]
pub mod sock_diag;

pub use end::End;
#[cfg(not(loom))]
pub use native::NativeEnd;
