#![doc = include_str!("../README.md")]

mod boot;
mod documents;
mod noise;
mod off;
mod order;
mod process;
mod replay;
mod shaped;
mod sockets;
mod status;

pub use boot::{
    Boot, BootCircuits, BootDp, BootError, BootHops, BootPacing, BootQueue, BootRelaxation, BootSide, CongestionName,
};
pub use documents::{DocumentReader, HandedDocumentError, handed_document};
pub use noise::NoiseRing;
pub use order::{Direction, Order};
pub use process::{RunError, run};
pub use shaped::aligned_grid;
pub use shaped_node::{CircuitsStatus, HopFigures, LinkStatus, TunnelHolder, TunnelStatus};
pub use status::{ExitFigures, ExitNeighbour, ShapedStatus};
