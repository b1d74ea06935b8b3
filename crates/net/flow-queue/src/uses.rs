//! Which use of each queue pair is the present one, and what memory its ring has touched.

use wire::local::{LocalMessage, QueueRef};

/// Memory of our own rings that may stay touched while no flow uses it. Beyond it a ring's memory goes back to
/// the system when its flow ends: reuse is cheap for a moderate number of flows, and a burst of many leaves
/// nothing behind for good.
pub(crate) const WARM_BYTES_MAX: u64 = 16 << 20;

/// What [`Uses`] makes of a received message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is about the present use.
    Current,
    /// It is about an earlier use; nobody should see it.
    Stale,
    /// The other side may not say this.
    Breach,
}

/// One queue pair.
#[derive(Debug, Clone, Copy, Default)]
struct Use {
    count: u32,
    /// A flow has the pair.
    live: bool,
    closed_sent: bool,
    closed_received: bool,
    /// Write position of our ring when its memory was last given back.
    cold_at: u64,
    /// Touched bytes of our ring that count as warm, while no flow has it.
    warm: u64,
}

/// All queue pairs of one side.
#[derive(Debug)]
pub(crate) struct Uses {
    assigns: bool,
    queue_size: u64,
    uses: Vec<Use>,
    warm: u64,
}

impl Uses {
    pub(crate) fn new(count: u16, queue_size: u32, assigns: bool) -> Self {
        Self { assigns, queue_size: queue_size.into(), uses: vec![Use::default(); count.into()], warm: 0 }
    }

    /// Starts a new use on the assigning side.
    pub(crate) fn begin(&mut self, index: u16) -> QueueRef {
        let use_count = self.uses[usize::from(index)].count.wrapping_add(1);
        let queue = QueueRef { index, use_count };
        self.start(queue);
        queue
    }

    /// Ends a use on the assigning side. `false`: that use is over already.
    pub(crate) fn end(&mut self, queue: QueueRef) -> bool {
        let current = self.is_current(queue);
        if current {
            self.uses[usize::from(queue.index)].live = false;
        }
        current
    }

    /// Judges a received message; a SYN starts the use that it names.
    pub(crate) fn handle_received(&mut self, message: &LocalMessage) -> Verdict {
        let queue = message.queue();
        if usize::from(queue.index) >= self.uses.len() {
            return Verdict::Breach;
        }
        if matches!(message, LocalMessage::Syn(..)) {
            if self.assigns {
                return Verdict::Breach;
            }
            self.start(queue);
        }
        if self.is_current(queue) { Verdict::Current } else { Verdict::Stale }
    }

    /// Notes a `Closed` in one direction. `true`: now both sides are done with the pair for this use.
    pub(crate) fn note_closed(&mut self, queue: QueueRef, sent: bool) -> bool {
        if !self.is_current(queue) {
            return false;
        }
        let state = &mut self.uses[usize::from(queue.index)];
        let both_before = state.closed_sent && state.closed_received;
        if sent {
            state.closed_sent = true;
        } else {
            state.closed_received = true;
        }
        state.closed_sent && state.closed_received && !both_before
    }

    /// Decides what becomes of the memory of our ring after a flow that ended at `written`. `true`: it must
    /// be given back.
    pub(crate) fn must_give_back(&mut self, index: u16, written: u64) -> bool {
        let state = &mut self.uses[usize::from(index)];
        let touched = written.wrapping_sub(state.cold_at).min(self.queue_size);
        if self.warm + touched <= WARM_BYTES_MAX {
            state.warm = touched;
            self.warm += touched;
            return false;
        }
        state.cold_at = written;
        touched > 0
    }

    fn start(&mut self, queue: QueueRef) {
        let state = &mut self.uses[usize::from(queue.index)];
        self.warm -= state.warm;
        *state = Use { count: queue.use_count, live: true, cold_at: state.cold_at, ..Use::default() };
    }

    fn is_current(&self, queue: QueueRef) -> bool {
        let state = self.uses[usize::from(queue.index)];
        state.live && state.count == queue.use_count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn closed(queue: QueueRef) -> LocalMessage {
        LocalMessage::Closed(queue, 0)
    }

    #[test]
    fn only_messages_about_the_present_use_pass() {
        let mut uses = Uses::new(2, 4096, true);
        let first = uses.begin(1);
        assert_eq!(uses.handle_received(&closed(first)), Verdict::Current);
        assert!(uses.end(first));
        assert!(!uses.end(first));
        assert_eq!(uses.handle_received(&closed(first)), Verdict::Stale);
        let second = uses.begin(1);
        assert_ne!(first, second);
        assert_eq!(uses.handle_received(&closed(first)), Verdict::Stale);
        assert_eq!(uses.handle_received(&closed(second)), Verdict::Current);
        assert_eq!(uses.handle_received(&closed(QueueRef { index: 2, use_count: 0 })), Verdict::Breach);
    }

    #[test]
    fn memory_is_kept_warm_up_to_the_bound() {
        let size = 1 << 20;
        let mut uses = Uses::new(64, size, true);
        let ends: Vec<bool> = (0..20)
            .map(|index| {
                uses.begin(index);
                uses.must_give_back(index, u64::from(size) * 3)
            })
            .collect();
        assert_eq!(ends.iter().filter(|back| **back).count(), 4);
        assert!(ends[..16].iter().all(|back| !back), "the first 16 MiB stay warm");
        uses.begin(0);
        assert!(!uses.must_give_back(0, u64::from(size) * 4), "its own warm bytes were not counted twice");
    }
}
