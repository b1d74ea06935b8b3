//! The engine's messages as bytes. What lies outside the clean subset has no encoding: it can neither leave nor come in.

use super::store::{ballot, round};
use super::{Class, MessageError};
use crate::checkpoint::CHECKPOINT_BYTES_MAX;
use crate::entry::Entry;
use crate::ids::Term;
use crate::record::Round;
use omnipaxos::ballot_leader_election::Ballot;
use omnipaxos::messages::Message;
use omnipaxos::messages::ballot_leader_election::{BLEMessage, HeartbeatMsg, HeartbeatReply, HeartbeatRequest};
use omnipaxos::messages::sequence_paxos::{
    AcceptDecide, AcceptSync, Accepted, Decide, NotAccepted, PaxosMessage, PaxosMsg, Prepare, PrepareReq, Promise,
};
use omnipaxos::util::{LogSync, SequenceNumber};
use wire::encoding::{ReadError, Reader, WriteBytes};

impl From<ReadError> for MessageError {
    fn from(_: ReadError) -> Self {
        Self
    }
}

/// When the message may leave. An acceptance or a promise speaks of the disk; entries and what is decided speak of others'
/// disks, and whoever counts this node's own acceptance can do so only when an answer is handled, after the sync.
pub(super) fn class(message: &Message<Entry>) -> Class {
    match message {
        Message::BLE(_) => Class::BeforeSync,
        Message::SequencePaxos(paxos) => match paxos.msg {
            PaxosMsg::AcceptDecide(_) | PaxosMsg::Decide(_) => Class::BeforeSync,
            _ => Class::AfterSync,
        },
    }
}

/// The message's bytes; `None` for one outside the clean subset, which this crate never causes.
pub(super) fn encode(message: &Message<Entry>) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    match message {
        Message::SequencePaxos(paxos) => encode_paxos(&paxos.msg, &mut out)?,
        Message::BLE(heartbeat) => match &heartbeat.msg {
            HeartbeatMsg::Request(request) => {
                out.u8(9);
                out.u32(request.round);
            }
            HeartbeatMsg::Reply(reply) => {
                out.u8(10);
                out.u32(reply.round);
                write_ballot(reply.ballot, &mut out);
                write_ballot(reply.leader, &mut out);
                out.u8(u8::from(reply.happy));
            }
        },
    }
    Some(out)
}

fn encode_paxos(message: &PaxosMsg<Entry>, out: &mut Vec<u8>) -> Option<()> {
    match message {
        PaxosMsg::PrepareReq(request) => {
            out.u8(1);
            write_ballot(request.n, out);
        }
        PaxosMsg::Prepare(prepare) => {
            out.u8(2);
            write_ballot(prepare.n, out);
            write_ballot(prepare.n_accepted, out);
            out.u64(prepare.decided_idx as u64);
            out.u64(prepare.accepted_idx as u64);
        }
        PaxosMsg::Promise(promise) => {
            out.u8(3);
            write_ballot(promise.n, out);
            write_ballot(promise.n_accepted, out);
            out.u64(promise.decided_idx as u64);
            out.u64(promise.accepted_idx as u64);
            out.u8(u8::from(promise.log_sync.is_some()));
            promise.log_sync.iter().try_for_each(|sync| write_sync(sync, out))?;
        }
        PaxosMsg::AcceptSync(sync) => {
            out.u8(4);
            write_ballot(sync.n, out);
            write_sequence(sync.seq_num, out);
            out.u64(sync.decided_idx as u64);
            write_sync(&sync.log_sync, out)?;
        }
        PaxosMsg::AcceptDecide(accept) => {
            out.reserve(64 + accept.entries.iter().map(|entry| 4 + entry.as_bytes().len()).sum::<usize>());
            out.u8(5);
            write_ballot(accept.n, out);
            write_sequence(accept.seq_num, out);
            out.u64(accept.decided_idx as u64);
            write_entries(&accept.entries, out);
        }
        PaxosMsg::Accepted(accepted) => {
            out.u8(6);
            write_ballot(accepted.n, out);
            out.u64(accepted.accepted_idx as u64);
        }
        PaxosMsg::NotAccepted(refusal) => {
            out.u8(7);
            write_ballot(refusal.n, out);
        }
        PaxosMsg::Decide(decide) => {
            out.u8(8);
            write_ballot(decide.n, out);
            write_sequence(decide.seq_num, out);
            out.u64(decide.decided_idx as u64);
        }
        PaxosMsg::ProposalForward(_)
        | PaxosMsg::Compaction(_)
        | PaxosMsg::AcceptStopSign(_)
        | PaxosMsg::ForwardStopSign(_) => return None,
    }
    Some(())
}

/// The message in these bytes, of `from` to `to`, which stand in no message but are known.
pub(super) fn decode(bytes: &[u8], from: u64, to: u64, term: Term) -> Result<Message<Entry>, MessageError> {
    let mut reader = Reader::new(bytes);
    let input = &mut Input { reader: &mut reader, term };
    let paxos = |msg| Message::SequencePaxos(PaxosMessage { from, to, msg });
    let heartbeat = |msg| Message::BLE(BLEMessage { from, to, msg });
    let message = match input.reader.u8()? {
        1 => paxos(PaxosMsg::PrepareReq(PrepareReq { n: input.ballot()? })),
        2 => {
            let (n, n_accepted) = (input.ballot()?, input.ballot()?);
            let (decided_idx, accepted_idx) = (input.place()?, input.place()?);
            paxos(PaxosMsg::Prepare(Prepare { n, decided_idx, n_accepted, accepted_idx }))
        }
        3 => {
            let (n, n_accepted) = (input.ballot()?, input.ballot()?);
            let (decided_idx, accepted_idx) = (input.place()?, input.place()?);
            let log_sync = if input.reader.flag()? { Some(input.sync()?) } else { None };
            paxos(PaxosMsg::Promise(Promise { n, n_accepted, decided_idx, accepted_idx, log_sync }))
        }
        4 => {
            let (n, seq_num, decided_idx) = (input.ballot()?, input.sequence()?, input.place()?);
            paxos(PaxosMsg::AcceptSync(AcceptSync { n, seq_num, decided_idx, log_sync: input.sync()? }))
        }
        5 => {
            let (n, seq_num, decided_idx) = (input.ballot()?, input.sequence()?, input.place()?);
            paxos(PaxosMsg::AcceptDecide(AcceptDecide { n, seq_num, decided_idx, entries: input.entries()? }))
        }
        6 => paxos(PaxosMsg::Accepted(Accepted { n: input.ballot()?, accepted_idx: input.place()? })),
        7 => paxos(PaxosMsg::NotAccepted(NotAccepted { n: input.ballot()? })),
        8 => {
            let (n, seq_num, decided_idx) = (input.ballot()?, input.sequence()?, input.place()?);
            paxos(PaxosMsg::Decide(Decide { n, seq_num, decided_idx }))
        }
        9 => heartbeat(HeartbeatMsg::Request(HeartbeatRequest { round: input.reader.u32()? })),
        10 => heartbeat(HeartbeatMsg::Reply(HeartbeatReply {
            round: input.reader.u32()?,
            ballot: input.ballot()?,
            leader: input.ballot()?,
            happy: input.reader.flag()?,
        })),
        _ => return Err(MessageError),
    };
    reader.end()?;
    Ok(message)
}

struct Input<'r, 'b> {
    reader: &'r mut Reader<'b>,
    term: Term,
}

impl Input<'_, '_> {
    fn ballot(&mut self) -> Result<Ballot, MessageError> {
        let (number, priority, engine_id) = (self.reader.u32()?, self.reader.u32()?, self.reader.u64()?);
        Ok(match (number, priority, engine_id) {
            // The engine's ballot before any has no configuration.
            (0, 0, 0) => Ballot::default(),
            _ => ballot(self.term, Round { number, priority, engine_id }),
        })
    }

    fn place(&mut self) -> Result<usize, MessageError> {
        usize::try_from(self.reader.u64()?).map_err(|_| MessageError)
    }

    fn sequence(&mut self) -> Result<SequenceNumber, MessageError> {
        Ok(SequenceNumber { session: self.reader.u64()?, counter: self.reader.u64()? })
    }

    fn sync(&mut self) -> Result<LogSync<Entry>, MessageError> {
        let sync_idx = self.place()?;
        Ok(LogSync { decided_snapshot: None, suffix: self.entries()?, sync_idx, stopsign: None })
    }

    fn entries(&mut self) -> Result<Vec<Entry>, MessageError> {
        read_entries(self.reader)
    }
}

pub(crate) fn read_entries(reader: &mut Reader<'_>) -> Result<Vec<Entry>, MessageError> {
    let count = reader.u32()? as usize;
    let mut entries = Vec::with_capacity(count.min(reader.remaining().len() / 4));
    for _ in 0..count {
        entries.push(Entry::from_bytes(reader.bytes(CHECKPOINT_BYTES_MAX)?).map_err(|_| MessageError)?);
    }
    Ok(entries)
}

pub(crate) fn write_entries(entries: &[Entry], out: &mut Vec<u8>) {
    out.u32(u32::try_from(entries.len()).expect("a term has far fewer entries"));
    entries.iter().for_each(|entry| out.bytes(entry.as_bytes()));
}

fn write_ballot(ballot: Ballot, out: &mut Vec<u8>) {
    let round = round(ballot);
    out.u32(round.number);
    out.u32(round.priority);
    out.u64(round.engine_id);
}

fn write_sequence(sequence: SequenceNumber, out: &mut Vec<u8>) {
    out.u64(sequence.session);
    out.u64(sequence.counter);
}

/// `None` when the engine made a snapshot or a stop sign, which it never does here.
fn write_sync(sync: &LogSync<Entry>, out: &mut Vec<u8>) -> Option<()> {
    if sync.decided_snapshot.is_some() || sync.stopsign.is_some() {
        return None;
    }
    out.u64(sync.sync_idx as u64);
    write_entries(&sync.suffix, out);
    Some(())
}

pub(crate) mod fuzz {
    //! Any bytes as a message of the engine.

    use super::*;

    /// What is read is written as it was.
    pub(crate) fn message(input: &[u8]) {
        if let Ok(message) = decode(input, 1, 2, Term(1)) {
            assert_eq!(encode(&message).as_deref(), Some(input), "a message is written as it was read");
        }
    }
}
