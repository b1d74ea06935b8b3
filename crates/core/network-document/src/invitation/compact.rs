//! A charter as bytes, a third of its text: only for invitations, which have to be short. What is hashed and signed is the text, and
//! the text can be made of the bytes.

use crate::announcement::{read_ports, write_ports};
use crate::charter::{Charter, OPERATORS_MAX};
use crate::electorate::{Electorate, MEMBERS_MAX};
use crate::encoding::{ReadError, Reader, WriteBytes};
use crate::error::Problem;
use crate::founding::Founding;
use crate::invitation::InvitationError;
use crate::label::Label;
use crate::parameters::{PARAMETER_RANGES_MAX, Parameters, RATE_CLASSES_MAX};
use identity::{NodeId, OperatorKey};
use shaping::RateClass;
use wire::packet::PacketSize;

/// Bytes of a charter at most.
pub(super) const CHARTER_BYTES_MAX: usize =
    64 + 4 + 32 * OPERATORS_MAX + 16 + 10 + 32 * MEMBERS_MAX + 1 + RATE_CLASSES_MAX + 8 + 2 + 4 * PARAMETER_RANGES_MAX;

/// # Errors
/// [`Problem::OtherKind`] for a network without a directory.
pub(super) fn write(out: &mut Vec<u8>, charter: &Charter) -> Result<(), Problem> {
    let founding = charter.founding().ok_or(Problem::OtherKind)?;
    out.u8(charter.name().as_str().len() as u8);
    out.raw(charter.name().as_str().as_bytes());
    out.u16(charter.packet_size().packet() as u16);
    out.u8(charter.operators().len() as u8);
    charter.operators().iter().for_each(|operator| out.raw(&operator.0));
    out.u8(charter.threshold() as u8);
    out.u64(founding.start_ms);
    out.u32(founding.interval_ms as u32);
    out.u16(founding.key_intervals as u16);
    out.u16(founding.valid_intervals as u16);
    out.u64(founding.electorate.term());
    out.u8(founding.electorate.members().len() as u8);
    founding.electorate.members().iter().for_each(|member| out.raw(&member.0));
    out.u8(founding.electorate.liars() as u8);
    let parameters = &founding.parameters;
    out.u8(parameters.rate_classes.len() as u8);
    parameters.rate_classes.iter().for_each(|class| out.u8(class.number()));
    out.u32(parameters.epoch_ms);
    out.u32(parameters.step_ms);
    write_ports(out, &parameters.hop_ports);
    out.u8(parameters.legs);
    Ok(())
}

/// Reads such bytes. Operators and members in another order than theirs are taken: whoever wants one form compares.
pub(super) fn read(input: &mut Reader<'_>) -> Result<Charter, InvitationError> {
    let length = usize::from(input.u8()?);
    let name = Label::new(std::str::from_utf8(input.raw(length)?).unwrap_or_default(), "name")?;
    let packet_size = PacketSize::new(input.u16()?.into()).map_err(|_| ReadError::Range)?;
    let operators = list(input, OPERATORS_MAX, |input| Ok(OperatorKey(input.array()?)))?;
    let charter = Charter::new(name, packet_size, operators, input.u8()?)?;
    let (start_ms, interval_ms) = (input.u64()?, input.u32()?.into());
    let (key_intervals, valid_intervals) = (input.u16()?.into(), input.u16()?.into());
    let term = input.u64()?;
    let members = list(input, MEMBERS_MAX, |input| Ok(NodeId(input.array()?)))?;
    let electorate = Electorate::new(term, members, input.u8()?)?;
    let class = |input: &mut Reader<'_>| RateClass::new(input.u8()?).map_err(|_| ReadError::Range);
    let rate_classes = list(input, RATE_CLASSES_MAX, class)?;
    let (epoch_ms, step_ms) = (input.u32()?, input.u32()?);
    let hop_ports = read_ports(input, PARAMETER_RANGES_MAX)?;
    let parameters = Parameters { rate_classes, epoch_ms, step_ms, hop_ports, legs: input.u8()? };
    let founding = Founding { start_ms, interval_ms, key_intervals, valid_intervals, electorate, parameters };
    Ok(charter.with_directory(founding)?)
}

fn list<T>(
    input: &mut Reader<'_>,
    max: usize,
    read: impl Fn(&mut Reader<'_>) -> Result<T, ReadError>,
) -> Result<Vec<T>, ReadError> {
    let count = usize::from(input.u8()?);
    if count > max { Err(ReadError::Range) } else { (0..count).map(|_| read(input)).collect() }
}
