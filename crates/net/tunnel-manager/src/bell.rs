//! How handles reach the driver without waiting for it: they say which stream or tunnel has news, and it looks.

use shaped_node::TunnelId;
use std::sync::{Mutex, PoisonError};
use tokio::sync::Notify;
use wire::local::QueueRef;

/// What the driver is to look at. Each stream is in it once at most and each handle of a tunnel says its end once, so it is
/// bounded by both.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    notify: Notify,
    news: Mutex<News>,
}

/// See [`Bell`].
#[derive(Debug, Default)]
pub(crate) struct News {
    /// Streams whose application did something.
    pub(crate) flows: Vec<QueueRef>,
    /// Tunnels whose last handle is gone.
    pub(crate) released: Vec<TunnelId>,
}

impl Bell {
    pub(crate) fn touch(&self, flow: QueueRef) {
        self.news.lock().unwrap_or_else(PoisonError::into_inner).flows.push(flow);
        self.notify.notify_one();
    }

    pub(crate) fn release(&self, tunnel: TunnelId) {
        self.news.lock().unwrap_or_else(PoisonError::into_inner).released.push(tunnel);
        self.notify.notify_one();
    }

    pub(crate) fn take(&self) -> News {
        std::mem::take(&mut *self.news.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Cancel-safe.
    pub(crate) async fn rung(&self) {
        self.notify.notified().await;
    }
}
