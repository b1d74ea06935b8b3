#![doc = include_str!("../README.md")]

pub mod cell;
pub mod encoding;
pub mod flow;
pub mod grant;
pub mod leg;
pub mod local;
pub mod packet;
pub mod read;
pub mod udp;
