//! Why introductions are refused, and how often.

use super::Introduced;
use thiserror::Error;

/// Why an introduction is not answered. The client is told nothing: it waits, and tries another point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum IntroductionRefusal {
    /// The point is gone.
    #[error("no such introduction point")]
    Point,
    /// No introduction at all.
    #[error("an introduction has another length")]
    Length,
    /// Made for a record that is no longer good, or for another list of clients.
    #[error("the introduction was made for keys that are gone")]
    Keys,
    /// Too many wait already.
    #[error("too many accepted introductions wait")]
    Busy,
    /// It came before.
    #[error("the introduction came before")]
    Replay,
    /// The point has taken as many as it may remember.
    #[error("the introduction point has taken as many introductions as it may")]
    Worn,
    /// They come faster than this service takes them, and this one showed too little work to be taken all the same.
    #[error("introductions come too fast")]
    Rate,
    /// Nobody made it who opened the record, or it was altered.
    #[error("the introduction does not authenticate")]
    Sealed,
    /// It wants what the record does not offer.
    #[error("the introduction wants what is not offered")]
    Features,
}

/// Sums over all points.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    /// Introductions that were accepted.
    pub accepted: u64,
    /// Refused: [`IntroductionRefusal::Point`], `Length`, `Keys` or `Features`.
    pub malformed: u64,
    /// Refused: [`IntroductionRefusal::Sealed`].
    pub forged: u64,
    /// Refused: [`IntroductionRefusal::Replay`].
    pub replayed: u64,
    /// Refused: [`IntroductionRefusal::Rate`].
    pub too_fast: u64,
    /// Refused: [`IntroductionRefusal::Busy`] or `Worn`.
    pub full: u64,
}

impl Figures {
    pub(super) fn count(&mut self, outcome: &Result<Introduced, IntroductionRefusal>) {
        use IntroductionRefusal as Refusal;
        let place = match outcome {
            Ok(_) => &mut self.accepted,
            Err(Refusal::Point | Refusal::Length | Refusal::Keys | Refusal::Features) => &mut self.malformed,
            Err(Refusal::Sealed) => &mut self.forged,
            Err(Refusal::Replay) => &mut self.replayed,
            Err(Refusal::Rate) => &mut self.too_fast,
            Err(Refusal::Busy | Refusal::Worn) => &mut self.full,
        };
        *place = place.saturating_add(1);
    }
}
