//! One flow between the queues of this node and its session: who has finished, and when the queue pair
//! may be used again. Pure bookkeeping; `tunnel` moves the bytes.

use crate::circuits::Group;
use crate::minute::Arrived;
use link::LinkId;
use session::FlowId;
use wire::flow::{FlowKind, Syn};
use wire::local::QueueRef;

/// Whose tunnel carries a flow: a name that outlives the tunnel, so that flows can wait for the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Owner {
    /// A link to the other node of a pair.
    Link(LinkId),
    /// A tunnel over circuits, by its number.
    Tunnel(u64),
    /// No tunnel yet: flows of this group wait for one.
    Group(Group),
}

/// Where the session side of a flow stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Far {
    /// The session is not up yet: the SYN waits here.
    Waiting(Syn),
    /// The session carries the flow.
    Open(FlowId),
    /// Both directions are over, or the flow was reset.
    Gone,
}

/// One flow, found by its queue index.
#[derive(Debug)]
pub(crate) struct Flow {
    pub(crate) queue: QueueRef,
    pub(crate) owner: Owner,
    pub(crate) client: u64,
    pub(crate) kind: FlowKind,
    pub(crate) far: Far,
    /// When the bytes of the in-ring came.
    pub(crate) arrived: Arrived,
    /// Position of the in-ring up to which bytes count as arrived and may leave; all of them where nothing is measured.
    pub(crate) admitted: u64,
    /// The unshaped process ended its ring here.
    pub(crate) near_fin: Option<u64>,
    /// We told the session that no more bytes come.
    pub(crate) finished_out: bool,
    /// We told the unshaped process that no more bytes come.
    pub(crate) finished_in: bool,
    /// The session refused bytes for want of stream credit; its `Writable` ends that.
    pub(crate) credit_wait: bool,
    /// The session has bytes that did not fit into the out-ring; room in it ends that.
    pub(crate) room_wait: bool,
    pub(crate) closed_sent: bool,
    /// The other process closed and wrote up to here.
    pub(crate) closed_at: Option<u64>,
}

impl Flow {
    pub(crate) fn new(queue: QueueRef, owner: Owner, client: u64, kind: FlowKind, far: Far) -> Self {
        Self {
            queue,
            owner,
            client,
            kind,
            far,
            arrived: Arrived::default(),
            admitted: u64::MAX,
            near_fin: None,
            finished_out: false,
            finished_in: false,
            credit_wait: false,
            room_wait: false,
            closed_sent: false,
            closed_at: None,
        }
    }

    /// The session's id, if it carries the flow.
    pub(crate) fn far_id(&self) -> Option<FlowId> {
        match self.far {
            Far::Open(id) => Some(id),
            Far::Waiting(_) | Far::Gone => None,
        }
    }

    /// True once nothing is left to move and `Closed` may be sent.
    pub(crate) fn is_done(&self) -> bool {
        self.far == Far::Gone || (self.finished_in && self.finished_out)
    }
}

/// All flows of the present generation of queues, by queue index.
#[derive(Debug, Default)]
pub(crate) struct FlowTable {
    flows: Vec<Option<Flow>>,
    open: usize,
}

impl FlowTable {
    pub(crate) fn new(queue_count: u16) -> Self {
        Self { flows: std::iter::repeat_with(|| None).take(usize::from(queue_count)).collect(), open: 0 }
    }

    pub(crate) fn at(&mut self, index: u16) -> Option<&mut Flow> {
        self.flows.get_mut(usize::from(index))?.as_mut()
    }

    /// The flow of exactly this use of a queue pair.
    pub(crate) fn of(&mut self, queue: QueueRef) -> Option<&mut Flow> {
        self.at(queue.index).filter(|flow| flow.queue == queue)
    }

    /// Enters a flow. False when the queue pair does not exist or is still in use.
    pub(crate) fn insert(&mut self, flow: Flow) -> bool {
        let Some(place) = self.flows.get_mut(usize::from(flow.queue.index)) else { return false };
        if place.is_some() {
            return false;
        }
        *place = Some(flow);
        self.open += 1;
        true
    }

    pub(crate) fn remove(&mut self, index: u16) {
        if self.flows.get_mut(usize::from(index)).and_then(Option::take).is_some() {
            self.open -= 1;
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.open
    }

    /// All of them.
    pub(crate) fn flows(&self) -> impl Iterator<Item = &Flow> {
        self.flows.iter().flatten()
    }

    pub(crate) fn indices(&self) -> Vec<u16> {
        (0..).zip(&self.flows).filter_map(|(index, flow): (u16, _)| flow.as_ref().map(|_| index)).collect()
    }
}
