#![doc = include_str!("../README.md")]

pub mod access;
pub mod answer;
pub mod exit_policy;
pub mod handshake;
mod http_connect;
pub mod socks5;
