//! Which shared memory is in use, and by whom.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use flow_queue::{Geometry, Segments, Side};

/// Descriptors of one side of a generation.
#[derive(Debug)]
pub(crate) struct Handed {
    pub(crate) generation: u64,
    pub(crate) descriptors: Vec<OwnedFd>,
}

impl Handed {
    /// The queue set, then what else a message carries.
    pub(crate) fn with<'a>(&'a self, others: impl IntoIterator<Item = BorrowedFd<'a>>) -> Vec<BorrowedFd<'a>> {
        use std::os::fd::AsFd;
        self.descriptors.iter().map(AsFd::as_fd).chain(others).collect()
    }
}

/// Makes generations of segments. Each side of a generation is handed to one process only: what a process that died
/// left in it is never seen by its successor.
#[derive(Debug)]
pub(crate) struct Generations {
    queues: Geometry,
    newest: u64,
    /// Bytes of both segments of the newest generation.
    bytes: u64,
    current: Option<Current>,
}

/// The newest generation while a side of it is still free. Holds descriptors; dropped when both sides are taken.
#[derive(Debug)]
struct Current {
    segments: Segments,
    taken: Option<Side>,
}

impl Generations {
    pub(crate) fn new(queues: Geometry) -> Self {
        Self { queues, newest: 0, bytes: 0, current: None }
    }

    /// Number of the newest generation; 0 before the first.
    pub(crate) fn newest(&self) -> u64 {
        self.newest
    }

    /// Bytes of the newest generation's segments, for `status`.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Descriptors of a side that no process has had, from the newest generation or a fresh one.
    pub(crate) fn prepare(&mut self, side: Side) -> io::Result<Handed> {
        let usable = self.current.as_ref().is_some_and(|current| current.taken != Some(side));
        if !usable {
            // The old one goes first: two generations at once may be more than the machine can hold.
            self.current = None;
            let number = self.newest + 1;
            let segments = Segments::create(&self.queues.with_generation(number))?;
            self.newest = number;
            self.current = Some(Current { segments, taken: None });
        }
        let Some(current) = &self.current else { return Err(io::ErrorKind::NotFound.into()) };
        let descriptors = match side {
            Side::Unshaped => current.segments.unshaped_side(),
            Side::Shaped => current.segments.shaped_side(),
        }?;
        // The first two are the segments, the others are doorbells.
        let sizes = descriptors.iter().take(2).map(|segment| rustix::fs::fstat(segment).map(|stat| stat.st_size));
        self.bytes = sizes.filter_map(|size| u64::try_from(size.ok()?).ok()).sum();
        Ok(Handed { generation: self.newest, descriptors })
    }

    /// A process has what [`Generations::prepare`] returned last for this side.
    pub(crate) fn note_taken(&mut self, side: Side) {
        self.current = self.current.take().filter(|current| current.taken.is_none()).map(|mut current| {
            current.taken = Some(side);
            current
        });
    }

    /// The process of a side has ended. What it may have written into a generation is for nobody.
    pub(crate) fn note_dead(&mut self, side: Side) {
        self.current.take_if(|current| current.taken == Some(side));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Outcome = Result<(), Box<dyn std::error::Error>>;

    #[test]
    fn each_side_of_a_generation_is_given_out_once() -> Outcome {
        let mut generations = Generations::new(Geometry::new(4, 4096, 0)?);
        assert_eq!(generations.prepare(Side::Shaped)?.generation, 1);
        assert_eq!(generations.prepare(Side::Shaped)?.generation, 1, "not taken yet");
        generations.note_taken(Side::Shaped);
        assert_eq!(generations.prepare(Side::Unshaped)?.generation, 1);
        generations.note_taken(Side::Unshaped);
        assert!(generations.current.is_none(), "no descriptors are kept");
        assert!(generations.bytes() > 4 * 2 * 4096);

        // The shaped process dies: the survivor is attached to generation 2, the successor boots with it.
        assert_eq!(generations.prepare(Side::Unshaped)?.generation, 2);
        generations.note_taken(Side::Unshaped);
        assert_eq!(generations.prepare(Side::Shaped)?.generation, 2);
        generations.note_taken(Side::Shaped);

        // It dies again before the survivor has been told of generation 3.
        assert_eq!(generations.prepare(Side::Shaped)?.generation, 3);
        generations.note_taken(Side::Shaped);
        generations.note_dead(Side::Shaped);
        assert_eq!(generations.prepare(Side::Unshaped)?.generation, 4, "not what the dead process wrote into");
        Ok(())
    }
}
