//! What can be done with tunnels of all kinds alike: they are looked at, and waited for.

use crate::engine::Engine;
use crate::error::Closed;
use crate::request::Command;
use identity::NodeId;
use shaped_node::{LegStatus, TunnelStatus};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// Names a leg of a tunnel, 0 to 15. The number of a leg that has ended is free for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LegId(pub(crate) u8);

impl fmt::Display for LegId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Figures of a leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LegFigures {
    /// Whether it answers.
    pub is_linked: bool,
    /// Smoothed round trip; none before the first answer.
    pub rtt: Option<Duration>,
    /// Data cells that were sent on it.
    pub data_cells: u64,
    /// Cells of all kinds that came on it.
    pub received: u64,
    /// Cells lost of a thousand lately.
    pub loss_per_mille: Option<u32>,
}

/// Figures of a tunnel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TunnelFigures {
    /// Round trip of its session; none before there is an estimate.
    pub rtt: Option<Duration>,
    /// How often a data cell went on another leg than the one before.
    pub switches: u64,
    /// Its legs.
    pub legs: BTreeMap<LegId, LegFigures>,
}

/// A tunnel of any kind. The types of the kinds lead to it: what all of them can do is here, and what one of them is for is not. It
/// cannot be made into one of them.
#[derive(Clone, PartialEq, Eq)]
pub struct AnyTunnel {
    engine: Engine,
}

impl AnyTunnel {
    pub(crate) fn new(engine: Engine) -> Self {
        Self { engine }
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The relays of each leg, the guard first. The last one is the exit, the directory node (with one hop it is both), or the rendezvous
    /// point: behind that is the service, which is nobody's to know. They change while the tunnel lives: legs that fail are replaced.
    ///
    /// # Errors
    /// When the tunnel is over.
    pub async fn paths(&self) -> Result<BTreeMap<LegId, Vec<NodeId>>, Closed> {
        let path = |leg: &LegStatus| {
            let hops = leg.path.iter().filter_map(|hop| hop.parse().ok()).collect();
            Some((LegId(leg.leg?), hops))
        };
        Ok(self.describe().await?.legs.iter().filter_map(path).collect())
    }

    /// What the tunnel does just now.
    ///
    /// # Errors
    /// When the tunnel is over.
    pub async fn figures(&self) -> Result<TunnelFigures, Closed> {
        let status = self.describe().await?;
        let figures = |leg: &LegStatus| {
            let figures = LegFigures {
                is_linked: leg.state == "linked",
                rtt: leg.rtt_us.map(Duration::from_micros),
                data_cells: leg.data_cells,
                received: leg.received,
                loss_per_mille: leg.loss_per_mille,
            };
            Some((LegId(leg.leg?), figures))
        };
        Ok(TunnelFigures {
            rtt: (status.session_rtt_us > 0).then(|| Duration::from_micros(status.session_rtt_us)),
            switches: status.switches,
            legs: status.legs.iter().filter_map(figures).collect(),
        })
    }

    /// Why the tunnel is over; none while it carries streams.
    pub fn closed(&self) -> Option<Closed> {
        self.engine.closed()
    }

    /// Waits until the tunnel is over: its session is lost, as when a service ends, or it was retired and its last stream has
    /// ended. Cancel-safe.
    pub async fn wait_for_close(&self) -> Closed {
        self.engine.wait_for_close().await
    }

    async fn describe(&self) -> Result<TunnelStatus, Closed> {
        let tunnel = self.engine.id();
        let asked = self.engine.ask(|answer| Command::Describe { tunnel, answer }).await;
        asked.flatten().ok_or_else(|| self.closed().unwrap_or(Closed::Stopped))
    }
}

impl fmt::Debug for AnyTunnel {
    /// A number that means something only inside this process: neither a relay nor a destination is named.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AnyTunnel({})", self.engine.id())
    }
}
