//! A run: second by second from the warm-up to the end.

use crate::report::Report;
use crate::settings::{Settings, SettingsError};
use crate::world::World;
use network_document::{EncodingError, Problem};
use relay_directory::{ClientRefusal, Refusal, SignRefusal};
use thiserror::Error;
use tunnel_plan::PrimariesError;

/// Why there is no report. All but the first are defects: of this crate, or of a core that refuses what it should not.
#[derive(Debug, Clone, Copy, PartialEq, Error)]
pub enum RunError {
    /// A number outside its range.
    #[error("{0}")]
    Settings(#[from] SettingsError),
    /// A value that no document may have, or a difference that does not fit.
    #[error("a document cannot be made: {0}")]
    Problem(#[from] Problem),
    /// The directory refuses a command.
    #[error("the directory refuses: {0}")]
    Refused(#[from] Refusal),
    /// A member does not sign.
    #[error("a member does not sign: {0}")]
    Unsigned(#[from] SignRefusal),
    /// A client does not believe an edition.
    #[error("a client refuses: {0}")]
    Client(#[from] ClientRefusal),
    /// Bytes of a difference that are none.
    #[error("a difference cannot be read: {0}")]
    Encoding(EncodingError),
    /// Guards for a number of legs that no tunnel has.
    #[error("{0}")]
    Guards(#[from] PrimariesError),
    /// An edition that should be there is not.
    #[error("there is no edition where all members live")]
    NoDocument,
}

/// Simulates a network. The same settings give the same report.
///
/// # Errors
/// [`RunError`].
pub fn run(settings: &Settings) -> Result<Report, RunError> {
    settings.check()?;
    let mut world = World::new(settings)?;
    for second in 0..settings.end_s() {
        world.second(second)?;
    }
    Ok(world.report())
}
