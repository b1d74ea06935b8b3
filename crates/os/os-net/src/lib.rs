#![doc = include_str!("../README.md")]
#![allow(unsafe_code, reason = "this crate calls the kernel directly; every block states why it is sound")]

pub mod arrival;
pub mod clock;
pub mod confine;
pub mod datagram;
mod interface;
pub mod process_channel;
pub mod readiness;
pub mod schedule;
pub mod slot_sender;
pub mod spawn;
pub mod tcp;
pub mod tun;
pub mod udp;
pub mod unix_socket;
