//! Processes that do as their boot message says: the two sides of the queues and nothing behind them.

use std::error::Error;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use flow_queue::{DESCRIPTORS, Geometry, QueueSide, Side};
use network_document::NetworkDocument;
use node::Role;
use os_net::confine::Needs;
use os_net::process_channel::{Channel, FromProcess, ReceiveError, ToProcess};
use serde::{Deserialize, Serialize};
use serde_json::json;
use shaped_node::queues::FlowQueues;

/// What the supervisor is to be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Behaviour {
    /// Serve, and end in order when told.
    Serve,
    /// Serve, and take half a second of work to end.
    Work,
    /// Serve, and never end by itself.
    Linger,
    /// Give up with a sentence instead of serving.
    GiveUp,
    /// Serve for a moment, then die without a word.
    Crash,
    /// Serve, and send garbage.
    Babble,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Boot {
    pub(crate) behaviour: Behaviour,
    pub(crate) queues: Geometry,
    pub(crate) confine: bool,
    /// Of the document that comes as the last descriptor; 0: there is none.
    pub(crate) document_bytes: usize,
}

pub(crate) const ROLES: &[Role] = &[
    Role { name: "dummy-shaped", needs: |boot| needs(boot, Needs::shaped(None)), run: run_shaped },
    Role { name: "dummy-unshaped", needs: |boot| needs(boot, Needs::ingress()), run: run_unshaped },
];

fn needs(boot: &serde_json::Value, needs: Needs) -> Option<Needs> {
    (boot["confine"] == json!(true)).then_some(needs)
}

fn run_shaped(boot: serde_json::Value, channel: Channel, fds: Vec<OwnedFd>) -> Result<(), Box<dyn Error>> {
    Dummy::start(Side::Shaped, boot, channel, fds)?.run()
}

fn run_unshaped(boot: serde_json::Value, channel: Channel, fds: Vec<OwnedFd>) -> Result<(), Box<dyn Error>> {
    Dummy::start(Side::Unshaped, boot, channel, fds)?.run()
}

struct Dummy {
    side: Side,
    boot: Boot,
    channel: Channel,
    queues: QueueSide,
    own_descriptors: usize,
    /// Generation that the unshaped side wrote into the first ring, as the shaped side read it.
    marker: Option<u64>,
    started: Instant,
    /// The newest order.
    order: Option<serde_json::Value>,
    /// Interval of the newest document, and how it came.
    document: Option<(u64, &'static str)>,
}

impl Dummy {
    fn start(
        side: Side,
        boot: serde_json::Value,
        channel: Channel,
        mut fds: Vec<OwnedFd>,
    ) -> Result<Self, Box<dyn Error>> {
        let boot: Boot = serde_json::from_value(boot)?;
        let own = fds.split_off(DESCRIPTORS.min(fds.len()));
        let queues = open(side, &boot.queues, fds)?;
        let document = match own.last().filter(|_| boot.document_bytes > 0) {
            Some(memory) => Some((interval(memory, boot.document_bytes)?, "boot")),
            None => None,
        };
        let (own_descriptors, started) = (own.len(), Instant::now());
        Ok(Self { side, boot, channel, queues, own_descriptors, marker: None, started, order: None, document })
    }

    fn run(mut self) -> Result<(), Box<dyn Error>> {
        if self.boot.behaviour == Behaviour::GiveUp {
            return Err("the dummy has no wish to serve; ask another".into());
        }
        self.channel.send(&FromProcess::Ready, &[])?;
        if self.boot.behaviour == Behaviour::Babble {
            self.channel.send(&json!({ "Nonsense": 1 }), &[])?;
        }
        loop {
            if self.boot.behaviour == Behaviour::Crash && self.started.elapsed() > Duration::from_millis(20) {
                std::process::abort();
            }
            self.read_marker()?;
            // Full means that the supervisor is busy; there will be other figures.
            let _ = self.channel.send(&FromProcess::Status { body: self.figures() }, &[]);
            let received = match self.channel.receive::<ToProcess>(Some(Duration::from_millis(10))) {
                Ok(None) => continue,
                Ok(Some(received)) => received,
                Err(ReceiveError::Closed) => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            match received.message {
                ToProcess::Boot { .. } => return Err("a second boot message".into()),
                ToProcess::Attach { generation } => {
                    self.boot.queues = self.boot.queues.with_generation(generation);
                    self.queues = open(self.side, &self.boot.queues, received.descriptors)?;
                    self.marker = None;
                }
                ToProcess::Socket { .. } | ToProcess::Introduced { .. } => {
                    return Err("an answer to no question".into());
                }
                ToProcess::Order { body } => {
                    if let Some(memory) = received.descriptors.first() {
                        let bytes = body["document"].as_u64().ok_or("no length")?;
                        self.document = Some((interval(memory, bytes.try_into()?)?, "order"));
                    }
                    self.order = Some(body);
                }
                ToProcess::Stop { .. } => match self.boot.behaviour {
                    Behaviour::Linger => {}
                    Behaviour::Work => {
                        std::thread::sleep(Duration::from_millis(500));
                        return Ok(());
                    }
                    _ => return Ok(()),
                },
            }
        }
    }

    fn read_marker(&mut self) -> Result<(), Box<dyn Error>> {
        if self.side == Side::Shaped && self.queues.readable(0)? >= 8 {
            let bytes = self.queues.read(0, 8)?;
            self.marker = Some(u64::from_be_bytes(bytes.as_ref().try_into()?));
        }
        Ok(())
    }

    fn figures(&self) -> serde_json::Value {
        json!({
            "generation": self.boot.queues.generation(),
            "marker": self.marker,
            "order": self.order,
            "document": self.document,
            "own_descriptors": self.own_descriptors,
            "descriptors": count_descriptors(),
            "segment_maps": count_segment_maps(),
            "environment": std::env::vars().map(|(key, _)| key).collect::<Vec<_>>(),
            "arguments": std::env::args().collect::<Vec<_>>(),
        })
    }
}

fn interval(memory: &OwnedFd, bytes: usize) -> Result<u64, Box<dyn Error>> {
    let document = NetworkDocument::load(&shm_ring::read_sealed(memory.as_fd(), bytes)?)?;
    Ok(document.interval().0)
}

/// Opens a side; the unshaped one leaves the number of the generation in the first ring.
fn open(side: Side, geometry: &Geometry, fds: Vec<OwnedFd>) -> Result<QueueSide, Box<dyn Error>> {
    let mut queues = QueueSide::open(geometry, side, side == Side::Unshaped, fds)?;
    if side == Side::Unshaped {
        let queue = queues.allocate().ok_or("fresh queues are all taken")?;
        queues.write(queue.index, &geometry.generation().to_be_bytes())?;
        queues.flush();
    }
    Ok(queues)
}

/// Open descriptors of this process, without the one that counts; `None` where that is forbidden.
pub(crate) fn count_descriptors() -> Option<usize> {
    std::fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count() - 1)
}

/// Mappings of shared segments in this process; `None` where that cannot be read.
pub(crate) fn count_segment_maps() -> Option<usize> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    Some(maps.lines().filter(|line| line.contains("memfd:")).count())
}
