//! The exit's side of linking: which circuits belong to which tunnel.

use crate::ids::{Nonce, TunnelId};
use crate::leg::{Accepted, Fault, Fresh};
use crate::message::{Message, MessageError, Refusal};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::time::{Duration, Instant};
use wire::leg::{LegHeader, LegKind};

/// Tunnels of one exit, [`JoinPointConfig::tunnels_max`] at most. A LINK beyond it is refused.
pub const TUNNELS_MAX: usize = 65_536;
/// Ended tunnels whose nonces are remembered, so that no late leg revives one. When there are more the oldest is forgotten; a
/// leg that comes late even then says that it joins, and is refused because there is no such tunnel.
pub const ENDED_MAX: usize = 4_096;

/// Limits of a join point.
#[derive(Debug, Clone, Copy)]
pub struct JoinPointConfig {
    /// Tunnels, at most [`TUNNELS_MAX`]. Default 8,192.
    pub tunnels_max: usize,
    /// LINKs that are looked at in a second, in all. More are dropped; clients say them again. Default 1,000.
    pub links_per_second: u32,
}

impl Default for JoinPointConfig {
    fn default() -> Self {
        Self { tunnels_max: 8_192, links_per_second: 1_000 }
    }
}

/// The table of one exit: nonces, and the tunnels that have them.
#[derive(Default)]
pub struct JoinPoint {
    config: JoinPointConfig,
    tunnels: BTreeMap<Nonce, TunnelId>,
    nonces: BTreeMap<TunnelId, Nonce>,
    ended: BTreeSet<Nonce>,
    ended_order: VecDeque<Nonce>,
    next: u64,
    /// LINKs that may still be looked at, in thousandths.
    tokens: u64,
    filled_at: Option<Instant>,
    dropped: u64,
}

impl fmt::Debug for JoinPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinPoint").field("tunnels", &self.tunnels.len()).finish_non_exhaustive()
    }
}

/// What the first cells of a circuit come to.
#[derive(Debug)]
pub enum First<K> {
    /// A cover cell, or a LINK that came when there were too many: the circuit is as it was.
    Nothing(Fresh<K>),
    /// A leg of a new tunnel: make it with [`crate::Tunnel::exit`].
    New(TunnelId, Accepted<K>),
    /// A further leg of this tunnel: give it to [`crate::Tunnel::accept`].
    Joins(TunnelId, Accepted<K>),
    /// Data: the circuit is a tunnel of its own, without LINK, such as that of a pair. It can never be linked: from now on
    /// [`check_used`] is asked about its cells.
    InUse(K),
    /// Say this, then end the circuit.
    Refused(K, Refusal, Message),
    /// The client broke the protocol: end the circuit.
    Fault(K, Fault),
}

/// Whether a cell may come on a circuit that carries data without being linked.
///
/// # Errors
/// If it says something about a leg: the circuit must be closed.
pub fn check_used(header: &LegHeader) -> Result<(), Fault> {
    if header.kind == LegKind::Link { Err(Fault::LinkOnUsed) } else { Ok(()) }
}

impl JoinPoint {
    /// An empty table.
    pub fn new(config: JoinPointConfig) -> Self {
        Self {
            config: JoinPointConfig { tunnels_max: config.tunnels_max.min(TUNNELS_MAX), ..config },
            ..Self::default()
        }
    }

    /// Tunnels that are there.
    pub fn len(&self) -> usize {
        self.tunnels.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.tunnels.is_empty()
    }

    /// LINKs that were dropped because there were too many.
    pub fn dropped_links(&self) -> u64 {
        self.dropped
    }

    /// Takes the inner part of a cell on a circuit that has brought nothing but cover cells. `negotiated`: the circuit's hops
    /// have agreed on linking.
    pub fn handle_first<K>(
        &mut self,
        now: Instant,
        fresh: Fresh<K>,
        negotiated: bool,
        number: u64,
        inner: &[u8],
    ) -> First<K> {
        let Ok((header, body)) = LegHeader::decode(inner) else { return First::Fault(fresh.carrier, Fault::Malformed) };
        match header.kind {
            LegKind::Cover => return First::Nothing(fresh),
            LegKind::Data => return First::InUse(fresh.carrier),
            LegKind::Link => {}
        }
        if !negotiated {
            return First::Fault(fresh.carrier, Fault::NotNegotiated);
        }
        match Message::decode(body) {
            Ok(Message::Link { attempt, joins, leg, ux, asked, nonce }) => {
                if !self.take_token(now) {
                    self.dropped += 1;
                    return First::Nothing(fresh);
                }
                let tunnel_number = header.tunnel_number;
                let carrier = fresh.carrier;
                self.link(Accepted { carrier, attempt, leg, ux, asked, nonce, number, tunnel_number }, joins)
            }
            Ok(message) => First::Fault(fresh.carrier, unasked(&message)),
            Err(MessageError::Version(attempt)) => {
                let answer = Message::Refused { attempt, reason: Refusal::Version };
                First::Refused(fresh.carrier, Refusal::Version, answer)
            }
            Err(MessageError::Malformed(_)) => First::Fault(fresh.carrier, Fault::Malformed),
        }
    }

    fn link<K>(&mut self, accepted: Accepted<K>, joins: bool) -> First<K> {
        let refused = |accepted: Accepted<K>, reason| {
            First::Refused(accepted.carrier, reason, Message::Refused { attempt: accepted.attempt, reason })
        };
        if let Some(&tunnel) = self.tunnels.get(&accepted.nonce) {
            return First::Joins(tunnel, accepted);
        }
        if self.ended.contains(&accepted.nonce) {
            return refused(accepted, Refusal::Closing);
        }
        if joins {
            return refused(accepted, Refusal::UnknownTunnel);
        }
        if self.tunnels.len() >= self.config.tunnels_max {
            return refused(accepted, Refusal::Full);
        }
        self.next += 1;
        let tunnel = TunnelId(self.next);
        self.tunnels.insert(accepted.nonce.clone(), tunnel);
        self.nonces.insert(tunnel, accepted.nonce.clone());
        First::New(tunnel, accepted)
    }

    /// A tunnel is over: its nonce never means anything again.
    pub fn forget(&mut self, tunnel: TunnelId) {
        let Some(nonce) = self.nonces.remove(&tunnel) else { return };
        self.tunnels.remove(&nonce);
        if self.ended_order.len() >= ENDED_MAX
            && let Some(oldest) = self.ended_order.pop_front()
        {
            self.ended.remove(&oldest);
        }
        self.ended_order.push_back(nonce.clone());
        self.ended.insert(nonce);
    }

    /// One token for each LINK; they fill up to those of one second.
    fn take_token(&mut self, now: Instant) -> bool {
        let per_second = u64::from(self.config.links_per_second);
        let passed = self.filled_at.map_or(Duration::from_secs(1), |at| now.saturating_duration_since(at));
        let passed_ms = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX).min(1_000);
        if passed_ms > 0 {
            self.tokens = (self.tokens + passed_ms * per_second).min(1_000 * per_second);
            self.filled_at = Some(now);
        }
        let taken = self.tokens.checked_sub(1_000);
        self.tokens = taken.unwrap_or(self.tokens);
        taken.is_some()
    }
}

/// A message on a circuit that was never linked.
fn unasked(message: &Message) -> Fault {
    match message {
        Message::Link { .. } => Fault::LinkTwice,
        Message::Linked { .. } => Fault::LinkedUnasked,
        Message::LinkedAck { .. } => Fault::AckUnasked,
        Message::Refused { .. } => Fault::RefusedUnasked,
        Message::Unlink { .. } | Message::Unlinked { .. } => Fault::UnlinkUnlinked,
    }
}
