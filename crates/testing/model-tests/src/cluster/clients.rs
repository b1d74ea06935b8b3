//! Clients: each with a session, several messages on their way at once, and retries through any node.

use super::check::Checker;
use super::dice::Dice;
use replicated_log::apps::{LOG, LogRequest};
use replicated_log::{Event, Node, Offset, Sequence, SessionId, SubmitRefusal, Token};
use std::collections::BTreeMap;

/// Messages that a client has on their way at once.
const PIPELINE: usize = 3;

#[derive(Debug)]
struct Message {
    data: Vec<u8>,
    floor: Option<Offset>,
    asked_ms: u64,
}

/// One client.
#[derive(Debug)]
pub(super) struct Client {
    number: u64,
    /// How often it began anew: answers to what it asked before are of no interest.
    generation: u64,
    session: SessionId,
    is_open: bool,
    opened_ms: Option<u64>,
    next: u64,
    waiting: BTreeMap<u64, Message>,
    reads: BTreeMap<u64, Option<Offset>>,
    read_number: u64,
    pub(super) answers: u64,
    pub(super) reads_done: u64,
}

/// Bits of a token for the number; above them stand the client's generation and the client.
const NUMBER_BITS: u32 = 24;

const GENERATION_BITS: u32 = 16;

impl Client {
    pub(super) fn new(number: u64, dice: &mut Dice) -> Self {
        Self {
            number,
            generation: 0,
            session: draw(dice),
            is_open: false,
            opened_ms: None,
            next: 1,
            waiting: BTreeMap::new(),
            reads: BTreeMap::new(),
            read_number: 0,
            answers: 0,
            reads_done: 0,
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.is_open && self.waiting.is_empty()
    }

    /// Does something at a node: open, a message, what is overdue, or a read.
    pub(super) fn act(&mut self, now_ms: u64, node: &mut Node, checker: &mut Checker, dice: &mut Dice, new: bool) {
        if !self.is_open {
            if self.opened_ms.is_none_or(|at| now_ms > at + 300) {
                self.opened_ms = Some(now_ms);
                // A node without room or vote is tried again later, like one that does not answer.
                let _ = node.open_session(self.token(0), self.session);
            }
            return;
        }
        let overdue = self.waiting.values().next().is_some_and(|message| now_ms > message.asked_ms + 300);
        if overdue {
            self.waiting.values_mut().for_each(|message| message.asked_ms = now_ms);
            let numbers: Vec<u64> = self.waiting.keys().copied().collect();
            numbers.into_iter().for_each(|number| self.submit(number, node));
        } else if new && self.waiting.len() < PIPELINE {
            let data = [self.session.bits().to_be_bytes().as_slice(), &self.next.to_be_bytes()].concat();
            checker.handle_submit(self.session, Sequence(self.next), &data);
            let message = Message { data, floor: checker.answered, asked_ms: now_ms };
            self.waiting.insert(self.next, message);
            self.submit(self.next, node);
            self.next += 1;
        }
        if new && dice.once_in(4) {
            self.read_number += 1;
            if node.read(self.token(self.read_number)).is_ok() {
                self.reads.insert(self.read_number, checker.answered);
            }
        }
    }

    fn token(&self, number: u64) -> Token {
        Token((self.number << GENERATION_BITS | self.generation) << NUMBER_BITS | number)
    }

    fn submit(&self, number: u64, node: &mut Node) {
        let topic = [b'a' + (number % 3) as u8];
        let body = LogRequest { topic: &topic, data: &self.waiting[&number].data }.encode();
        let session = (self.session, Sequence(number));
        let _ = node.submit(self.token(number), session, LOG, &body);
    }

    /// An answer with this client's token.
    pub(super) fn handle_event(&mut self, event: &Event, checker: &mut Checker, dice: &mut Dice) -> Result<(), String> {
        let Some(token) = token_of(event) else { return Ok(()) };
        let number = token.0 & ((1 << NUMBER_BITS) - 1);
        if token != self.token(number) {
            return Ok(());
        }
        match event {
            Event::Opened { refusal: None, .. } => self.is_open = true,
            Event::Opened { .. } => self.opened_ms = None,
            Event::Acknowledged { offset, result, .. } => {
                if let Some(message) = self.waiting.remove(&number) {
                    let key = (self.session, Sequence(number));
                    checker.handle_answer(key, *offset, result, message.floor)?;
                    self.answers += 1;
                }
            }
            Event::Refused { refusal: SubmitRefusal::NotOpen | SubmitRefusal::Old, .. } => {
                // What waits may have counted or not; the client goes on under another name.
                let (generation, answers, reads_done) = (self.generation + 1, self.answers, self.reads_done);
                *self = Self { generation, answers, reads_done, ..Self::new(self.number, dice) };
            }
            Event::Refused { refusal: SubmitRefusal::Gap { .. }, .. } | Event::Busy { .. } => {
                self.waiting.values_mut().for_each(|message| message.asked_ms = 0);
            }
            Event::ReadReady { offset, .. } => {
                if let Some(floor) = self.reads.remove(&number) {
                    checker.handle_read(*offset, floor)?;
                    self.reads_done += 1;
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// Which client an event is for.
pub(super) fn client_of(event: &Event) -> Option<usize> {
    usize::try_from(token_of(event)?.0 >> (GENERATION_BITS + NUMBER_BITS)).ok()
}

fn token_of(event: &Event) -> Option<Token> {
    match event {
        Event::Opened { token, .. }
        | Event::Acknowledged { token, .. }
        | Event::Refused { token, .. }
        | Event::Busy { token, .. }
        | Event::ReadReady { token, .. } => Some(*token),
        _ => None,
    }
}

fn draw(dice: &mut Dice) -> SessionId {
    SessionId::new(u128::from(dice.bits()) << 64 | u128::from(dice.bits() | 1)).expect("its last bit is set")
}
