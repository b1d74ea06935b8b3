//! The link's protocol between endpoints on virtual time.

mod flood;
mod handshake;
mod hops;
mod hostile;
mod net;
mod off;
mod paths;
mod rekey;
mod roaming;
mod silence;
mod wire;
