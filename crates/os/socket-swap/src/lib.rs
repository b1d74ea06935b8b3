#![doc = include_str!("../README.md")]
#![cfg_attr(
    any(test, fuzzing),
    allow(dead_code, reason = "a program of unit tests must not replace its own libc, so nobody calls the hooks")
)]

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
compile_error!(
    "calls with a variable number of arguments are replaced by ones with a fixed number, as 64-bit Linux allows"
);

// What the two ends of a connection say to each other, which a program may also do itself.
use swap_link::{alone, buffers, governor, link, lock, plain, readiness, real, receive, send};

mod cancel;
mod connection;
mod end;
mod epoll;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod holders;
mod hooks;
mod relay;
mod rendezvous;
mod reserved;
mod selection;
mod statistics;
mod table;
