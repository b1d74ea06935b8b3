//! Which messages are worth the ring where one of the two sides never looks on.
//!
//! Such a side ([`stance::SLEEPS_AT_ONCE`]) is asleep when a small message comes for it, and the other mostly is when it answers. Each
//! of them then costs a doorbell, which is what sending it through the socket would cost, and the ring comes on top. So both
//! directions of such a connection begin at the socket. One turns to its ring for large messages, and goes back when small ones
//! have had to ring: whatever speaks for a change is counted, whatever does not is taken off, so that an even mixture changes
//! nothing; and each way back doubles what the next turn asks for.

use crate::link::{Link, Word, stance};

/// A message from this size on is large.
pub const LARGE_BYTES: usize = 4096;
/// Large messages, less the small ones among them, for which a direction turns to its ring.
pub const TURN_AFTER: u64 = 8;
/// The same at most, after many ways back. In the long run a direction turns once for so many messages.
pub const TURN_AFTER_MAX: u64 = 1024;
/// Small messages that had to ring, less the others among them, for which a direction goes back to its socket.
pub const LEAVE_AFTER: u64 = 16;

/// Whether a message of this length belongs into the ring, as far as its size goes. Asked once for each message, under the
/// send lock.
pub fn is_worth_ring(link: &Link, length: usize) -> bool {
    if (link.get(Word::Stance) | link.theirs(Word::Stance)) & stance::SLEEPS_AT_ONCE == 0 {
        return true;
    }
    let favours = link.get(Word::Favours) != 0;
    let is_large = length >= LARGE_BYTES;
    let rang = has_rung(link);
    let speaks_for_change = if favours { rang && !is_large } else { is_large };
    let weight = link.get(Word::Weight);
    let weight = if speaks_for_change { weight + 1 } else { weight.saturating_sub(1) };
    let asked_for = link.get(Word::TurnAfter).max(TURN_AFTER);
    if weight < if favours { LEAVE_AFTER } else { asked_for } {
        link.set(Word::Weight, weight);
        return favours;
    }
    link.set(Word::Weight, 0);
    link.set(Word::Favours, u64::from(!favours));
    if favours {
        link.set(Word::TurnAfter, (2 * asked_for).min(TURN_AFTER_MAX));
    }
    !favours
}

/// Whether a doorbell was sent since this was asked last, which is: with the message before.
fn has_rung(link: &Link) -> bool {
    let rings = link.get(Word::Rings);
    let before = link.get(Word::RingsBefore);
    link.set(Word::RingsBefore, rings);
    rings != before
}
