//! Waiting for the other side: by spinning, by blocking, under tokio, or inside another event loop.

use super::QueueSide;
use shm_ring::Bell;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

impl QueueSide {
    /// Whether [`poll_message`](shaped_node::queues::FlowQueues::poll_message) or
    /// [`poll_active`](shaped_node::queues::FlowQueues::poll_active) has something to say.
    pub fn has_news(&self) -> bool {
        self.changes.pending != 0
            || self.control_in.has_message(&self.view)
            || self.changes.watch.any_changed(&self.view.other)
    }

    /// Announces that this side is about to block, and looks once more. `true`: it may block until
    /// [`bell_fd`](Self::bell_fd) is readable, and calls [`awake`](Self::awake) after that. `false`: there are
    /// news, and the side is awake. Call `flush` before.
    #[must_use]
    pub fn prepare_sleep(&self) -> bool {
        self.sleeper.announce(&self.view.own);
        if self.has_news() {
            self.sleeper.awake(&self.view.own);
            return false;
        }
        true
    }

    /// Ends what `prepare_sleep` began, whatever woke this side, and silences the bell.
    pub fn awake(&self) {
        self.sleeper.awake(&self.view.own);
        self.bell.drain();
    }

    /// Readable when the other side rang.
    pub fn bell_fd(&self) -> BorrowedFd<'_> {
        self.bell.fd()
    }

    /// The bell alone, for a task that does not hold the queues: `prepare_sleep`, await
    /// [`Bell::rung`], `awake`.
    pub fn bell(&self) -> Arc<Bell> {
        Arc::clone(&self.bell)
    }

    /// Under tokio: resolves when there are news (at once if there are some now). May resolve without need.
    /// Cancel-safe. Call `flush` before.
    pub async fn wait_async(&self) -> io::Result<()> {
        if !self.prepare_sleep() {
            return Ok(());
        }
        let _awake = AwakeOnDrop(self);
        self.bell.rung().await
    }

    /// Looks for news `tries` times with a processor pause between (about 10 ns each). Returns whether there
    /// are any.
    pub fn spin(&self, tries: u32) -> bool {
        for _ in 0..tries {
            if self.has_news() {
                return true;
            }
            std::hint::spin_loop();
        }
        self.has_news()
    }

    /// Blocks the thread until there are news or `timeout` passes (`None`: for ever). Returns whether there
    /// are any; a signal may end it early. Call `flush` before.
    pub fn park(&self, timeout: Option<Duration>) -> io::Result<bool> {
        if !self.prepare_sleep() {
            return Ok(true);
        }
        let _awake = AwakeOnDrop(self);
        self.bell.wait(timeout)?;
        Ok(self.has_news())
    }
}

/// Says "awake" also when a wait is cancelled or fails.
struct AwakeOnDrop<'a>(&'a QueueSide);

impl Drop for AwakeOnDrop<'_> {
    fn drop(&mut self) {
        self.0.sleeper.awake(&self.0.view.own);
    }
}
