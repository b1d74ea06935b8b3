//! What a client and the directory's service say to each other on a stream: frames, requests, answers. Layout:
//! docs/spec/relay-directory.md, section 10.

use crate::command::COMMAND_BYTES_MAX;
use crate::fetch::{Answer, Request};
use crate::refusal::Refusal;
use crate::service::ServiceRecord;
use crate::standing::{MembersStanding, ServicesStanding, Standing};
use network_document::encoding::{ReadError, Reader, WriteBytes};
use network_document::{EDITION_BYTES_MAX, EncodingError};
use thiserror::Error;

/// Bytes of a frame's length.
const LENGTH_BYTES: usize = 4;
/// Bytes of a request at most.
pub const REQUEST_BYTES_MAX: usize = 16 * 1024;
/// Bytes of an answer at most: an edition and what stands around it.
pub const ANSWER_BYTES_MAX: usize = EDITION_BYTES_MAX + 64;
/// Requests of one stream that wait for an answer at most. A service reads no further one until one of them is answered.
pub const REQUESTS_IN_FLIGHT_MAX: usize = 4;
/// Bytes of an answer's sentence at most.
pub const SENTENCE_BYTES_MAX: usize = 512;
/// The code of a command that was not ordered in time. Nobody knows whether it will be: commands may be said again.
pub const CODE_TRY_AGAIN: u8 = 255;

/// The frame that begins a stream which comes through circuits, from anybody: an exit says it before it passes anything on. It has no
/// answer, and whoever says it has less than a program of the machine has.
pub const OF_A_STRANGER: [u8; 5] = [0, 0, 0, 1, 11];

const _: () = assert!(COMMAND_BYTES_MAX < REQUEST_BYTES_MAX, "a command fits into a request");

/// A stream that is no good any more: whoever reads it closes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum FrameError {
    /// Nothing, or more than there may be.
    #[error("a frame of {found} bytes; 1 to {most} are allowed")]
    Length {
        /// Its length.
        found: usize,
        /// The bound.
        most: usize,
    },
}

/// A frame around a request or an answer.
pub fn frame(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(LENGTH_BYTES + body.len());
    out.bytes(body);
    out
}

/// Cuts one direction of a stream into frames.
///
/// It has at most one frame at a time, and what it stores grows with what has come, never with what is announced.
#[derive(Debug, Clone)]
pub struct FrameReader {
    most: usize,
    length: [u8; LENGTH_BYTES],
    /// Bytes of the length that are there.
    known: usize,
    body: Vec<u8>,
    /// The length, once it was judged.
    total: Option<usize>,
}

impl FrameReader {
    /// At the service.
    pub fn requests() -> Self {
        Self::with_bound(REQUEST_BYTES_MAX)
    }

    /// At the client.
    pub fn answers() -> Self {
        Self::with_bound(ANSWER_BYTES_MAX)
    }

    fn with_bound(most: usize) -> Self {
        Self { most, length: [0; LENGTH_BYTES], known: 0, body: Vec::new(), total: None }
    }

    /// Takes bytes as they come, up to the end of the present frame, and says how many it took. It takes none while a whole frame
    /// waits for [`FrameReader::poll_frame`].
    ///
    /// # Errors
    /// As soon as the length is there, if it is none. Nothing more is to be read then.
    pub fn handle_bytes(&mut self, bytes: &[u8]) -> Result<usize, FrameError> {
        let mut rest = bytes;
        if self.total.is_none() {
            let count = rest.len().min(LENGTH_BYTES - self.known);
            let (head, behind) = rest.split_at(count);
            self.length[self.known..self.known + count].copy_from_slice(head);
            self.known += count;
            rest = behind;
            if self.known == LENGTH_BYTES {
                let found = u32::from_be_bytes(self.length) as usize;
                if found == 0 || found > self.most {
                    self.known = 0;
                    return Err(FrameError::Length { found, most: self.most });
                }
                self.total = Some(found);
            }
        }
        if let Some(total) = self.total {
            let count = rest.len().min(total - self.body.len());
            let (head, behind) = rest.split_at(count);
            self.body.extend_from_slice(head);
            rest = behind;
        }
        Ok(bytes.len() - rest.len())
    }

    /// The frame that is whole, without its length.
    pub fn poll_frame(&mut self) -> Option<Vec<u8>> {
        self.total.filter(|total| self.body.len() == *total)?;
        (self.total, self.known) = (None, 0);
        Some(std::mem::take(&mut self.body))
    }

    /// Whether a frame is that of [`OF_A_STRANGER`].
    pub fn is_of_a_stranger(frame: &[u8]) -> bool {
        frame == &OF_A_STRANGER[LENGTH_BYTES..]
    }

    /// Whether a frame has begun. A stream that ends then was cut.
    pub fn is_unfinished(&self) -> bool {
        self.known > 0
    }
}

/// What is asked of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServiceRequest {
    /// Editions and changes of members.
    Fetch(Request),
    /// A command, as [`crate::Command::encode`] writes it, to be ordered.
    Submit(Vec<u8>),
    /// How the directory stands.
    Standing,
    /// How its members stand.
    Members,
    /// A service's record, for a member to let in.
    Publish(ServiceRecord),
    /// The newest record under a service's key of the day.
    Record {
        /// The key.
        key: [u8; 32],
    },
    /// How full of records the member is that answers.
    Services,
}

/// What became of a command, in the words of [`Refusal`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandOutcome {
    /// 0 for done, [`Refusal::code`], or [`CODE_TRY_AGAIN`].
    pub code: u8,
    /// For whoever sent it.
    pub sentence: String,
}

/// What a service answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServiceAnswer {
    /// To [`ServiceRequest::Fetch`].
    Fetch(Answer),
    /// To [`ServiceRequest::Submit`] and [`ServiceRequest::Publish`].
    Submit(CommandOutcome),
    /// To [`ServiceRequest::Standing`].
    Standing(Standing),
    /// To [`ServiceRequest::Members`].
    Members(MembersStanding),
    /// To [`ServiceRequest::Record`]: `None` when there is none. Whoever asked looks at its key and its signature.
    Record(Option<ServiceRecord>),
    /// To [`ServiceRequest::Services`].
    Services(ServicesStanding),
}

impl ServiceRequest {
    /// The bytes, without the frame.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Fetch(request) => request.encode(),
            Self::Submit(command) => [&[5], command.as_slice()].concat(),
            Self::Standing => vec![6],
            Self::Members => vec![7],
            Self::Publish(record) => [&[8], record.encode().as_slice()].concat(),
            Self::Record { key } => [&[9], key.as_slice()].concat(),
            Self::Services => vec![10],
        }
    }

    /// Reads such bytes. A command's content is not looked at here.
    ///
    /// # Errors
    /// When they are no request.
    pub fn decode(bytes: &[u8]) -> Result<Self, ReadError> {
        match bytes {
            [5, command @ ..] if command.len() > COMMAND_BYTES_MAX => Err(ReadError::Long),
            [5, command @ ..] => Ok(Self::Submit(command.to_vec())),
            [6] => Ok(Self::Standing),
            [7] => Ok(Self::Members),
            [8, record @ ..] => ServiceRecord::decode(record).map(Self::Publish),
            [9, key @ ..] => {
                let mut input = Reader::new(key);
                let key = input.array()?;
                input.end().map(|()| Self::Record { key })
            }
            [10] => Ok(Self::Services),
            [6 | 7 | 10, ..] => Err(ReadError::Long),
            _ => Request::decode(bytes).map(Self::Fetch),
        }
    }
}

impl CommandOutcome {
    /// What an application's answer on the log says: [`crate::DirectoryApp`] writes a code and a sentence.
    pub fn of_result(result: &[u8]) -> Self {
        let (code, sentence) = result.split_first().unwrap_or((&CODE_TRY_AGAIN, b"the directory gave no answer"));
        Self::new(*code, &String::from_utf8_lossy(sentence))
    }

    /// A code with its sentence, cut at [`SENTENCE_BYTES_MAX`].
    pub fn new(code: u8, sentence: &str) -> Self {
        let end = sentence.floor_char_boundary(SENTENCE_BYTES_MAX);
        Self { code, sentence: sentence[..end].to_owned() }
    }

    /// Without a majority, or with too much to do.
    pub fn try_again(sentence: &str) -> Self {
        Self::new(CODE_TRY_AGAIN, sentence)
    }

    /// Whether the command has taken effect.
    pub fn is_done(&self) -> bool {
        self.code == 0
    }
}

impl From<Refusal> for CommandOutcome {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.code(), &refusal.to_string())
    }
}

impl ServiceAnswer {
    /// The bytes, without the frame.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Fetch(answer) => return answer.encode(),
            Self::Submit(outcome) => {
                out.u8(5);
                out.u8(outcome.code);
                out.count(outcome.sentence.len());
                out.raw(outcome.sentence.as_bytes());
            }
            Self::Standing(standing) => {
                out.u8(6);
                standing.write(&mut out);
            }
            Self::Members(members) => {
                out.u8(7);
                members.write(&mut out);
            }
            Self::Record(record) => {
                out.u8(9);
                out.u8(u8::from(record.is_some()));
                record.iter().for_each(|record| record.write(&mut out));
            }
            Self::Services(services) => {
                out.u8(10);
                services.write(&mut out);
            }
        }
        out
    }

    /// Reads such bytes.
    ///
    /// # Errors
    /// When they are no answer.
    pub fn decode(bytes: &[u8]) -> Result<Self, EncodingError> {
        let mut input = Reader::new(bytes);
        let answer = match input.u8()? {
            5 => {
                let code = input.u8()?;
                let length = input.count(SENTENCE_BYTES_MAX)?;
                let sentence = std::str::from_utf8(input.raw(length)?).map_err(|_| ReadError::Range)?;
                Self::Submit(CommandOutcome { code, sentence: sentence.to_owned() })
            }
            6 => Self::Standing(Standing::read(&mut input)?),
            7 => Self::Members(MembersStanding::read(&mut input)?),
            9 => {
                let is_there = input.flag()?;
                Self::Record(if is_there { Some(ServiceRecord::read(&mut input)?) } else { None })
            }
            10 => Self::Services(ServicesStanding::read(&mut input)?),
            _ => return Answer::decode(bytes).map(Self::Fetch),
        };
        input.end()?;
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::SERVICE_BYTES_MAX;
    use crate::standing::MemberStanding;
    use identity::NodeId;
    use network_document::EditionName;

    fn requests() -> Vec<ServiceRequest> {
        vec![
            ServiceRequest::Fetch(Request::Full),
            ServiceRequest::Fetch(Request::Diff { base: [7; 32] }),
            ServiceRequest::Submit(vec![9; COMMAND_BYTES_MAX]),
            ServiceRequest::Standing,
            ServiceRequest::Members,
            ServiceRequest::Publish(record(SERVICE_BYTES_MAX)),
            ServiceRequest::Publish(record(0)),
            ServiceRequest::Record { key: [3; 32] },
            ServiceRequest::Services,
        ]
    }

    fn record(bytes: usize) -> ServiceRecord {
        ServiceRecord { key: [3; 32], revision: 4, expires_ms: 5, content: vec![6; bytes], signature: [7; 64] }
    }

    fn answers() -> Vec<ServiceAnswer> {
        let published = EditionName { index: 3, hash: [5; 32] };
        let member = |number, signed, clock| MemberStanding { member: NodeId([number; 32]), signed, clock };
        let members = vec![member(1, true, Some((4, 1_800_000_000_000))), member(2, false, None)];
        vec![
            ServiceAnswer::Fetch(Answer::Current),
            ServiceAnswer::Submit(Refusal::NotAdmitted.into()),
            ServiceAnswer::Submit(CommandOutcome::try_again("no majority in time, try again")),
            ServiceAnswer::Standing(Standing { time_ms: 1, waiting: 4, signatures: 2, published, members: 3 }),
            ServiceAnswer::Members(MembersStanding {
                term: 1,
                liars: 0,
                next_order: 2,
                admitted: 3,
                described: 2,
                members,
            }),
            ServiceAnswer::Record(None),
            ServiceAnswer::Record(Some(record(100))),
            ServiceAnswer::Services(ServicesStanding {
                records_64ths: 3,
                bytes_64ths: 64,
                kept_64ths: 5,
                refused: 2,
                put_off: 3,
            }),
        ]
    }

    #[test]
    fn requests_and_answers_survive_a_stream_however_it_is_cut() {
        for piece in [1, 3, 4, 5, 1_000, 100_000] {
            let mut reader = FrameReader::requests();
            let bytes: Vec<u8> = requests().iter().flat_map(|request| frame(&request.encode())).collect();
            let mut found = Vec::new();
            for mut piece in bytes.chunks(piece) {
                while !piece.is_empty() {
                    let taken = reader.handle_bytes(piece).expect("good frames");
                    piece = &piece[taken..];
                    found.extend(reader.poll_frame().map(|body| ServiceRequest::decode(&body)));
                }
            }
            assert_eq!(found, requests().into_iter().map(Ok).collect::<Vec<_>>());
            assert!(!reader.is_unfinished() && reader.poll_frame().is_none());
        }
        for answer in answers() {
            assert_eq!(ServiceAnswer::decode(&answer.encode()).as_ref(), Ok(&answer));
            assert!(ServiceAnswer::decode(&[&answer.encode()[..], &[0]].concat()).is_err(), "{answer:?}");
        }
    }

    #[test]
    fn a_length_is_judged_before_anything_is_stored() {
        let mut reader = FrameReader::requests();
        assert_eq!(reader.handle_bytes(&[0, 0, 0x40]), Ok(3));
        let error = FrameError::Length { found: REQUEST_BYTES_MAX + 1, most: REQUEST_BYTES_MAX };
        assert_eq!(reader.handle_bytes(&[1, 5, 5, 5]), Err(error));
        assert_eq!(reader.body.capacity(), 0);
        assert!(FrameReader::answers().handle_bytes(&[0, 0, 0, 0]).is_err(), "nothing is no answer");
        let mut reader = FrameReader::answers();
        assert_eq!(reader.handle_bytes(&u32::to_be_bytes(ANSWER_BYTES_MAX as u32)), Ok(4));
        assert!(reader.body.capacity() == 0 && reader.is_unfinished() && reader.poll_frame().is_none());
    }

    #[test]
    fn a_whole_frame_waits_until_it_is_taken() {
        let mut reader = FrameReader::requests();
        let two = [frame(&[6]), frame(&[7])].concat();
        assert_eq!(reader.handle_bytes(&two), Ok(5));
        assert_eq!(reader.handle_bytes(&two[5..]), Ok(0), "one waits");
        assert_eq!(reader.poll_frame(), Some(vec![6]));
        assert_eq!(reader.handle_bytes(&two[5..]), Ok(5));
        assert_eq!(reader.poll_frame(), Some(vec![7]));
    }

    #[test]
    fn a_stranger_is_a_frame_and_no_request() {
        let mut reader = FrameReader::requests();
        assert_eq!(reader.handle_bytes(&OF_A_STRANGER), Ok(OF_A_STRANGER.len()));
        let frame = reader.poll_frame().expect("a whole one");
        assert!(FrameReader::is_of_a_stranger(&frame) && ServiceRequest::decode(&frame).is_err());
        assert!(requests().iter().all(|request| !FrameReader::is_of_a_stranger(&request.encode())));
    }

    #[test]
    fn what_is_no_request_is_refused() {
        let long = [&[5][..], &[0; COMMAND_BYTES_MAX + 1]].concat();
        let bulky = ServiceRequest::Publish(record(SERVICE_BYTES_MAX + 1)).encode();
        let behind = [&ServiceRequest::Publish(record(1)).encode()[..], &[0]].concat();
        for bytes in
            [&[][..], &[0], &[6, 0], &[7, 0], &[8], &[9], &[9; 32], &[9; 34], &[10, 0], &[11], &long, &bulky, &behind]
        {
            assert!(ServiceRequest::decode(bytes).is_err(), "{bytes:?}");
        }
        let long = "é".repeat(SENTENCE_BYTES_MAX);
        assert_eq!(CommandOutcome::new(1, &long).sentence.len(), SENTENCE_BYTES_MAX);
        assert_eq!(CommandOutcome::of_result(b"").code, CODE_TRY_AGAIN);
    }
}
