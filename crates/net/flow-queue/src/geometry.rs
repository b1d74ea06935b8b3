//! How many queue pairs there are and how large; both processes are told by the supervisor.

use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;
use thiserror::Error;

/// Queue pairs that a node may have.
pub const MAX_FLOWS: RangeInclusive<u16> = 1..=4096;

/// Bytes that one ring may hold: at least one page, at most what keeps 4096 pairs in the address space.
pub const QUEUE_SIZES: RangeInclusive<u32> = 4096..=64 << 20;

/// Number and size of the queues of one generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct Geometry {
    max_flows: u16,
    queue_size: u32,
    generation: u64,
}

/// A number that is out of range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum GeometryError {
    /// `max_flows` is out of [`MAX_FLOWS`].
    #[error("max_flows must be 1 to 4096, not {0}")]
    MaxFlows(u16),
    /// `queue_size` is out of [`QUEUE_SIZES`].
    #[error("queue_size must be 4096 (4 KiB) to 67108864 (64 MiB) bytes, not {0}")]
    QueueSize(u32),
}

impl Geometry {
    /// `max_flows` queue pairs whose rings hold `queue_size` bytes each, rounded up to a power of two.
    /// `generation` tells the segments of a node's earlier processes from those of its present ones.
    pub fn new(max_flows: u16, queue_size: u32, generation: u64) -> Result<Self, GeometryError> {
        if !MAX_FLOWS.contains(&max_flows) {
            return Err(GeometryError::MaxFlows(max_flows));
        }
        if !QUEUE_SIZES.contains(&queue_size) {
            return Err(GeometryError::QueueSize(queue_size));
        }
        Ok(Self { max_flows, queue_size: queue_size.next_power_of_two(), generation })
    }

    /// The same queues for another generation.
    pub fn with_generation(self, generation: u64) -> Self {
        Self { generation, ..self }
    }

    /// Number of queue pairs.
    pub fn max_flows(&self) -> u16 {
        self.max_flows
    }

    /// Bytes that each ring holds, a power of two.
    pub fn queue_size(&self) -> u32 {
        self.queue_size
    }

    /// Generation of the segments.
    pub fn generation(&self) -> u64 {
        self.generation
    }
}

#[derive(Deserialize)]
struct Unchecked {
    max_flows: u16,
    queue_size: u32,
    generation: u64,
}

impl TryFrom<Unchecked> for Geometry {
    type Error = GeometryError;

    fn try_from(unchecked: Unchecked) -> Result<Self, GeometryError> {
        Self::new(unchecked.max_flows, unchecked.queue_size, unchecked.generation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_rounded_up_and_bounded() {
        assert_eq!(Geometry::new(1, 4096, 0).map(|geometry| geometry.queue_size()), Ok(4096));
        assert_eq!(Geometry::new(1, 5000, 0).map(|geometry| geometry.queue_size()), Ok(8192));
        assert_eq!(Geometry::new(4096, 64 << 20, 0).map(|geometry| geometry.queue_size()), Ok(64 << 20));
        assert_eq!(Geometry::new(0, 4096, 0), Err(GeometryError::MaxFlows(0)));
        assert_eq!(Geometry::new(4097, 4096, 0), Err(GeometryError::MaxFlows(4097)));
        assert_eq!(Geometry::new(1, 4095, 0), Err(GeometryError::QueueSize(4095)));
        assert_eq!(Geometry::new(1, (64 << 20) + 1, 0), Err(GeometryError::QueueSize((64 << 20) + 1)));
    }
}
