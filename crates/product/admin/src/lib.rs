#![doc = include_str!("../README.md")]

pub mod client;
pub mod cluster;
pub mod hop_proxy;
pub mod parts;
pub mod protocol;
pub mod render;
pub mod server;
pub mod status;
