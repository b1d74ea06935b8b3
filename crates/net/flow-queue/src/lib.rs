#![doc = include_str!("../README.md")]

mod free;
mod geometry;
mod layout;
mod segments;
mod side;
mod uses;

pub use geometry::{Geometry, GeometryError, MAX_FLOWS, QUEUE_SIZES};
pub use segments::{DESCRIPTORS, Segments, Side, local_pair};
pub use shm_ring::{Room, Waiting};
pub use side::{OpenError, QueueSide};
