//! A whole cluster in one thread, on virtual time, with faults of network, disk, clocks and clients that a seed replays.
//!
//! [`run`] plays one seed: a noisy phase with the faults of its [`Schedule`], then a quiet one in which everything must come
//! to an end. The checker compares every node with every other at each entry. What it finds is the error.

mod check;
mod clients;
mod dice;
mod disk;
mod network;
mod world;

pub use world::Outcome;

/// A fault that is planted in the program or its shell, to see that the simulator finds it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Planted {
    /// The disk says that it has synced, and has not.
    SyncSkipped,
    /// What must wait for the sync is sent before it.
    SentBeforeSync,
    /// Frames of a connection overtake each other.
    Reordered,
    /// The table of sessions forgets what it has seen.
    WithoutSessions,
}

/// What goes wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Schedule {
    /// Members at the beginning, 2 to 7.
    pub members: usize,
    /// Connections break, and one or both directions of a pair are blocked.
    pub partitions: bool,
    /// Nodes stop at any point of a turn and come back with what their disk has: unsynced writes are lost, cut or altered.
    pub crashes: bool,
    /// Clocks run at different speeds, differ in UTC and jump.
    pub skew: bool,
    /// Terms end after a few hundred entries.
    pub short_terms: bool,
    /// Members join and leave.
    pub churn: bool,
    /// Steps of the noisy phase.
    pub steps: u32,
    /// A step takes at most so many milliseconds of virtual time.
    pub step_ms_max: u64,
    /// One step of the engine's clock, in milliseconds.
    pub tick_ms: u64,
    /// A fault of the program.
    pub planted: Option<Planted>,
}

impl Schedule {
    /// Every fault there is, on three members; `seed` varies what is varied.
    pub fn of_seed(seed: u64, steps: u32) -> Self {
        Self {
            members: if seed % 5 == 4 { 5 } else { 3 },
            partitions: true,
            crashes: true,
            skew: seed.is_multiple_of(2),
            short_terms: !seed.is_multiple_of(3),
            churn: seed % 4 == 1,
            steps,
            step_ms_max: 4,
            tick_ms: 20,
            planted: None,
        }
    }

    /// The same with a planted fault.
    pub fn with(self, planted: Planted) -> Self {
        Self { planted: Some(planted), ..self }
    }
}

/// Plays one seed.
///
/// # Errors
/// A sentence that says what was violated, when no node may have done what one did, or nothing moves when all is well.
pub fn run(seed: u64, schedule: &Schedule) -> Result<Outcome, String> {
    world::World::new(seed, *schedule).play()
}
