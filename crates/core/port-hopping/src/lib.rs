#![doc = include_str!("../README.md")]

pub mod causes;
pub mod detector;
pub mod hosts;
pub mod initiator;
pub mod interval;
pub mod keyed;
pub mod keyless;
pub mod memory;
mod pair;
mod piece;
pub mod ports;
pub mod responder;
mod secret;
pub mod source;
mod step;
pub mod targets;

pub use pair::Pair;
pub use piece::Piece;
pub use secret::HopSecret;
pub use step::SocketId;
