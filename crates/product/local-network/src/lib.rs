#![doc = include_str!("../README.md")]

mod files;
mod recipe;
mod shape;
mod texts;

pub use files::{LocalNetwork, LocalRelay, WriteError};
pub use recipe::{Addresses, Kind, Node, Recipe, RecipeError, Runner, directory_socket};
pub use shape::{RELAYS_MAX, Shape, ShapeError};
pub use texts::{Forward, Plan};
