#![doc = include_str!("../README.md")]

mod boot;
mod documents;
mod driven;
mod noise;
mod off;
mod order;
mod process;
mod replay;
mod service;
mod shaped;
mod sockets;
mod status;

pub use boot::{
    Boot, BootCircuits, BootDp, BootError, BootHops, BootPacing, BootQueue, BootRelaxation, BootSide, CongestionName,
};
pub use documents::{DocumentReader, HandedDocumentError, handed_document};
pub use noise::NoiseRing;
pub use order::{Ask, Direction, Order, PublishAsk};
pub use process::{RunError, run};
pub use service::{BootHost, ServiceBoot, run_service};
pub use shaped::aligned_grid;
pub use shaped_node::memory::MemoryAccount;
pub use shaped_node::{CircuitsStatus, HopFigures, HostedStatus, LinkStatus, TunnelHolder, TunnelStatus};
pub use status::{ExitFigures, ExitNeighbour, ServiceFigures, ShapedStatus};
