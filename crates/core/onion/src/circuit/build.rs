//! One hop in the making: the first message, repeated until an answer is good.

use super::{BUILD_TRIES_MAX, CircuitConfig, CommandError, HopFigures};
use crate::handshake::{HandshakeError, Hello, Initiation, Welcome};
use crate::keys::RelaySpec;
use crate::layer::Position;
use crate::message::{EXTEND_OVERHEAD, Request, RequestNumber, extend_message};
use crate::parts::{self, Assembly, Part};
use crate::repeat::{Repeat, Turn};
use crate::schedule::HopKeys;
use identity::NodeId;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::Rng;
use std::time::Instant;

/// A hop that is asked for.
pub(super) struct Build {
    position: Position,
    relay: RelaySpec,
    config: CircuitConfig,
    initiation: Initiation,
    request: RequestNumber,
    /// What travels: the first message, with the relay's name before it unless the relay is the neighbour.
    message: Vec<u8>,
    repeat: Repeat,
    /// The part that this round says next; `None` between rounds.
    next_part: Option<u8>,
    answer: Assembly,
}

/// What an answer has led to.
pub(super) enum Outcome {
    /// Another part or another answer is needed.
    Pending,
    /// The hop is there.
    Built(Box<HopKeys>, NodeId, HopFigures),
    /// The relay does not know our versions.
    VersionRefused,
    /// So many answers were not the relay's that there will be none.
    Forged,
}

impl Build {
    pub(super) fn begin(
        now: Instant,
        config: &CircuitConfig,
        position: Position,
        relay: RelaySpec,
        request: RequestNumber,
        rng: &mut ChaCha20Rng,
    ) -> Result<Self, CommandError> {
        let mut ephemeral = [0; 32];
        rng.fill_bytes(&mut ephemeral);
        let hello = Hello::new(position, config.features);
        let begun = Initiation::begin(&config.network, &relay, &hello, ephemeral);
        let (initiation, first) = begun.map_err(|_| CommandError::Library)?;
        let message = if position == Position::FIRST { first.to_vec() } else { extend_message(&relay.node_id, &first) };
        let repeat = Repeat::new(now, BUILD_TRIES_MAX);
        let (config, answer) = (*config, Assembly::default());
        Ok(Self { position, relay, config, initiation, request, message, repeat, next_part: None, answer })
    }

    /// The hop that is asked for.
    pub(super) fn position(&self) -> Position {
        self.position
    }

    /// True when an answer with this number is for this hop.
    pub(super) fn is_asked_by(&self, request: RequestNumber) -> bool {
        self.request == request
    }

    pub(super) fn turn(&self, now: Instant) -> Turn {
        if self.next_part.is_some() { Turn::Say } else { self.repeat.turn(now) }
    }

    pub(super) fn deadline(&self) -> Instant {
        let waits = self.repeat.deadline();
        // Between the parts of a round there is nothing to wait for but a slot.
        if self.next_part.is_some() { self.repeat.first() } else { waits }
    }

    /// Writes the next part that is due into a region that is zero: plain for the neighbour, else where the layers of
    /// the hops that are built leave room.
    pub(super) fn write(&mut self, now: Instant, rng: &mut ChaCha20Rng, region: &mut [u8]) -> Option<()> {
        let index = match self.next_part {
            Some(index) => index,
            None if self.repeat.turn(now) == Turn::Say => {
                self.repeat.said(now, rng);
                0
            }
            None => return None,
        };
        let asked = Position::new(self.position.number() - 1);
        let (body, overhead) = match asked {
            None => (region, 0),
            Some(hop) => (&mut region[hop.client_body()..], EXTEND_OVERHEAD),
        };
        let room = body.len() - overhead;
        let part = parts::part(&self.message, index, room)?;
        match asked {
            None => part.write(body),
            Some(_) => Request::Extend(part).write(self.request, body),
        }
        self.next_part = Some(index + 1).filter(|next| *next < part.count);
        Some(())
    }

    /// Takes a part of an answer.
    pub(super) fn take(&mut self, now: Instant, part: &Part<'_>) -> Outcome {
        let Some(second) = self.answer.take(part) else { return Outcome::Pending };
        match self.initiation.finish(&second) {
            Ok((keys, welcome)) => self.judge(now, keys, welcome),
            Err(HandshakeError::Length | HandshakeError::Refused) if !self.initiation.is_spent() => Outcome::Pending,
            Err(_) => Outcome::Forged,
        }
    }

    fn judge(&self, now: Instant, keys: HopKeys, welcome: Welcome) -> Outcome {
        if !welcome.is_accepted(self.config.features) {
            return Outcome::VersionRefused;
        }
        let figures = HopFigures { handshake_time: self.repeat.round_trip(now), features: welcome.features };
        Outcome::Built(Box::new(keys), self.relay.node_id, figures)
    }
}
