#![doc = include_str!("../README.md")]

mod error;
mod file;
mod store;

pub use error::{CreateError, OpenError, ReserveError};
pub use store::Store;
