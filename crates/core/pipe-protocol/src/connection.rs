//! The node's end of one connection.

use crate::message::{
    Answer, DATA_BYTES_MAX, Effect, ErrorCode, From, Level, Message, NAMES_MAX, Name, Of, Refusal, Request, SessionId,
    Submission, VERSION,
};
use crate::reader::{Form, ReadError, Reader, encode};

/// Bytes that wait to be written. While there are so many, nothing is read from the program and its subscription rests, so
/// one that does not read is told no more. A single message may go beyond it.
pub const OUTPUT_BYTES_MAX: usize = 256 * 1024;
/// Messages that are taken and not yet acknowledged. While there are so many, nothing is read from the program.
pub const OUTSTANDING_MAX: usize = 1024;
/// Bytes of those.
pub const OUTSTANDING_BYTES_MAX: usize = 4 * DATA_BYTES_MAX;

/// Stands for a message that was taken: whoever answers it gives the receipt back, once.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a message that is never answered keeps its room"]
pub struct Receipt {
    sequence: u64,
    bytes: usize,
}

/// What a program wants, in turn and within its bounds.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// It greets. Answer with [`Connection::welcome`] or [`Connection::refuse`]; nothing else comes before that.
    Hello {
        /// As whom, or as somebody new.
        session: Option<SessionId>,
    },
    /// Something to be ordered. Answer with [`Connection::acknowledge`] or [`Connection::refuse_submission`].
    Submit(Submission, Receipt),
    /// A subscription. Answer with [`Connection::deliver`] and the like.
    Subscribe {
        /// Topics or keys.
        of: Of,
        /// Only these; none means all.
        names: Vec<Name>,
        /// From where on.
        from: From,
    },
    /// A read. Answer with [`Connection::tell`].
    Read {
        /// Comes back with the answer.
        id: u64,
        /// Which key.
        key: Name,
        /// How sure.
        level: Level,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing was said.
    Silent,
    /// The greeting is with the node.
    Greeting,
    /// Everything may be said.
    Open,
    /// What waits is written, then the connection is closed.
    Closing,
}

/// The node's end of one connection. Give it bytes while [`Connection::wants_bytes`], drain [`Connection::poll_event`], write
/// [`Connection::output`] and say how much with [`Connection::handle_written`]; close it when [`Connection::is_over`].
#[derive(Debug)]
pub struct Connection {
    reader: Reader<Request>,
    phase: Phase,
    is_subscribed: bool,
    credit: u64,
    outstanding: Outstanding,
    output: Vec<u8>,
    written: usize,
}

/// Messages that wait for their answer.
#[derive(Debug, Default)]
struct Outstanding {
    count: usize,
    bytes: usize,
}

impl Connection {
    /// A connection that was just accepted.
    pub fn new() -> Self {
        Self {
            reader: Reader::new(),
            phase: Phase::Silent,
            is_subscribed: false,
            credit: 0,
            outstanding: Outstanding::default(),
            output: Vec::new(),
            written: 0,
        }
    }

    /// Whether bytes of the program should be read: not while it has much to read or to wait for.
    pub fn wants_bytes(&self) -> bool {
        self.may_take() && self.reader.held_bytes() <= OUTPUT_BYTES_MAX.max(2 * DATA_BYTES_MAX)
    }

    fn may_take(&self) -> bool {
        self.phase != Phase::Closing
            && self.output().len() < OUTPUT_BYTES_MAX
            && self.outstanding.count < OUTSTANDING_MAX
            && self.outstanding.bytes < OUTSTANDING_BYTES_MAX
    }

    /// Whether a message of the subscription may be delivered: there is credit, and the program reads.
    pub fn may_deliver(&self) -> bool {
        self.is_subscribed && self.credit > 0 && self.phase == Phase::Open && self.output().len() < OUTPUT_BYTES_MAX
    }

    /// Bytes to be written.
    pub fn output(&self) -> &[u8] {
        &self.output[self.written..]
    }

    /// Whether all is said and the connection can be closed.
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Closing && self.output().is_empty()
    }

    /// The program sent bytes.
    pub fn handle_bytes(&mut self, bytes: &[u8]) {
        self.reader.push(bytes);
    }

    /// So many bytes of [`Connection::output`] are written.
    pub fn handle_written(&mut self, bytes: usize) {
        self.written = (self.written + bytes).min(self.output.len());
        if self.written == self.output.len() {
            self.output.clear();
            self.written = 0;
        }
    }

    /// What the program wants next. Mistakes of the program are answered here and do not come up.
    pub fn poll_event(&mut self) -> Option<Event> {
        while self.may_take() && self.phase != Phase::Greeting {
            match self.reader.next_message()? {
                Ok(request) => {
                    if let Some(event) = self.take(request) {
                        return Some(event);
                    }
                }
                Err(error) => self.refuse_unread(&error),
            }
        }
        None
    }

    fn refuse_unread(&mut self, error: &ReadError) {
        let code = match error {
            ReadError::LongLine { .. } | ReadError::LongFrame { .. } => ErrorCode::TooLong,
            ReadError::Line { .. } | ReadError::Magic | ReadError::Frame(_) => ErrorCode::BadMessage,
        };
        self.refuse(Refusal::new(code, error.to_string()));
        if error.is_final() {
            self.phase = Phase::Closing;
        }
    }

    fn take(&mut self, request: Request) -> Option<Event> {
        match (self.phase, request) {
            (Phase::Silent, Request::Hello { version: VERSION, session }) => {
                self.phase = Phase::Greeting;
                return Some(Event::Hello { session });
            }
            (Phase::Silent, Request::Hello { version, .. }) => {
                let text = format!("version {version} of the protocol; this node speaks {VERSION}");
                self.refuse(Refusal::new(ErrorCode::Version, text));
                self.phase = Phase::Closing;
            }
            (Phase::Silent, _) => self.out_of_turn("say hello first"),
            (_, Request::Hello { .. }) => self.out_of_turn("hello was said before"),
            (_, Request::Submit(submission)) => return self.take_submission(submission),
            (_, Request::Subscribe { .. }) if self.is_subscribed => {
                self.out_of_turn("one connection has one subscription; open another");
            }
            (_, Request::Subscribe { names, .. }) if names.len() > NAMES_MAX => {
                let text = format!("{} names; a subscription has at most {NAMES_MAX}", names.len());
                self.refuse(Refusal::new(ErrorCode::TooLong, text));
            }
            (_, Request::Subscribe { of, names, from }) => {
                self.is_subscribed = true;
                return Some(Event::Subscribe { of, names, from });
            }
            (_, Request::Read { id, key, level }) => return Some(Event::Read { id, key, level }),
            (_, Request::Credit { count }) => self.credit = self.credit.saturating_add(u64::from(count)),
        }
        None
    }

    fn take_submission(&mut self, submission: Submission) -> Option<Event> {
        let receipt = Receipt { sequence: submission.sequence, bytes: submission.order.data_bytes() };
        if receipt.bytes > DATA_BYTES_MAX {
            let text = format!("{} bytes of data; at most {DATA_BYTES_MAX} are allowed", receipt.bytes);
            self.refuse(Refusal { about: Some(receipt.sequence), ..Refusal::new(ErrorCode::TooLong, text) });
            return None;
        }
        self.outstanding.count += 1;
        self.outstanding.bytes += receipt.bytes;
        Some(Event::Submit(submission, receipt))
    }

    fn out_of_turn(&mut self, text: &str) {
        self.refuse(Refusal::new(ErrorCode::OutOfTurn, text));
    }

    fn say(&mut self, answer: &Answer) {
        let form = self.reader.form().unwrap_or(Form::Lines);
        encode(answer, form, &mut self.output);
    }

    /// The greeting is taken: the program publishes as `session`, next with the sequence number `next`.
    pub fn welcome(&mut self, session: SessionId, next: u64) {
        if self.phase == Phase::Greeting {
            self.phase = Phase::Open;
        }
        self.say(&Answer::Welcome { session, next });
    }

    /// It has its place and took this effect.
    pub fn acknowledge(&mut self, receipt: Receipt, offset: u64, effect: Effect) {
        self.release(&receipt);
        self.say(&Answer::Done { sequence: receipt.sequence, offset, effect });
    }

    /// It does not count.
    pub fn refuse_submission(&mut self, receipt: Receipt, refusal: Refusal) {
        self.release(&receipt);
        self.refuse(Refusal { about: Some(receipt.sequence), ..refusal });
    }

    fn release(&mut self, receipt: &Receipt) {
        self.outstanding.count = self.outstanding.count.saturating_sub(1);
        self.outstanding.bytes = self.outstanding.bytes.saturating_sub(receipt.bytes);
    }

    /// A message of the subscription, when [`Connection::may_deliver`].
    pub fn deliver(&mut self, message: Message) {
        self.credit = self.credit.saturating_sub(1);
        self.say(&Answer::Message(message));
    }

    /// The subscription has come to `offset`.
    pub fn reach(&mut self, offset: u64) {
        self.say(&Answer::Reached { offset });
    }

    /// What a key holds.
    pub fn tell(&mut self, id: u64, offset: u64, (version, data): (u64, Option<Vec<u8>>)) {
        self.say(&Answer::Value { id, offset, version, data });
    }

    /// Something is not done; a greeting that is refused ends the connection.
    pub fn refuse(&mut self, refusal: Refusal) {
        self.say(&Answer::Error(refusal));
        if self.phase == Phase::Greeting {
            self.phase = Phase::Closing;
        }
    }

    /// A subscription could not begin, so that another may be asked for.
    pub fn refuse_subscription(&mut self, refusal: Refusal) {
        self.is_subscribed = false;
        self.refuse(refusal);
    }
}

impl Default for Connection {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Order;

    const HELLO: &[u8] = b"{\"op\":\"hello\"}\n";

    fn session() -> SessionId {
        SessionId::from_bytes([7; 16])
    }

    fn topic() -> Name {
        Name::new("t").expect("a topic")
    }

    fn message(offset: u64, data: Vec<u8>) -> Message {
        Message { offset, name: topic(), number: offset, origin: session(), time_s: 5, data: Some(data) }
    }

    fn open() -> Connection {
        let mut connection = Connection::new();
        connection.handle_bytes(HELLO);
        assert_eq!(connection.poll_event(), Some(Event::Hello { session: None }));
        connection.welcome(session(), 1);
        connection.handle_written(connection.output().len());
        connection
    }

    fn said(connection: &mut Connection) -> Vec<Answer> {
        let mut reader = Reader::with_form(Form::Lines);
        reader.push(connection.output());
        connection.handle_written(connection.output().len());
        std::iter::from_fn(|| reader.next_message()).map(|answer| answer.expect("an answer")).collect()
    }

    fn refused(connection: &mut Connection) -> Vec<ErrorCode> {
        let code = |answer| if let Answer::Error(Refusal { code, .. }) = answer { Some(code) } else { None };
        said(connection).into_iter().filter_map(code).collect()
    }

    fn publish(sequence: u64, bytes: usize) -> Vec<u8> {
        let order = Order::Publish { topic: topic(), data: vec![b'x'; bytes] };
        let mut out = Vec::new();
        encode(&Request::Submit(Submission { sequence, order }), Form::Lines, &mut out);
        out
    }

    #[test]
    fn nothing_counts_before_the_greeting() {
        let mut connection = Connection::new();
        connection.handle_bytes(&publish(1, 1));
        assert_eq!(connection.poll_event(), None);
        assert_eq!(refused(&mut connection), [ErrorCode::OutOfTurn]);
        connection.handle_bytes(HELLO);
        assert!(matches!(connection.poll_event(), Some(Event::Hello { .. })));
    }

    #[test]
    fn what_is_said_while_the_greeting_is_looked_at_waits() {
        let mut connection = Connection::new();
        connection.handle_bytes(HELLO);
        connection.handle_bytes(&publish(1, 1));
        assert!(matches!(connection.poll_event(), Some(Event::Hello { .. })));
        assert_eq!(connection.poll_event(), None);
        connection.welcome(session(), 1);
        assert!(matches!(connection.poll_event(), Some(Event::Submit(..))));
    }

    #[test]
    fn mistakes_are_answered_and_what_follows_counts() {
        let mut connection = open();
        connection.handle_bytes(b"nonsense\n{\"op\":\"pub\",\"seq\":1}\n\r\n");
        connection.handle_bytes(HELLO);
        connection.handle_bytes(&publish(1, 1));
        assert!(matches!(connection.poll_event(), Some(Event::Submit(..))));
        assert_eq!(refused(&mut connection), [ErrorCode::BadMessage, ErrorCode::BadMessage, ErrorCode::OutOfTurn]);
    }

    #[test]
    fn a_line_beyond_the_bound_is_skipped_to_its_end() {
        let mut connection = open();
        connection.handle_bytes(b"{\"op\":\"pub\",\"data\":\"");
        for _ in 0..64 {
            connection.handle_bytes(&[b'x'; 64 * 1024]);
            assert_eq!(connection.poll_event(), None);
            assert!(connection.wants_bytes());
        }
        connection.handle_bytes(b"\"}\n");
        connection.handle_bytes(&publish(1, 1));
        assert!(matches!(connection.poll_event(), Some(Event::Submit(..))));
        assert_eq!(refused(&mut connection), [ErrorCode::TooLong]);
    }

    #[test]
    fn a_frame_beyond_the_bound_ends_the_connection_at_once() {
        let mut connection = Connection::new();
        connection.handle_bytes(&crate::MAGIC);
        connection.handle_bytes(&u32::MAX.to_be_bytes());
        assert_eq!(connection.poll_event(), None);
        assert!(!connection.wants_bytes() && !connection.is_over());
        connection.handle_written(connection.output().len());
        assert!(connection.is_over());
    }

    #[test]
    fn a_program_that_waits_for_many_answers_is_not_read() {
        let mut connection = open();
        let mut receipts = Vec::new();
        for sequence in 1..=OUTSTANDING_MAX as u64 + 1 {
            connection.handle_bytes(&publish(sequence, 1));
        }
        while let Some(Event::Submit(_, receipt)) = connection.poll_event() {
            receipts.push(receipt);
        }
        assert_eq!(receipts.len(), OUTSTANDING_MAX);
        assert!(!connection.wants_bytes());
        connection.acknowledge(receipts.remove(0), 9, Effect::Published { number: 0 });
        assert!(connection.wants_bytes());
        assert!(matches!(connection.poll_event(), Some(Event::Submit(..))));
    }

    #[test]
    fn large_messages_fill_the_room_sooner() {
        let mut connection = open();
        let mut taken = Vec::new();
        for sequence in 1..=5 {
            connection.handle_bytes(&publish(sequence, DATA_BYTES_MAX));
            while let Some(Event::Submit(_, receipt)) = connection.poll_event() {
                taken.push(receipt);
            }
        }
        assert_eq!(taken.len(), OUTSTANDING_BYTES_MAX / DATA_BYTES_MAX);
    }

    #[test]
    fn a_subscription_gets_what_it_has_credit_for() {
        let mut connection = open();
        connection.handle_bytes(b"{\"op\":\"sub\",\"from\":\"tail\"}\n{\"op\":\"credit\",\"n\":2}\n");
        assert_eq!(
            connection.poll_event(),
            Some(Event::Subscribe { of: Of::Topics, names: Vec::new(), from: From::Tail })
        );
        assert_eq!(connection.poll_event(), None);
        for offset in [3, 8] {
            assert!(connection.may_deliver());
            connection.deliver(message(offset, vec![255]));
        }
        assert!(!connection.may_deliver());
        assert_eq!(said(&mut connection), [3, 8].map(|offset| Answer::Message(message(offset, vec![255]))));
    }

    #[test]
    fn a_program_that_does_not_read_is_told_no_more() {
        let mut connection = open();
        connection.handle_bytes(b"{\"op\":\"sub\",\"from\":0}\n{\"op\":\"credit\",\"n\":1000000}\n");
        while connection.poll_event().is_some() {}
        let mut delivered = 0;
        while connection.may_deliver() {
            connection.deliver(message(delivered, vec![b'x'; 1000]));
            delivered += 1;
        }
        assert!((200..300).contains(&delivered), "{delivered}");
        assert!(!connection.wants_bytes());
        connection.handle_written(connection.output().len());
        assert!(connection.may_deliver() && connection.wants_bytes());
    }

    #[test]
    fn another_version_is_told_so_and_the_connection_ends() {
        let mut connection = Connection::new();
        connection.handle_bytes(b"{\"op\":\"hello\",\"version\":2}\n");
        assert_eq!(connection.poll_event(), None);
        assert_eq!(refused(&mut connection), [ErrorCode::Version]);
        assert!(connection.is_over());
    }
}
