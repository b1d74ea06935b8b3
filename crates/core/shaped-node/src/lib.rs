#![doc = include_str!("../README.md")]

mod circuits;
mod direct;
mod driven;
mod exit;
mod fair;
mod flow;
pub mod memory;
mod minute;
mod near;
mod node;
mod pacing;
mod parameters;
mod plan;
pub mod queues;
mod service;
mod service_node;
mod shares;
mod slots;
mod status;
mod tunnel;

pub use circuits::{
    CircuitsConfig, CircuitsStatus, DIRTY_AFTER, DocumentRefused, Group, Isolation, LegStatus, NearEnd, NextDocument,
    POOL_LOOK, PoolConfig, RETIRED_LINGER, SERVICE_IDLE, SOUGHT_MAX, SOUGHT_OF_CLIENT_MAX, SeekRefused, ServiceFailure,
    ServiceState, ServiceWish, ServicesConfig, TUNNEL_LIFE, TUNNELS_MAX, TunnelHolder, TunnelId, TunnelStatus,
    TunnelsFull,
};
pub use driven::DrivenNode;
pub use exit::{
    CELLS_A_PUMP_MAX, CELLS_A_TURN, CircuitExit, CircuitGone, Circuits, ExitConfig, ExitEvent, ExitSchedule,
    ExitStatus, LEAVING_MAX, LINGER, SHARES_MAX, ServedAs, ServicePorts, TunnelOver,
};
pub use minute::MinuteStatus;
pub use node::{NodeConfig, NodeEvent, ShapedNode, Side};
pub use pacing::PacingConfig;
pub use parameters::{Mode, Parameters};
pub use plan::{Run, SlotPlan};
pub use service::{CELLS_PER_CIRCUIT_MAX, JOINED_MAX, NotJoined, ServiceCame, ServiceCircuits, ServiceLinks};
pub use service_node::{
    HostedStatus, MEETINGS_MAX, NODE_POINTS_MAX, PUBLICATIONS_MAX, PublicationOrder, SERVICES_MAX, ServiceNode,
    ServiceNodeConfig, ServiceNodeError, ServiceNodeEvent, ServiceNodeStatus, ServiceSetting,
};
pub use status::{HopFigures, LinkStatus, NodeStatus, ReleaseStatus};
