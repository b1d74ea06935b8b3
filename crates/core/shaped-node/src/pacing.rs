//! How the rate of one direction of a link is found, in every shaped mode.
//!
//! The cells of a slot are a function of configuration, releases, public edges and the link's measured loss. What a mode
//! learns about traffic goes in through [`Pacing::admit`] and [`Traffic`], and comes out at edges alone, as a release
//! that somebody has paid for.

use self::queue::QueuePacing;
use self::rules::{Measured, Steps};
use shaping::{
    Breaker, CellRate, ClientNumber, DpSettings, QueueParameters, RateClass, ReadyNoise, SlotLength, SteppedParameters,
};
use wire::grant::Grant;

mod queue;
mod rules;

/// What a node is told about its own direction.
#[derive(Debug, Clone)]
pub enum PacingConfig {
    /// One class, always.
    Constant,
    /// One of a few classes, chosen at slow edges.
    Stepped(SteppedParameters),
    /// Noisy counts of arrivals.
    Dp {
        /// The mechanism. Floor and ceiling are bounds: each link has its own within them.
        settings: DpSettings,
        /// What a release costs: mu squared in units of 2^-64.
        cost_each: u128,
    },
    /// NetShaper's own mechanism.
    Queue {
        /// The mechanism.
        parameters: QueueParameters,
        /// What the decisions of one epoch of [`shaping::DOWN_EDGE_S`] cost together, in the same units.
        cost_each: u128,
    },
}

impl PacingConfig {
    /// Whether arrivals are measured, so that bytes wait to be admitted.
    pub(crate) fn measures(&self) -> bool {
        matches!(self, Self::Dp { .. })
    }
}

/// Both directions' fastest classes on one link.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ceilings {
    /// Of the direction that this node paces.
    pub(crate) own: RateClass,
    /// Of the other.
    pub(crate) other: RateClass,
}

/// What a link's direction is made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Grounds {
    pub(crate) ceilings: Ceilings,
    pub(crate) slot: SlotLength,
    pub(crate) session_packet: usize,
    /// The slot from which on the direction sends.
    pub(crate) from_slot: u64,
    pub(crate) unix_s: u64,
}

/// What rules may look at before a release. A secret.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Traffic {
    /// Bytes that wait for slots.
    pub(crate) backlog: u64,
    /// Bytes of session packets that left since the last look.
    pub(crate) sent: u64,
}

/// State of one direction.
#[derive(Debug)]
pub(crate) struct Pacing {
    rule: Rule,
    rate: CellRate,
    since_slot: u64,
    /// Steps down under loss, whatever the rule says.
    pub(crate) breaker: Breaker,
}

#[derive(Debug)]
enum Rule {
    Constant(RateClass),
    Stepped(Box<Steps>),
    Dp(Box<Measured>),
    Queue(Box<QueuePacing>),
}

/// What happened in a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Edge {
    /// The class in force from this slot on, if it is another.
    pub(crate) class: Option<RateClass>,
    /// The breaker took a step.
    pub(crate) by_loss: bool,
    /// An epoch began: quotas are whole again.
    pub(crate) epoch_began: bool,
}

/// Figures of a direction whose rate follows releases. All of them are public.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReleaseFigures {
    pub(crate) counts: shaping::ReleaseCounts,
    pub(crate) grants_lost: u64,
    pub(crate) paid_until: Option<u64>,
    pub(crate) spent: bool,
}

impl Pacing {
    /// The rule of a link. Where the link's own classes leave no room to adapt it is constant.
    pub(crate) fn new(config: &PacingConfig, grounds: Grounds) -> Self {
        let own = grounds.ceilings.own;
        let rule = match config {
            PacingConfig::Constant => Rule::Constant(own),
            PacingConfig::Stepped(parameters) => Rule::Stepped(Box::new(Steps::new(parameters, grounds.unix_s))),
            PacingConfig::Dp { settings, cost_each } => match Measured::new(settings, *cost_each, grounds) {
                Some(measured) => Rule::Dp(Box::new(measured)),
                None => Rule::Constant(own),
            },
            PacingConfig::Queue { parameters, cost_each } => {
                Rule::Queue(Box::new(QueuePacing::new(*parameters, *cost_each, grounds)))
            }
        };
        let class = rule.class().unwrap_or(own);
        let rate = CellRate::new(class, grounds.slot, grounds.session_packet);
        Self { rule, rate, since_slot: grounds.from_slot, breaker: Breaker::new(own, grounds.unix_s) }
    }

    /// The class in force. Mode `queue` has none before its budget is spent; until then it is the fastest that the breaker
    /// allows.
    pub(crate) fn class(&self) -> RateClass {
        self.rate.class()
    }

    /// Cells per second, as the class in force has it.
    pub(crate) fn cells_per_second(&self) -> u64 {
        self.rate.cells_per_second()
    }

    /// Lets as many bytes of a client count as arrived as its quota allows.
    pub(crate) fn admit(&mut self, client: u64, wanted: u64) -> u64 {
        match &mut self.rule {
            Rule::Constant(_) | Rule::Stepped(_) | Rule::Queue(_) => wanted,
            Rule::Dp(measured) => measured.admit(ClientNumber(client), wanted),
        }
    }

    /// Takes leave to release.
    pub(crate) fn handle_grant(&mut self, grant: Grant) {
        match &mut self.rule {
            Rule::Constant(_) => {}
            Rule::Stepped(steps) => steps.handle_grant(grant),
            Rule::Dp(measured) => measured.handle_grant(grant),
            Rule::Queue(queue) => queue.handle_grant(grant),
        }
    }

    /// Whether the rule wants to know about traffic in this slot.
    pub(crate) fn looks_at_traffic(&self, slot: u64, unix_s: u64) -> bool {
        match &self.rule {
            Rule::Constant(_) | Rule::Dp(_) => false,
            Rule::Stepped(steps) => steps.looks(unix_s),
            Rule::Queue(queue) => queue.is_due(slot),
        }
    }

    /// Lets edges pass. Call it for every slot in which something is sent or [`Pacing::next_busy_slot`] names, from the
    /// slot clock only. `traffic` is looked at where [`Pacing::looks_at_traffic`] said so.
    pub(crate) fn poll(&mut self, slot: u64, unix_s: u64, traffic: Traffic, noise: &mut impl ReadyNoise) -> Edge {
        let by_loss = self.breaker.poll(unix_s, self.class()).is_some();
        let mut epoch_began = false;
        match &mut self.rule {
            Rule::Constant(_) => {}
            Rule::Stepped(steps) => steps.poll(unix_s, traffic),
            Rule::Dp(measured) => epoch_began = measured.poll(unix_s, noise),
            Rule::Queue(queue) => queue.poll(slot, unix_s, traffic.backlog, noise),
        }
        let most = self.breaker.class();
        let class = self.rule.class().map_or(most, |class| class.min(most));
        let changed = class != self.class();
        if changed {
            self.rate = self.rate.with_class(class);
            self.since_slot = slot;
        }
        Edge { class: changed.then_some(class), by_loss, epoch_began }
    }

    /// Cells that leave in slot `slot`.
    pub(crate) fn cells_in_slot(&self, slot: u64) -> u32 {
        let by_class = slot.checked_sub(self.since_slot).map_or(0, |slot| self.rate.cells_in_slot(slot));
        match &self.rule {
            Rule::Queue(queue) if queue.is_spent() => by_class,
            // A decision above what the breaker allows is cut; what is cut is lost, as any rest.
            Rule::Queue(queue) if self.class() < self.breaker.configured() => {
                queue.cells_in_slot(slot).min(self.rate.cells_per_slot_max())
            }
            Rule::Queue(queue) => queue.cells_in_slot(slot),
            Rule::Constant(_) | Rule::Stepped(_) | Rule::Dp(_) => by_class,
        }
    }

    /// The first slot at `from` or later that has a cell or an edge of its own.
    pub(crate) fn next_busy_slot(&self, from: u64) -> u64 {
        let by_class = self.rate.next_busy_slot(from.saturating_sub(self.since_slot)) + self.since_slot;
        match &self.rule {
            // Decisions stay due, so that a budget that comes back is used.
            Rule::Queue(queue) if queue.is_spent() => by_class.min(queue.next_decision(from)),
            Rule::Queue(queue) => queue.next_slot(from),
            Rule::Constant(_) | Rule::Stepped(_) | Rule::Dp(_) => by_class,
        }
    }

    /// What is known of a direction whose rate follows releases.
    pub(crate) fn figures(&self) -> Option<ReleaseFigures> {
        match &self.rule {
            Rule::Constant(_) => None,
            Rule::Stepped(steps) => Some(steps.figures()),
            Rule::Dp(measured) => Some(measured.figures()),
            Rule::Queue(queue) => Some(queue.figures()),
        }
    }
}

impl Rule {
    fn class(&self) -> Option<RateClass> {
        match self {
            Self::Constant(class) => Some(*class),
            Self::Stepped(steps) => Some(steps.class()),
            Self::Dp(measured) => Some(measured.class()),
            Self::Queue(_) => None,
        }
    }
}
