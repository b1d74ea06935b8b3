//! Making the shared memory of one generation and handing it to the two processes.

use crate::geometry::Geometry;
use crate::layout::Layout;
use crate::side::{OpenError, QueueSide};
use shm_ring::{BellEnds, OwnSegment, Segment, Writable};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;

/// Descriptors of one side, in this order: the segment that it writes (read-write), the segment that it reads
/// (read-only), the bell that it sleeps on, the bell of the other side.
pub const DESCRIPTORS: usize = 4;

/// Which of a node's two processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Faces the applications or the destinations.
    Unshaped,
    /// Faces the network.
    Shaped,
}

/// The segments and doorbells of one generation, in the hands of the supervisor. It may drop them once both
/// sides have their descriptors.
#[derive(Debug)]
pub struct Segments {
    unshaped: Segment,
    shaped: Segment,
    unshaped_bell: BellEnds,
    shaped_bell: BellEnds,
}

impl Segments {
    /// Makes both segments and both bells. An error is one sentence that says what was missing.
    pub fn create(geometry: &Geometry) -> io::Result<Self> {
        let layout = Layout::new(geometry);
        Ok(Self {
            unshaped: segment(&layout, Side::Unshaped)?,
            shaped: segment(&layout, Side::Shaped)?,
            unshaped_bell: BellEnds::create()?,
            shaped_bell: BellEnds::create()?,
        })
    }

    /// Descriptors for the unshaped process, in the order of [`DESCRIPTORS`].
    pub fn unshaped_side(&self) -> io::Result<Vec<OwnedFd>> {
        descriptors(&self.unshaped, &self.shaped, &self.unshaped_bell, &self.shaped_bell)
    }

    /// Descriptors for the shaped process, in the order of [`DESCRIPTORS`].
    pub fn shaped_side(&self) -> io::Result<Vec<OwnedFd>> {
        descriptors(&self.shaped, &self.unshaped, &self.shaped_bell, &self.unshaped_bell)
    }
}

/// Both sides of fresh queues within one process, for tests: the unshaped one and the shaped one. `assigning`
/// allocates the queue pairs.
pub fn local_pair(geometry: &Geometry, assigning: Side) -> Result<(QueueSide, QueueSide), OpenError> {
    let segments = Segments::create(geometry).map_err(|error| OpenError::Environment(error.kind()))?;
    let unshaped = segments.unshaped_side().map_err(|error| OpenError::Environment(error.kind()))?;
    let shaped = segments.shaped_side().map_err(|error| OpenError::Environment(error.kind()))?;
    Ok((
        QueueSide::open(geometry, Side::Unshaped, assigning == Side::Unshaped, unshaped)?,
        QueueSide::open(geometry, Side::Shaped, assigning == Side::Shaped, shaped)?,
    ))
}

fn segment(layout: &Layout, side: Side) -> io::Result<Segment> {
    let name = match side {
        Side::Unshaped => "hushwire-unshaped",
        Side::Shaped => "hushwire-shaped",
    };
    let segment = Segment::create(name, layout.segment_len())?;
    let mapped = OwnSegment::map(segment.writable(), segment.len())?;
    for (index, word) in layout.header(side == Side::Shaped).into_iter().enumerate() {
        mapped.store(index * 8, word, Ordering::Release);
    }
    Ok(segment)
}

fn descriptors(own: &Segment, other: &Segment, bell: &BellEnds, other_bell: &BellEnds) -> io::Result<Vec<OwnedFd>> {
    [own.writable(), other.read_only(), bell.sleeper.as_fd(), other_bell.ringer.as_fd()]
        .into_iter()
        .map(|fd| fd.try_clone_to_owned())
        .collect()
}
