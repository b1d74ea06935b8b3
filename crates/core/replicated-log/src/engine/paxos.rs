//! OmniPaxos (Ng, Haridi, Carbone: Omni-Paxos, EuroSys 2023), as released.

use super::store::configuration;
use super::{Engine, EngineMessage, Leader, MessageError, Store, message};
use crate::entry::Entry;
use crate::ids::{LogIndex, Term};
use omnipaxos::messages::Message;
use omnipaxos::{ClusterConfig, OmniPaxos, OmniPaxosConfig, ServerConfig};

/// How many steps of the clock the engine's timeouts take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct PaxosTicks {
    /// One round of heartbeats. A leader that is gone is replaced after two to three of them.
    pub(crate) election: u64,
    /// Until what may have been lost is sent again.
    pub(crate) resend: u64,
}

/// One instance.
pub(crate) struct Paxos {
    engine: OmniPaxos<Entry, Store>,
    store: Store,
    term: Term,
    own: u64,
    members: u64,
    outgoing: Vec<Message<Entry>>,
}

impl Paxos {
    /// An instance for `members` members with the ids 1 to `members`, of which this is `own`. `members` is at least 2 and
    /// `own` among them, by the type [`crate::Members`].
    pub(crate) fn new(term: Term, own: u64, members: u64, ticks: PaxosTicks, store: Store) -> Self {
        let configuration = OmniPaxosConfig {
            cluster_config: ClusterConfig {
                configuration_id: configuration(term),
                nodes: (1..=members).collect(),
                flexible_quorum: None,
            },
            server_config: ServerConfig {
                pid: own,
                election_tick_timeout: ticks.election,
                resend_message_tick_timeout: ticks.resend,
                batch_size: 1,
                ..ServerConfig::default()
            },
        };
        let engine =
            configuration.build(store.clone()).expect("two or more members with ids from 1 on are a valid set");
        Self { engine, store, term, own, members, outgoing: Vec::new() }
    }
}

impl Engine for Paxos {
    fn handle(&mut self, from: u64, bytes: &[u8]) -> Result<(), MessageError> {
        if from == 0 || from > self.members || from == self.own {
            return Err(MessageError);
        }
        let message = message::decode(bytes, from, self.own, self.term)?;
        self.engine.handle_incoming(message);
        Ok(())
    }

    fn handle_connection(&mut self, peer: u64) {
        self.engine.reconnected(peer);
    }

    fn tick(&mut self) {
        self.engine.tick();
    }

    fn propose(&mut self, entry: Entry) -> Result<(), Entry> {
        // Anything but a leader in step would forward the entry or keep it, both without a bound and without a word.
        match self.leader() {
            Some(Leader { engine_id, in_step: true, .. }) if engine_id == self.own => {}
            _ => return Err(entry),
        }
        // It fails only after a stop sign, of which there are none.
        let _ = self.engine.append(entry);
        Ok(())
    }

    fn drain(&mut self, out: &mut Vec<EngineMessage>) {
        self.engine.take_outgoing_messages(&mut self.outgoing);
        for message in self.outgoing.drain(..) {
            let (to, class) = (message.get_receiver(), message::class(&message));
            let is_heartbeat = matches!(message, Message::BLE(_));
            let bytes = message::encode(&message);
            debug_assert!(bytes.is_some(), "a message outside the clean subset: {message:?}");
            if let Some(bytes) = bytes
                && (1..=self.members).contains(&to)
            {
                out.push(EngineMessage { to, class, is_heartbeat, bytes });
            }
        }
    }

    fn decided(&self) -> LogIndex {
        LogIndex::at(self.engine.get_decided_idx())
    }

    fn length(&self) -> LogIndex {
        self.store.length()
    }

    fn leader(&self) -> Option<Leader> {
        let (engine_id, in_step) = self.engine.get_current_leader()?;
        Some(Leader { engine_id, round: self.engine.get_promise().n, in_step })
    }
}
