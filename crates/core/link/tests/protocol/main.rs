//! The link's protocol between endpoints on virtual time.

mod handshake;
mod net;
