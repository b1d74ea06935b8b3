#![doc = include_str!("../README.md")]

mod activity;
mod bell;
mod control;
mod cursor;
mod memory;
mod ring;
mod sealed;
mod segment;
mod sleep;

pub use activity::{ActivityWatch, ActivityWriter, QUEUES_PER_WORD};
pub use bell::{Bell, BellEnds, Ringer};
pub use control::{ControlLayout, ControlReader, ControlWriter};
pub use cursor::{Capacity, CapacityError, Fault};
pub use memory::{Readable, View, Writable};
pub use ring::{RingLayout, RingReader, RingWriter, TransferError};
pub use sealed::{read_sealed, seal};
pub use segment::{OtherSegment, OwnSegment, Room, Segment, SegmentError, Waiting};
pub use sleep::{Sleeper, Waker};
