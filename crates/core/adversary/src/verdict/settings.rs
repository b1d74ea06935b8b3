//! What is known in public about a link, and how it is judged.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde::Serialize;

use super::Question;
use crate::sighting::Direction;
use crate::timing::ShiftBounds;

/// The chance that equal situations fail a test whose chance is drawn: each of Kolmogorov-Smirnov, Anderson-Darling and
/// the classifier.
pub const SIGNIFICANCE: f64 = 1e-3;
/// Assignments that are tried if the caller says nothing: just enough for [`SIGNIFICANCE`].
pub const PERMUTATIONS: u32 = 999;

/// What an answer means for the verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Weight {
    /// The verdict passes only if this does.
    Decides,
    /// It is shown and decides nothing.
    Reported,
}

/// The settings make no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// A grid has a period of at least a microsecond.
    #[error("the time between two slots is {0:?}; it must be at least a microsecond")]
    Slot(Duration),
}

/// What is known in public about the link, and how it is judged.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub(super) packet_length: usize,
    pub(super) slot: Duration,
    pub(super) per_slot: Option<RangeInclusive<u32>>,
    pub(super) directions: Vec<Direction>,
    pub(super) shift_bounds: ShiftBounds,
    pub(super) permutations: u32,
    pub(super) seed: u64,
    pub(super) asked: BTreeMap<Question, Weight>,
}

impl Settings {
    /// Packets of `packet_length` bytes, slots every `slot`, everything asked and decisive, in both directions.
    ///
    /// # Errors
    /// If the slot is shorter than a microsecond.
    pub fn new(packet_length: usize, slot: Duration) -> Result<Self, SettingsError> {
        if slot < Duration::from_micros(1) {
            return Err(SettingsError::Slot(slot));
        }
        Ok(Self {
            packet_length,
            slot,
            per_slot: None,
            directions: vec![Direction::Outward, Direction::Inward],
            shift_bounds: ShiftBounds::default(),
            permutations: PERMUTATIONS,
            seed: 0,
            asked: Question::ALL.map(|question| (question, Weight::Decides)).into_iter().collect(),
        })
    }

    /// How many packets a slot may hold by the public schedule. Without it, what many slots of the idle situation hold
    /// is taken for the schedule.
    #[must_use]
    pub fn with_packets_per_slot(self, per_slot: RangeInclusive<u32>) -> Self {
        Self { per_slot: Some(per_slot), ..self }
    }

    /// Looks at one direction only: an observer beside a node sees exactly what that node sends, and the rest through
    /// the network.
    #[must_use]
    pub fn with_direction(self, direction: Direction) -> Self {
        Self { directions: vec![direction], ..self }
    }

    /// The largest shifts of lateness that count as none.
    #[must_use]
    pub fn with_shift_bounds(self, shift_bounds: ShiftBounds) -> Self {
        Self { shift_bounds, ..self }
    }

    /// Assignments of phases to situations that are tried at most. With fewer than [`PERMUTATIONS`] no difference can be
    /// shown at the level [`SIGNIFICANCE`], and the answers that need it are undecided.
    #[must_use]
    pub fn with_permutations(self, permutations: u32) -> Self {
        Self { permutations, ..self }
    }

    /// The seed of everything that is drawn; the same seed gives the same verdict.
    #[must_use]
    pub fn with_seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// Leaves a question out.
    #[must_use]
    pub fn without(mut self, question: Question) -> Self {
        self.asked.remove(&question);
        self
    }

    /// Shows the answer to a question without letting it decide.
    #[must_use]
    pub fn reporting_only(mut self, question: Question) -> Self {
        self.asked.entry(question).and_modify(|weight| *weight = Weight::Reported);
        self
    }

    /// Whether the tests that draw can reach their level.
    pub(super) fn draws_enough(&self) -> bool {
        1.0 / (f64::from(self.permutations) + 1.0) <= SIGNIFICANCE
    }
}
