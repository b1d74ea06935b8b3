//! A value for each direction.

use shaping_sim::trace::Direction;

/// The same of both directions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Directions<T> {
    /// From entry to exit.
    pub up: T,
    /// From exit to entry.
    pub down: T,
}

impl<T: Copy> Directions<T> {
    /// One of the two.
    pub fn of(&self, direction: Direction) -> T {
        match direction {
            Direction::Up => self.up,
            Direction::Down => self.down,
        }
    }

    /// What `make` makes of both.
    pub fn map<U>(self, make: impl Fn(T) -> U) -> Directions<U> {
        Directions { up: make(self.up), down: make(self.down) }
    }
}

impl Directions<u64> {
    /// Both together.
    pub fn sum(self) -> u64 {
        self.up.saturating_add(self.down)
    }
}

impl Directions<f64> {
    /// Both together.
    pub fn sum(self) -> f64 {
        self.up + self.down
    }
}
