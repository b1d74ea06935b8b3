//! What somebody sees who watches the wire.

use super::RunError;
use std::time::Duration;

/// Most bins of a run: a day of 100 ms.
pub const BINS_MAX: usize = 1 << 20;

/// UDP payload in parts of equal length. Packets have one size and leave on a public grid, so with bins of a slot this is
/// all that there is to see.
#[derive(Debug)]
pub(super) struct Bins {
    length: Duration,
    bytes: Vec<u64>,
}

impl Bins {
    pub(super) fn new(length: Duration, measured: Duration) -> Result<Self, RunError> {
        let count = measured.as_nanos().div_ceil(length.as_nanos().max(1));
        let count = usize::try_from(count).ok().filter(|count| *count <= BINS_MAX && !length.is_zero());
        Ok(Self { length, bytes: vec![0; count.ok_or(RunError::Bins)?] })
    }

    /// What is sent behind the last bin is not seen.
    pub(super) fn add(&mut self, at: Duration, bytes: u64) {
        let place = usize::try_from(at.as_nanos() / self.length.as_nanos()).unwrap_or(usize::MAX);
        if let Some(bin) = self.bytes.get_mut(place) {
            *bin += bytes;
        }
    }

    pub(super) fn into_bytes(self) -> Vec<u64> {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_cover_the_measured_time_and_no_more() -> Result<(), RunError> {
        let ms = Duration::from_millis;
        let mut bins = Bins::new(ms(50), ms(120))?;
        for (at, bytes) in [(0, 1), (49, 2), (50, 4), (149, 8), (150, 16), (u64::MAX, 32)] {
            bins.add(ms(at), bytes);
        }
        assert_eq!(bins.into_bytes(), [3, 4, 8]);
        assert_eq!(Bins::new(Duration::ZERO, ms(1)).err(), Some(RunError::Bins));
        assert_eq!(Bins::new(Duration::from_nanos(1), ms(2)).err(), Some(RunError::Bins));
        Ok(())
    }
}
