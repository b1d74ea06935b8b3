#![doc = include_str!("../README.md")]
#![cfg_attr(
    test,
    allow(dead_code, reason = "a program of unit tests must not replace its own libc, so nobody calls the hooks")
)]

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
compile_error!(
    "calls with a variable number of arguments are replaced by ones with a fixed number, as 64-bit Linux allows"
);

mod buffers;
mod connection;
mod epoll;
mod governor;
mod holders;
mod hooks;
mod link;
mod lock;
mod plain;
mod readiness;
mod real;
mod receive;
mod rendezvous;
mod selection;
mod send;
mod sock_diag;
mod statistics;
mod table;
