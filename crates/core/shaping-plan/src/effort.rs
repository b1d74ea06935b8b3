//! How much is simulated: enough for two digits, little enough to wait for.

use std::time::Duration;

/// Bounds of the simulations of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Effort {
    /// Cells of the traffic itself in one run; what decides how long it takes.
    pub cells_per_run: u64,
    /// Runs of each setting, with seeds that follow each other.
    pub seeds: u32,
    /// Cells of one world of the experiment on closed loops.
    pub closed_loop_cells: u64,
    /// Experiments.
    pub closed_loop_seeds: u32,
}

/// Shortest run; a video client asks a dozen times in it.
const RUN_MIN: Duration = Duration::from_secs(60);
/// Longest run.
const RUN_MAX: Duration = Duration::from_secs(600);
/// Fewest epochs of an experiment on closed loops.
const EPOCHS_MIN: u64 = 12;
/// Most: ten minutes of 5 s.
const EPOCHS_MAX: u64 = 120;

impl Default for Effort {
    fn default() -> Self {
        Self { cells_per_run: 1_000_000, seeds: 4, closed_loop_cells: 8_000_000, closed_loop_seeds: 3 }
    }
}

impl Effort {
    /// Length of a run whose traffic fills so many cells a second.
    pub(crate) fn run_length(&self, cells_per_second: f64) -> Duration {
        let seconds = self.cells_per_run as f64 / cells_per_second.max(1.0);
        // Whole epochs of 5 s.
        let whole = (seconds.clamp(RUN_MIN.as_secs_f64(), RUN_MAX.as_secs_f64()) / 5.0).floor() * 5.0;
        Duration::from_secs(whole as u64)
    }

    /// Epochs of an experiment whose traffic fills so many cells in each.
    pub(crate) fn closed_loop_epochs(&self, cells_per_epoch: f64) -> u32 {
        let epochs = (self.closed_loop_cells as f64 / cells_per_epoch.max(1.0)) as u64;
        epochs.clamp(EPOCHS_MIN, EPOCHS_MAX) as u32
    }
}
