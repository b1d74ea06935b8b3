#![doc = include_str!("../README.md")]

mod boot;
mod off;
mod process;
mod replay;
mod shaped;
mod status;

pub use boot::{Boot, BootError, BootSide, CongestionName};
pub use process::{RunError, run};
pub use status::ShapedStatus;
