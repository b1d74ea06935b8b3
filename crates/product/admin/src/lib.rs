#![doc = include_str!("../README.md")]

pub mod client;
pub mod cluster;
pub mod directory;
pub mod hop_proxy;
pub mod ledger;
pub mod mirror;
pub mod parts;
pub mod peers;
pub mod protocol;
pub mod relay;
pub mod render;
pub mod server;
pub mod status;
pub mod whole;
