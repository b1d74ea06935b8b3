#![doc = include_str!("../README.md")]

pub mod backoff;
pub mod credentials;
pub mod disk;
pub mod frame;
pub mod member;
pub mod pki;
mod tls;
pub mod transport;
