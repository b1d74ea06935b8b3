#![doc = include_str!("../README.md")]

pub mod downloads;
pub mod goodput;
pub mod load;
pub mod measure;
pub mod network;
pub mod pair;
pub mod plain;
pub mod players;
pub mod process;
pub mod programs;
pub mod quic_load;
pub mod recording;
pub mod relay;
pub mod scratch;
pub mod servers;
pub mod udp_load;
