//! Mirrors and publishers against a directory in this process: on virtual time over streams in memory, and once at real sockets.

mod fetching;
mod liars;
mod network;
mod publishing;
mod records;
mod sockets;
