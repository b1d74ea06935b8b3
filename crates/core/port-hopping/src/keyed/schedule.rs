//! Which ports belong to which window of time.

use crate::ports::PortSet;
use crate::secret::HopSecret;
use identity::HopKey;
use std::collections::BTreeSet;
use std::time::Duration;

/// Length of a window.
pub const WINDOW: Duration = Duration::from_secs(30);
/// Ports of a window. A server has those of three windows open, so at most six, and two more for [`CLOSING_TIME`].
pub const PORTS_A_WINDOW: u8 = 2;
/// How long a server goes on hearing ports whose time is over, for packets that are on their way.
pub const CLOSING_TIME: Duration = Duration::from_secs(2);

/// Number of a window: seconds since 1970 UTC / 30.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Window(pub u64);

impl Window {
    /// The window of a time since 1970 UTC.
    pub fn at(unix: Duration) -> Self {
        Self(unix.as_secs() / WINDOW.as_secs())
    }

    /// When it begins, since 1970 UTC.
    pub fn begin(self) -> Duration {
        Duration::from_secs(self.0.saturating_mul(WINDOW.as_secs()))
    }

    /// The window before, this one and the one after: those that a clock that is wrong by one window may mean.
    pub fn accepted(self) -> [Self; 3] {
        [Self(self.0.saturating_sub(1)), self, Self(self.0.saturating_add(1))]
    }
}

/// One line of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedWindow {
    /// Which window.
    pub window: Window,
    /// From when on a server hears its ports, since 1970 UTC.
    pub open_from: Duration,
    /// Until when it hears them, since 1970 UTC.
    pub open_until: Duration,
    /// The ports, one or two.
    pub ports: Vec<u16>,
}

/// The ports of all windows.
#[derive(Debug, Clone)]
pub struct Schedule {
    secret: HopSecret,
    ports: PortSet,
}

impl Schedule {
    /// The schedule that both ends make of the same key and the same ports.
    pub fn new(key: &HopKey, ports: PortSet) -> Self {
        Self { secret: HopSecret::of_key(key), ports }
    }

    /// The ports that are hopped over.
    pub fn ports(&self) -> &PortSet {
        &self.ports
    }

    /// The secret, for addresses of a prefix.
    pub fn secret(&self) -> &HopSecret {
        &self.secret
    }

    /// The ports of a window, one or two, in the order in which they are tried.
    pub fn ports_of(&self, window: Window) -> Vec<u16> {
        self.secret.ports(&self.ports, window.0, PORTS_A_WINDOW)
    }

    /// The ports that a server has open: those of the window before, the present one and the next, and for the first
    /// two seconds of a window those of the one before these. At most eight.
    pub fn open_at(&self, unix: Duration) -> BTreeSet<u16> {
        let (now, leaving) = (Window::at(unix), Window::at(unix.saturating_sub(CLOSING_TIME)));
        let mut windows = now.accepted().to_vec();
        windows.push(leaving.accepted()[0]);
        windows.into_iter().flat_map(|window| self.ports_of(window)).collect()
    }

    /// When [`Schedule::open_at`] changes next, since 1970 UTC.
    pub fn next_change(&self, unix: Duration) -> Duration {
        let begin = Window::at(unix).begin();
        if unix < begin + CLOSING_TIME { begin + CLOSING_TIME } else { begin + WINDOW }
    }

    /// Where a client knocks, best first: the ports of the present window, which an exact clock finds in the middle of
    /// their time, then those of the next and of the one before.
    pub fn candidates(&self, unix: Duration) -> Vec<u16> {
        let [before, now, after] = Window::at(unix).accepted();
        let mut found: Vec<u16> = Vec::new();
        for port in [now, after, before].into_iter().flat_map(|window| self.ports_of(window)) {
            if !found.contains(&port) {
                found.push(port);
            }
        }
        found
    }

    /// The next `windows` windows, the present one first: what `hop plan` prints for a firewall.
    pub fn plan(&self, unix: Duration, windows: u32) -> impl Iterator<Item = PlannedWindow> {
        let first = Window::at(unix).0;
        (first..first.saturating_add(windows.into())).map(|number| {
            let window = Window(number);
            let [before, _, _] = window.accepted();
            let open_until = window.begin() + 2 * WINDOW + CLOSING_TIME;
            PlannedWindow { window, open_from: before.begin(), open_until, ports: self.ports_of(window) }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn schedule(ports: &str) -> Schedule {
        Schedule::new(&HopKey::from_bytes([7; 32]), ports.parse().expect("ports"))
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn few_ports_are_open_and_only_those_of_their_time() {
        let schedule = schedule("20000-50000");
        let time = Window(60_000_000).begin() + at(10);
        let open = schedule.open_at(time);
        let expected = [59_999_999, 60_000_000, 60_000_001].map(|number| schedule.ports_of(Window(number)));
        assert_eq!(open, expected.concat().into_iter().collect());
        assert!(open.len() <= 6);
        let early = schedule.open_at(Window(60_000_000).begin() + at(1));
        assert!(early.is_superset(&open) && early.len() <= 8);
        assert!(schedule.ports_of(Window(59_999_998)).iter().all(|port| early.contains(port)));
    }

    #[test]
    fn a_client_whose_clock_is_a_window_off_knocks_at_an_open_port_first() {
        let schedule = schedule("20000-50000");
        for second in 0..120 {
            let server = Window(60_000_000).begin() + at(second);
            for client in [server - WINDOW, server, server + WINDOW] {
                let first = schedule.candidates(client)[0];
                assert!(schedule.open_at(server).contains(&first), "{second}");
            }
        }
    }

    #[test]
    fn a_plan_says_when_each_port_is_open() {
        let schedule = schedule("20000-50000");
        let begin = Window(60_000_000).begin();
        let plan: Vec<PlannedWindow> = schedule.plan(begin + at(29), 20).collect();
        assert_eq!(plan.len(), 20);
        assert_eq!(plan[0].window, Window(60_000_000));
        for planned in plan {
            for port in planned.ports {
                assert!(schedule.open_at(planned.open_from).contains(&port));
                assert!(schedule.open_at(planned.open_until - Duration::from_millis(1)).contains(&port));
            }
        }
    }

    #[test]
    fn one_port_is_enough_for_a_schedule() {
        let schedule = schedule("443");
        assert_eq!(schedule.candidates(at(5)), [443]);
        assert_eq!(schedule.open_at(at(0)).into_iter().collect::<Vec<_>>(), [443]);
    }

    proptest! {
        #[test]
        fn the_open_ports_stay_the_same_until_the_next_change(seconds in 0u64..1 << 40, millis in 0u64..1000) {
            let schedule = schedule("1000-60000");
            let time = at(seconds) + Duration::from_millis(millis);
            let change = schedule.next_change(time);
            prop_assert!(change > time && change <= time + WINDOW);
            prop_assert_eq!(schedule.open_at(time), schedule.open_at(change - Duration::from_nanos(1)));
        }
    }
}
