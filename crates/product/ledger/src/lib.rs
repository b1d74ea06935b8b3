#![doc = include_str!("../README.md")]

mod error;
mod file;
mod mark;
mod store;

pub use error::{CreateError, OpenError, ReserveError};
pub use mark::{LedgerId, Mark};
pub use store::Store;
