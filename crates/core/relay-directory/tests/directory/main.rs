//! The directory from charter to client.

mod client;
mod editions;
mod governing;
mod log;
mod network;
mod relays;
mod services;
mod signer;
mod size;
