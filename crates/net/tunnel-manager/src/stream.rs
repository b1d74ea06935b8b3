//! Streams through a tunnel, and what remote controls of them there are.

use crate::flow::Flow;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream to a destination. Writing is buffered up to the size of its queue; a shut-down passes on as a half-close. When it is
/// dropped, what was written still leaves, and what arrives afterwards is refused.
pub struct TunnelStream(Arc<Flow>);

impl TunnelStream {
    pub(crate) fn new(flow: Arc<Flow>) -> Self {
        Self(flow)
    }

    /// Another handle of the same stream, which can end it and knows no tunnel.
    pub fn control(&self) -> FlowControl {
        FlowControl(Arc::clone(&self.0))
    }

    pub(crate) fn flow(&self) -> &Flow {
        &self.0
    }
}

impl AsyncRead for TunnelStream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.0.poll_read(context, buffer)
    }
}

impl AsyncWrite for TunnelStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.poll_write(context, bytes)
    }

    /// What was written leaves without being asked to.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.half_close();
        Poll::Ready(Ok(()))
    }
}

impl Drop for TunnelStream {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

impl fmt::Debug for TunnelStream {
    /// Where it leads is private, and what goes through it as well.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TunnelStream(..)")
    }
}

/// Controls a stream from elsewhere: from a task that neither reads nor writes it. It holds a way to the manager's driver and
/// none to the tunnel, so whoever has it can neither open streams nor learn over which relays this one goes.
#[derive(Clone)]
pub struct FlowControl(Arc<Flow>);

impl FlowControl {
    /// Ends the stream at once in both directions. Reads and writes fail from now on.
    pub fn reset(&self) {
        self.0.reset();
    }

    /// Ends the direction to the destination: what was written still leaves.
    pub fn half_close(&self) {
        self.0.half_close();
    }

    /// Bytes that were written and have not left this program's buffer: the tunnel has not taken them into its session.
    pub fn bytes_in_flight(&self) -> usize {
        self.0.waiting()
    }

    /// Whether the stream was reset, or both directions have ended.
    pub fn is_over(&self) -> bool {
        self.0.is_over()
    }
}

impl fmt::Debug for FlowControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FlowControl(..)")
    }
}
