//! The doorbell under tokio.

use super::Bell;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, OnceLock};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The sleeper's descriptor and, once somebody awaited it, its registration with that runtime.
#[derive(Debug)]
pub(super) struct Registration {
    fd: Arc<OwnedFd>,
    registered: OnceLock<AsyncFd<Arc<OwnedFd>>>,
}

impl From<Arc<OwnedFd>> for Registration {
    fn from(fd: Arc<OwnedFd>) -> Self {
        Self { fd, registered: OnceLock::new() }
    }
}

impl AsFd for Registration {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Bell {
    /// Resolves when the bell rings, and silences it. Must be awaited in one and the same runtime, with its
    /// I/O driver enabled; the registration lasts as long as the bell. Cancel-safe: a ring that nobody awaited
    /// is heard by the next call.
    pub async fn rung(&self) -> io::Result<()> {
        let mut ready = self.registered()?.readable().await?;
        // Clear, then drain: a ring between the two shows as one more wake-up, the other order would lose it.
        ready.clear_ready();
        self.drain();
        Ok(())
    }

    fn registered(&self) -> io::Result<&AsyncFd<Arc<OwnedFd>>> {
        let Registration { fd, registered } = &self.registered;
        if let Some(registered) = registered.get() {
            return Ok(registered);
        }
        // SAFETY: the `Arc` inside the registration keeps this one descriptor open as long as the registration lives,
        // and always returns the same number.
        let new = unsafe { AsyncFd::register_with_interest(Arc::clone(fd), Interest::READABLE) }?;
        Ok(registered.get_or_init(|| new))
    }
}
