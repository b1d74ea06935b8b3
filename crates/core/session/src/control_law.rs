//! The session's congestion controller: wide open, or the library one inside, switchable on a live connection.

use quinn_proto::RttEstimator;
use quinn_proto::congestion::{BbrConfig, Controller, ControllerFactory, ControllerMetrics, CubicConfig};
use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// The window of a session that does not brake: above 4 GiB quinn's pacing is off as well.
pub(crate) const WIDE_OPEN_WINDOW: u64 = 1 << 40;

/// The controller inside, which brakes while the session is not wide open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CongestionControl {
    /// Cubic (RFC 9438).
    Cubic,
    /// BBR: on a path that loses, Cubic falls to a few percent of it and BBR does not.
    Bbr,
}

/// What the session shares with its controller, which quinn owns.
#[derive(Debug, Default)]
pub(crate) struct ControlSwitch {
    wide_open: AtomicBool,
    /// One packet may leave beyond the window: a probe after an outage.
    probe: AtomicBool,
    /// Set whenever the window is read. quinn reads it only when it has something to send.
    asked: AtomicBool,
}

impl ControlSwitch {
    pub(crate) fn set_wide_open(&self, on: bool) {
        self.wide_open.store(on, Ordering::Relaxed);
    }

    pub(crate) fn is_wide_open(&self) -> bool {
        self.wide_open.load(Ordering::Relaxed)
    }

    pub(crate) fn set_probe(&self, on: bool) {
        self.probe.store(on, Ordering::Relaxed);
    }

    /// Forgets earlier questions; see [`ControlSwitch::was_asked`].
    pub(crate) fn begin_poll(&self) {
        self.asked.store(false, Ordering::Relaxed);
    }

    /// Whether the window was read since `begin_poll`. If a poll gave no packet and this is true, something
    /// waits and the controller (or its pacing) holds it.
    pub(crate) fn was_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }
}

/// Builds the controller of one connection.
pub(crate) struct SwitchedFactory {
    pub(crate) kind: CongestionControl,
    pub(crate) switch: Arc<ControlSwitch>,
}

impl ControllerFactory for SwitchedFactory {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        let inner = match self.kind {
            CongestionControl::Cubic => Arc::new(CubicConfig::default()).build(now, current_mtu),
            CongestionControl::Bbr => Arc::new(BbrConfig::default()).build(now, current_mtu),
        };
        Box::new(Switched { inner, switch: Arc::clone(&self.switch) })
    }
}

/// Passes every event to the inner controller also while wide open, so that a switch back starts from what the
/// path showed meanwhile.
struct Switched {
    inner: Box<dyn Controller>,
    switch: Arc<ControlSwitch>,
}

impl Controller for Switched {
    fn on_sent(&mut self, now: Instant, bytes: u64, last_packet_number: u64) {
        self.inner.on_sent(now, bytes, last_packet_number);
    }

    fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64, app_limited: bool, rtt: &RttEstimator) {
        self.inner.on_ack(now, sent, bytes, app_limited, rtt);
    }

    fn on_end_acks(&mut self, now: Instant, in_flight: u64, app_limited: bool, largest_acked: Option<u64>) {
        self.inner.on_end_acks(now, in_flight, app_limited, largest_acked);
    }

    fn on_congestion_event(&mut self, now: Instant, sent: Instant, is_persistent: bool, lost_bytes: u64) {
        self.inner.on_congestion_event(now, sent, is_persistent, lost_bytes);
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.inner.on_mtu_update(new_mtu);
    }

    fn window(&self) -> u64 {
        self.switch.asked.store(true, Ordering::Relaxed);
        if self.switch.is_wide_open() || self.switch.probe.load(Ordering::Relaxed) {
            return WIDE_OPEN_WINDOW;
        }
        self.inner.window()
    }

    fn metrics(&self) -> ControllerMetrics {
        let mut metrics = self.inner.metrics();
        metrics.congestion_window = self.window();
        metrics
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(Self { inner: self.inner.clone_box(), switch: Arc::clone(&self.switch) })
    }

    fn initial_window(&self) -> u64 {
        if self.switch.is_wide_open() {
            return WIDE_OPEN_WINDOW;
        }
        self.inner.initial_window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built(kind: CongestionControl) -> (Arc<ControlSwitch>, Box<dyn Controller>) {
        let switch = Arc::new(ControlSwitch::default());
        let factory = Arc::new(SwitchedFactory { kind, switch: Arc::clone(&switch) });
        let controller = factory.build(crate::support::origin(), 1222);
        (switch, controller)
    }

    #[test]
    fn wide_open_never_brakes() {
        let (switch, mut controller) = built(CongestionControl::Cubic);
        switch.set_wide_open(true);
        let now = crate::support::origin();
        controller.on_congestion_event(now, now, true, 1 << 30);
        assert_eq!(controller.window(), WIDE_OPEN_WINDOW);
        assert!(WIDE_OPEN_WINDOW > u64::from(u32::MAX), "or quinn would pace");
    }

    #[test]
    fn the_switch_works_on_a_live_controller_and_back() {
        for kind in [CongestionControl::Cubic, CongestionControl::Bbr] {
            let (switch, controller) = built(kind);
            let braked = controller.window();
            assert!(braked < 1 << 20, "{kind:?}");
            switch.set_wide_open(true);
            assert_eq!(controller.window(), WIDE_OPEN_WINDOW);
            switch.set_wide_open(false);
            assert_eq!(controller.window(), braked);
        }
    }

    #[test]
    fn reading_the_window_is_noticed() {
        let (switch, controller) = built(CongestionControl::Cubic);
        switch.begin_poll();
        assert!(!switch.was_asked());
        controller.window();
        assert!(switch.was_asked());
    }
}
