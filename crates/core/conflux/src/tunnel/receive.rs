//! Cells that come.

use super::{Tunnel, TunnelEvent};
use crate::ids::LegId;
use crate::leg::{Fault, LegEnd, Linked, Member, Role};
use crate::message::Message;
use std::time::{Duration, Instant};
use wire::leg::{Feedback, LegHeader, LegKind};

/// Tunnel numbers above this are refused: at a million cells a second, reached after 292,000 years.
const NUMBER_MAX: u64 = 1 << 63;

/// How long a gap is waited for is the longest round trip of a linked leg, within these bounds: the longest difference that
/// two honest legs can have, with their queues, and what an application may notice.
const GAP_MIN: Duration = Duration::from_millis(100);
const GAP_MAX: Duration = Duration::from_millis(400);

impl<K> Tunnel<K> {
    /// Takes the inner part of a cell that came on a leg and whose layers have opened; `number` is its layer number. Fetch
    /// what is ready with [`Tunnel::poll_packet`] before the next.
    pub fn handle_cell(&mut self, now: Instant, leg: LegId, number: u64, inner: &[u8]) {
        if !self.members.contains_key(&leg) {
            self.stray += 1;
            return;
        }
        if let Err(fault) = self.take_cell(now, leg, number, inner) {
            self.release(now, leg, LegEnd::Fault(fault));
        }
    }

    fn take_cell(&mut self, now: Instant, leg: LegId, number: u64, inner: &[u8]) -> Result<(), Fault> {
        let (header, body) = LegHeader::decode(inner).map_err(|_| Fault::Malformed)?;
        if header.tunnel_number > NUMBER_MAX {
            return Err(Fault::Number);
        }
        let message = match header.kind {
            LegKind::Link => Some(Message::decode(body).map_err(|_| Fault::Malformed)?),
            LegKind::Cover | LegKind::Data => None,
        };
        if let Some(member) = self.members.get_mut(&leg) {
            let intake = &mut member.core_mut().intake;
            intake.take(now, number.saturating_add(1), header.tunnel_number);
            if header.kind == LegKind::Data {
                intake.owe(now);
            }
        }
        if let Some(about) = LegId::new(header.feedback_leg) {
            self.take_feedback(now, leg, about, header.feedback);
        }
        match message {
            Some(message) => self.handle_message(now, leg, message),
            None if header.kind == LegKind::Data => {
                if header.tunnel_number == 0 {
                    return Err(Fault::Number);
                }
                self.reorder.insert(now, header.tunnel_number, body);
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn take_feedback(&mut self, now: Instant, on: LegId, about: LegId, feedback: Feedback) {
        let Some(member) = self.members.get_mut(&about) else { return };
        let core = member.core_mut();
        let Some(progress) = core.flight.handle_feedback(now, feedback, on == about) else { return };
        core.loss.note(now, progress.delivered, progress.lost);
        let highest = core.flight.highest();
        let was_silent = core.silence.take_if(|silence| highest > silence.newest).is_some();
        if was_silent {
            core.law.restart();
        } else if core.silence.is_none() {
            let figures = core.flight.figures;
            core.law.handle_progress(now, &progress, figures.received, figures.in_flight);
        }
        let rtt = core.flight.rtt();
        let is_confirmed = match member {
            Member::Linked(Linked { role: Role::Exit { is_confirmed, .. }, .. }) => {
                std::mem::replace(is_confirmed, true)
            }
            _ => true,
        };
        if !is_confirmed {
            self.tell(TunnelEvent::LegLinked(about, rtt));
        }
        if was_silent {
            self.tell(TunnelEvent::LegBack(about));
        }
    }

    /// The number that every leg is past which brought a cell lately, and how long gaps are waited for.
    pub(super) fn progress(&self, now: Instant) -> (u64, Duration) {
        let timeout = self.gap_timeout();
        let recent = self.members.values().map(|member| &member.core().intake);
        let past = recent.filter(|intake| intake.is_recent(now, timeout)).map(|intake| intake.past()).min();
        (past.unwrap_or(u64::MAX), timeout)
    }

    pub(super) fn gap_timeout(&self) -> Duration {
        let longest = self.members.values().filter_map(|member| member.core().flight.rtt()).max();
        longest.unwrap_or(GAP_MAX).clamp(GAP_MIN, GAP_MAX)
    }
}
