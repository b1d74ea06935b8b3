//! Link reports: what a link carried, once a second (docs/spec/link.md, "Report").
//!
//! ```text
//! | sent 8 | received 8 | marked 8 | of 8 | stamp 4 | echo 4 | held 4 | asks 1 |
//! ```

use std::collections::VecDeque;
use std::time::{Duration, Instant};
use wire::read::{DecodeError, Reader};

/// Time between two reports.
pub const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// Span over which losses are added up.
pub const LOSS_WINDOW: Duration = Duration::from_secs(10);
/// Reports kept for the window: one a second, and some that came in a heap. When full, the oldest goes.
const SAMPLES_MAX: usize = 16;
/// Where a report was lost, one packet of so many is a report until one has come through.
const REPEAT_PACKETS: u64 = 16;
/// Least time between two of these.
const REPEAT_INTERVAL: Duration = Duration::from_millis(1);
/// A report that the peer's next ones do not know so long after a round trip is lost.
const LOST_AFTER: Duration = Duration::from_millis(200);
/// Without a report of the peer for so long, its reports or this end's are lost.
const UNREPORTED_MAX: Duration = Duration::from_millis(1_300);
/// A peer that asks is told earlier, and so is one that lost more than one packet of so many on the way here
const TELL_LOSS_ABOVE: u64 = 5;
/// if there were so many at least;
const TELL_LOSS_PACKETS_MIN: u64 = 16;
/// at most this often.
const TELL_INTERVAL: Duration = Duration::from_millis(100);
/// Least time between two reports of the window; what comes between belongs to the earlier one.
const SAMPLE_SPAN: Duration = Duration::from_millis(700);
/// Round trips above this are taken for a clock that went wrong.
const RTT_MAX: Duration = Duration::from_secs(30);

/// What one direction of a link lost within the last [`LOSS_WINDOW`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LossFigures {
    /// From the first report of the window to the last.
    pub span: Duration,
    /// Packets sent in that time.
    pub sent: u64,
    /// Those that did not come; late ones may still count as lost.
    pub lost: u64,
    /// Those that came with a congestion mark (ECN CE).
    pub marked: u64,
}

impl LossFigures {
    /// Lost packets of a thousand sent; 0 when none was sent. The peer may have named any number of packets.
    pub fn per_mille(&self) -> u64 {
        let lost = u128::from(self.lost) * 1000;
        lost.checked_div(self.sent.into()).map_or(0, |share| u64::try_from(share).unwrap_or(u64::MAX))
    }
}

/// What the two ends of a link told each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LinkFigures {
    /// What this node sent, as the peer counted it: the figure for this node's own schedule.
    pub outbound: LossFigures,
    /// What the peer sent, as this node counted it.
    pub inbound: LossFigures,
    /// Smoothed round trip.
    pub rtt: Duration,
}

/// The payload of a report cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Report {
    /// Packets that the sender of the report had sent before it.
    sent: u64,
    /// Packets it had received when the peer's newest report came, that report included.
    received: u64,
    /// Those of them that had a congestion mark.
    marked: u64,
    /// `sent` of that newest report.
    of: u64,
    /// The sender's clock, in microseconds from an origin of its own.
    stamp: u32,
    /// `stamp` of the peer's newest report; 0 when there was none.
    echo: u32,
    /// Microseconds since that report came; saturates.
    held: u32,
    /// The sender does not know whether its reports come through, and waits for one.
    asks: bool,
}

/// Bytes of a [`Report`].
pub(crate) const REPORT_LEN: usize = 45;

impl Report {
    pub(crate) fn encode(&self) -> [u8; REPORT_LEN] {
        let mut bytes = [0; REPORT_LEN];
        for (place, number) in [self.sent, self.received, self.marked, self.of].into_iter().enumerate() {
            bytes[place * 8..place * 8 + 8].copy_from_slice(&number.to_be_bytes());
        }
        for (place, number) in [self.stamp, self.echo, self.held].into_iter().enumerate() {
            bytes[32 + place * 4..36 + place * 4].copy_from_slice(&number.to_be_bytes());
        }
        bytes[44] = self.asks.into();
        bytes
    }

    pub(crate) fn decode(region: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(region);
        Ok(Self {
            sent: reader.u64()?,
            received: reader.u64()?,
            marked: reader.u64()?,
            of: reader.u64()?,
            stamp: reader.u32()?,
            echo: reader.u32()?,
            held: reader.u32()?,
            asks: reader.u8()? & 1 != 0,
        })
    }
}

/// What became of one direction's packets between two reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Stretch {
    pub(crate) span: Duration,
    pub(crate) sent: u64,
    pub(crate) received: u64,
    /// Packets sent before the first of the stretch.
    pub(crate) since_packet: u64,
}

impl Stretch {
    /// So many were lost that the peer should know soon.
    fn is_lossy(&self) -> bool {
        let lost = self.sent.saturating_sub(self.received);
        self.sent >= TELL_LOSS_PACKETS_MIN && lost.saturating_mul(TELL_LOSS_ABOVE) > self.sent
    }
}

/// Counts a link's packets and turns reports into figures.
pub(crate) struct Traffic {
    sent: u64,
    received: u64,
    marked: u64,
    /// Origin of this end's stamps.
    origin: Instant,
    newest: Option<Heard>,
    outbound: Samples,
    inbound: Samples,
    /// What the newest report added, outbound and inbound.
    stretches: [Option<Stretch>; 2],
    rtt: Duration,
    next_report: Instant,
    /// The newest report of this end: packets sent before it, and when.
    reported: (u64, Instant),
    /// Reports from this count on have not come through.
    unheard_from: Option<u64>,
    /// Something but reports went either way since the last report.
    worth_reporting: bool,
}

struct Heard {
    report: Report,
    at: Instant,
    received: u64,
    marked: u64,
}

impl Traffic {
    pub(crate) fn new(now: Instant, rtt: Duration) -> Self {
        Self {
            sent: 0,
            received: 0,
            marked: 0,
            origin: now,
            newest: None,
            outbound: Samples::new(now),
            inbound: Samples::new(now),
            stretches: [None; 2],
            rtt,
            next_report: now + REPORT_INTERVAL,
            reported: (0, now),
            unheard_from: None,
            worth_reporting: false,
        }
    }

    /// Smoothed round trip; the handshake's until reports have measured it.
    pub(crate) fn rtt(&self) -> Duration {
        self.rtt
    }

    /// Packets sent so far.
    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    /// What the newest report added to the figures: outbound, inbound. Once.
    pub(crate) fn take_stretches(&mut self) -> [Option<Stretch>; 2] {
        std::mem::take(&mut self.stretches)
    }

    /// Takes packets out of the count that were sealed and never left.
    pub(crate) fn take_back(&mut self, packets: u32) {
        self.sent = self.sent.saturating_sub(u64::from(packets));
    }

    /// Counts a packet; true when it is the first that is worth a report.
    #[inline]
    pub(crate) fn count_sent(&mut self, report: bool) -> bool {
        self.sent += 1;
        self.note(report)
    }

    /// Counts a packet; true when it is the first that is worth a report.
    #[inline]
    pub(crate) fn count_received(&mut self, marked: bool, report: bool) -> bool {
        self.received += 1;
        self.marked += u64::from(marked);
        self.note(report)
    }

    #[inline]
    fn note(&mut self, report: bool) -> bool {
        let first = !report && !self.worth_reporting;
        self.worth_reporting |= first;
        first
    }

    /// Makes a report due at once: the peer waits for a sign.
    pub(crate) fn report_at_once(&mut self, now: Instant) {
        self.next_report = now;
        self.worth_reporting = true;
    }

    /// When the next report is due. Without a grid, an idle link has none.
    pub(crate) fn report_due(&self, gridded: bool) -> Option<Instant> {
        let regular = (gridded || self.worth_reporting).then_some(self.next_report);
        [regular, self.repeat_due()].into_iter().flatten().min()
    }

    /// When a report takes the place of one that was lost. A pair of ports that lets one packet of fifty through would
    /// otherwise show its loss after a minute.
    fn repeat_due(&self) -> Option<Instant> {
        let (sent, at) = self.reported;
        if self.sent < sent + REPEAT_PACKETS {
            return None;
        }
        let doubted_at = if self.unheard_from.is_some() { at } else { self.untold_at()? };
        Some(doubted_at.max(at + REPEAT_INTERVAL))
    }

    /// When the peer's reports have been missing for long, if other packets of it came.
    fn untold_at(&self) -> Option<Instant> {
        let (told_at, received) = self.newest.as_ref().map_or((self.origin, 0), |heard| (heard.at, heard.received));
        (self.received > received + 1).then_some(told_at + UNREPORTED_MAX + self.rtt)
    }

    /// When a peer that was heard last at a time is asked for a sign, if nothing comes of it for so long. It is asked again until one comes.
    pub(crate) fn question_due(&self, heard: Instant, patience: Duration) -> Instant {
        (heard + patience).max(self.reported.1 + TELL_INTERVAL.max(self.rtt))
    }

    /// A report that the peer answers at once.
    pub(crate) fn make_question(&mut self, now: Instant) -> Report {
        Report { asks: true, ..self.make_report(now) }
    }

    /// The report that is due now.
    pub(crate) fn make_report(&mut self, now: Instant) -> Report {
        self.next_report = if self.next_report <= now {
            // Missed reports are not made up for.
            (self.next_report + REPORT_INTERVAL).max(now + REPORT_INTERVAL / 2)
        } else {
            now + REPORT_INTERVAL
        };
        self.worth_reporting = false;
        let asks = self.unheard_from.is_some() || self.untold_at().is_some_and(|untold_at| now >= untold_at);
        self.reported = (self.sent, now);
        let (received, marked, of, echo, held) = match &self.newest {
            Some(heard) => {
                let held = now.saturating_duration_since(heard.at).as_micros();
                let held = u32::try_from(held).unwrap_or(u32::MAX);
                (heard.received, heard.marked, heard.report.sent, heard.report.stamp, held)
            }
            None => (0, 0, 0, 0, 0),
        };
        Report { sent: self.sent, received, marked, of, stamp: self.stamp(now), echo, held, asks }
    }

    /// Takes the peer's report, which was counted as received before. Reports that were overtaken are ignored.
    pub(crate) fn handle_report(&mut self, now: Instant, report: Report) -> Option<LinkFigures> {
        if self.newest.as_ref().is_some_and(|heard| report.sent <= heard.report.sent) {
            return None;
        }
        // `sent` does not count the report itself, `received` does.
        let received = self.received.saturating_sub(1);
        let inbound = self.inbound.add(Sample { at: now, sent: report.sent, received, marked: self.marked });
        if report.asks || inbound.is_some_and(|stretch| stretch.is_lossy()) {
            self.next_report = self.next_report.min(self.reported.1 + TELL_INTERVAL);
            self.worth_reporting = true;
        }
        self.note_heard_up_to(now, report.of);
        let passed = Duration::from_micros(self.stamp(now).wrapping_sub(report.echo).into());
        let mut outbound = None;
        if report.echo != 0 && passed < RTT_MAX && report.of != 0 && report.of <= self.sent {
            // The stretch is as long as the time between the two reports of this end that it lies between.
            let at = now.checked_sub(passed).unwrap_or(now);
            let received = report.received.saturating_sub(1);
            outbound = self.outbound.add(Sample { at, sent: report.of, received, marked: report.marked });
        }
        self.stretches = [outbound, inbound];
        if report.echo != 0 && report.held != u32::MAX && passed < RTT_MAX {
            let sample = passed.saturating_sub(Duration::from_micros(report.held.into()));
            self.rtt = (self.rtt * 7 + sample) / 8;
        }
        self.newest = Some(Heard { report, at: now, received: self.received, marked: self.marked });
        Some(self.figures())
    }

    /// The peer knows this end's report of this count.
    fn note_heard_up_to(&mut self, now: Instant, of: u64) {
        let (sent, at) = self.reported;
        match self.unheard_from {
            Some(from) if of >= from => self.unheard_from = None,
            None if of < sent && now >= at + self.rtt + LOST_AFTER => self.unheard_from = Some(sent),
            _ => {}
        }
    }

    /// The figures as of the newest report.
    pub(crate) fn figures(&self) -> LinkFigures {
        LinkFigures { outbound: self.outbound.figures(), inbound: self.inbound.figures(), rtt: self.rtt }
    }

    /// Never 0, which means "none" in a report.
    fn stamp(&self, now: Instant) -> u32 {
        (now.saturating_duration_since(self.origin).as_micros() as u32).max(1)
    }
}

#[derive(Debug, Clone, Copy)]
struct Sample {
    at: Instant,
    sent: u64,
    received: u64,
    marked: u64,
}

/// Pairs of (sent, received) of one direction; the first is the beginning of the link, and two are
/// [`SAMPLE_SPAN`] apart at least, but the last.
struct Samples(VecDeque<Sample>);

impl Samples {
    fn new(now: Instant) -> Self {
        Self(VecDeque::from([Sample { at: now, sent: 0, received: 0, marked: 0 }]))
    }

    /// Adds a sample; what it says about the time since the last one.
    fn add(&mut self, sample: Sample) -> Option<Stretch> {
        let last = *self.0.back().filter(|last| sample.sent > last.sent)?;
        let before = self.0.len().checked_sub(2).and_then(|place| self.0.get(place));
        if before.is_some_and(|before| last.at.saturating_duration_since(before.at) < SAMPLE_SPAN) {
            self.0.pop_back();
        }
        self.0.push_back(sample);
        let old = |second: &Sample| sample.at.saturating_duration_since(second.at) >= LOSS_WINDOW;
        while self.0.len() > SAMPLES_MAX || self.0.get(1).is_some_and(old) {
            self.0.pop_front();
        }
        Some(Stretch {
            span: sample.at.saturating_duration_since(last.at),
            sent: sample.sent - last.sent,
            received: sample.received.saturating_sub(last.received),
            since_packet: last.sent,
        })
    }

    fn figures(&self) -> LossFigures {
        let (Some(first), Some(last)) = (self.0.front(), self.0.back()) else { return LossFigures::default() };
        let sent = last.sent.saturating_sub(first.sent);
        LossFigures {
            span: last.at.saturating_duration_since(first.at),
            sent,
            lost: sent.saturating_sub(last.received.saturating_sub(first.received)),
            marked: last.marked.saturating_sub(first.marked),
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "an origin for virtual time")]
mod tests;
