//! The end of a node: flows first, then the link, within the deadline.

use std::time::Duration;

use flow_queue::Side;
use os_net::process_channel::ToProcess;
use tokio::time::Instant;

use super::Supervisor;
use crate::child::ChildEvent;
use crate::status::ProcessState;

/// Most of the deadline that is kept for the shaped process to say good-bye on the link.
const FAREWELL_MAX: Duration = Duration::from_millis(500);

/// How long killed processes may take to be gone. The kernel frees their memory in that time.
const KILLED_WAIT: Duration = Duration::from_secs(2);

impl Supervisor {
    /// Stops the unshaped process, which lets its flows finish, then the shaped one that carries them. Whoever is not
    /// gone at the deadline, or at a second request, is killed.
    pub(super) async fn drain(&mut self) {
        self.service.stopping();
        self.status.update(|status| status.stopping = true);
        tracing::info!("stopping");
        let end = Instant::now() + self.plan.stop_deadline;
        let farewell = FAREWELL_MAX.min(self.plan.stop_deadline / 4);
        for (side, by) in [(Side::Unshaped, end - farewell), (Side::Shaped, end)] {
            self.side(side).start_at = None;
            let deadline_ms = by.saturating_duration_since(Instant::now()).as_millis();
            let message = ToProcess::Stop { deadline_ms: u64::try_from(deadline_ms).unwrap_or(u64::MAX) };
            let Some(child) = &self.side(side).child else { continue };
            if let Err(error) = child.send(&message, &[]) {
                tracing::debug!(%error, "a process cannot be told to stop");
                child.kill();
            }
            if !self.wait_for_end(side, by).await {
                break;
            }
        }
        self.kill_all().await;
    }

    /// Waits until a side has ended. False: a second request came and everything is to end now.
    async fn wait_for_end(&mut self, side: Side, by: Instant) -> bool {
        while self.side(side).child.is_some() {
            tokio::select! {
                () = self.stop_requests.reached(2) => {
                    tracing::warn!("stopping at once");
                    return false;
                }
                Some(report) = self.reports.recv() => self.handle_last_report(report),
                () = tokio::time::sleep_until(by) => {
                    tracing::warn!(process = self.process(side).name, "not done by the deadline");
                    return true;
                }
            }
        }
        true
    }

    async fn kill_all(&mut self) {
        for side in [Side::Unshaped, Side::Shaped] {
            self.kill(side);
        }
        let by = Instant::now() + KILLED_WAIT;
        while self.shaped.child.is_some() || self.unshaped.child.is_some() {
            tokio::select! {
                Some(report) = self.reports.recv() => self.handle_last_report(report),
                () = tokio::time::sleep_until(by) => return,
            }
        }
    }

    /// A process that ends now is not started again.
    fn handle_last_report(&mut self, report: crate::child::Report) {
        let side = report.side;
        match report.event {
            ChildEvent::Said(message, descriptors) => self.handle_message(side, message, descriptors),
            ChildEvent::Broken(_) => self.kill(side),
            ChildEvent::Ended(_) => {
                self.side(side).child = None;
                self.status.note_ended(side, ProcessState::Ended);
            }
        }
    }
}
