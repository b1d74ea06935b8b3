//! What the unshaped process says about a flow that is there.

use super::Tunnel;
use crate::flow::Far;
use crate::near::Near;
use crate::queues::FlowQueues;
use std::time::Instant;
use wire::local::LocalMessage;

/// Does what a message asks for. `tunnel` carries the flow, if there is one just now.
pub(crate) fn handle_message<Q: FlowQueues>(
    now: Instant,
    message: &LocalMessage,
    tunnel: Option<&mut Tunnel>,
    near: &mut Near<Q>,
) {
    let index = message.queue().index;
    match (message, tunnel) {
        (LocalMessage::Connected(_, address), Some(tunnel)) => tunnel.handle_connected(index, *address, near),
        // A flow begins elsewhere, and without a tunnel nobody waits for the answer.
        (LocalMessage::Syn(..), _) | (LocalMessage::Connected(..), None) => {}
        (LocalMessage::Fin(_, position), tunnel) => {
            if let Some(flow) = near.table.at(index) {
                flow.near_fin = Some(*position);
            }
            if let Some(tunnel) = tunnel {
                tunnel.handle_active(now, index, near);
            }
        }
        (LocalMessage::Reset(_, reason), Some(tunnel)) => tunnel.handle_near_reset(index, *reason, near),
        (LocalMessage::Reset(..), None) => {
            if let Some(flow) = near.table.at(index) {
                flow.far = Far::Gone;
                near.close_if_done(index);
            }
        }
        (LocalMessage::Closed(_, position), _) => near.handle_closed(index, *position),
    }
}
