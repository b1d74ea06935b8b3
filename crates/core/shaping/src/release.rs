//! What releases of noisy values have in common, whatever they measure.

use crate::noise::{ReadyNoise, Sigma};

/// Why nothing was let out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// The accountant did not grant the release, or its grant is late.
    NoGrant,
    /// The thread that draws noise is late.
    NoNoise,
    /// The noise was drawn with another scale than the promise rests on.
    ForeignNoise,
}

/// Counts since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReleaseCounts {
    /// Values let out.
    pub released: u64,
    /// Edges without a grant.
    pub no_grant: u64,
    /// Edges without noise.
    pub no_noise: u64,
    /// Edges with noise of a wrong scale.
    pub foreign_noise: u64,
    /// Edges that went by unseen, because the machine slept or its clock jumped ahead. One release stands for all.
    pub missed: u64,
    /// How often the clock was set back by two epochs or more, after which edges are counted from where it is. Mode
    /// `queue` counts slots and has no clock to be set.
    pub clock_set_back: u64,
}

impl ReleaseCounts {
    pub(crate) fn note(&mut self, held: Held) {
        let count = match held {
            Held::NoGrant => &mut self.no_grant,
            Held::NoNoise => &mut self.no_noise,
            Held::ForeignNoise => &mut self.foreign_noise,
        };
        *count += 1;
    }
}

/// The noise of one release: only if it is granted, ready, and of the scale that the promise rests on.
pub(crate) fn take_noise(granted: bool, sigma: Sigma, noise: &mut impl ReadyNoise) -> Result<i64, Held> {
    if !granted {
        return Err(Held::NoGrant);
    }
    let noise = noise.take().ok_or(Held::NoNoise)?;
    if noise.sigma() == sigma { Ok(noise.into_bytes()) } else { Err(Held::ForeignNoise) }
}
