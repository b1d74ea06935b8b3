//! An unshaped process whose only server is an echo.

use flow_queue::{Geometry, QueueSide, Side};
use shaped_node::queues::FlowQueues;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use wire::local::{LocalMessage, QueueRef};

/// Bytes moved in one go.
const PORTION: usize = 16 * 1024;

struct Flow {
    queue: QueueRef,
    /// The other side's end.
    fin: Option<u64>,
    is_over: bool,
}

pub(crate) struct Echo {
    queues: QueueSide,
    flows: Vec<Flow>,
}

impl Echo {
    pub(crate) fn open(geometry: &Geometry, fds: Vec<OwnedFd>) -> Self {
        Self {
            queues: QueueSide::open(geometry, Side::Unshaped, false, fds).expect("good segments"),
            flows: Vec::new(),
        }
    }

    pub(crate) fn turn(&mut self) {
        while let Some(message) = self.queues.poll_message().expect("the exit keeps the protocol") {
            self.handle(&message);
        }
        while self.queues.poll_active().is_some() {}
        for flow in &mut self.flows {
            flow.turn(&mut self.queues);
        }
        self.flows.retain(|flow| !flow.is_over);
        self.queues.flush();
    }

    fn handle(&mut self, message: &LocalMessage) {
        let queue = message.queue();
        let flow = self.flows.iter_mut().find(|flow| flow.queue == queue);
        match (message, flow) {
            (LocalMessage::Syn(..), _) => {
                let bound = SocketAddr::from((Ipv4Addr::LOCALHOST, 40_000));
                self.send(&LocalMessage::Connected(queue, bound));
                self.flows.push(Flow { queue, fin: None, is_over: false });
            }
            (LocalMessage::Fin(_, position), Some(flow)) => flow.fin = Some(*position),
            (LocalMessage::Reset(..), Some(flow)) => {
                flow.is_over = true;
                let position = self.queues.write_position(queue.index);
                self.send(&LocalMessage::Closed(queue, position));
            }
            _ => {}
        }
    }

    fn send(&mut self, message: &LocalMessage) {
        self.queues.send_message(message).expect("there is room");
    }
}

impl Flow {
    fn turn(&mut self, queues: &mut QueueSide) {
        let index = self.queue.index;
        let room = queues.writable(index).expect("a good ring");
        let bytes = queues.read(index, room.min(PORTION)).expect("a good ring");
        queues.write(index, &bytes).expect("there is room");
        if self.fin == Some(queues.read_position(index)) && !self.is_over {
            self.is_over = true;
            let position = queues.write_position(index);
            for message in [LocalMessage::Fin(self.queue, position), LocalMessage::Closed(self.queue, position)] {
                queues.send_message(&message).expect("there is room");
            }
        }
    }
}
