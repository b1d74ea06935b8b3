//! What managers and services do alike before they start: what they are told is checked, and guards and keys are made.

use crate::error::StartError;
use network_document::NetworkId;
use std::io;
use std::ops::RangeInclusive;
use tunnel_plan::Guards;

pub(crate) fn check(name: &'static str, value: usize, range: RangeInclusive<usize>) -> Result<(), StartError> {
    let (lowest, highest) = range.clone().into_inner();
    if range.contains(&value) { Ok(()) } else { Err(StartError::Range { name, lowest, highest }) }
}

/// The guards of a text that was kept, or none yet.
pub(crate) fn known_guards(kept: Option<&str>, network: NetworkId, legs: u8) -> Result<Guards, StartError> {
    let mut guards = match kept {
        Some(text) => Guards::parse(text, network)?,
        None => Guards::new(network, legs)?,
    };
    guards.set_primaries(legs)?;
    Ok(guards)
}

pub(crate) fn random() -> io::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| io::Error::other("no random bytes"))?;
    Ok(bytes)
}
