#![doc = include_str!("../README.md")]

pub mod application;
pub mod backoff;
pub mod clients;
pub mod credentials;
pub mod disk;
pub mod driver;
pub mod folder;
pub mod frame;
pub mod history;
pub mod member;
pub mod node;
pub mod pipe;
pub mod pki;
mod tls;
pub mod transport;
