//! The deterministic part: entries in, effects out, the same on every member.

use crate::apps::{App, Apps, Context, Notice};
use crate::checkpoint::CHECKPOINT_BYTES_MAX;
use crate::checkpoint::{CheckpointError, CheckpointHash, Members};
use crate::entry::{Change, Command, Entry, Message};
use crate::ids::{AppId, Offset, Sequence, SessionId, Term};
use identity::NodeId;
use wire::encoding::{ReadError, Reader, WriteBytes};

mod sessions;

pub use sessions::{
    OpenRefusal, RESULT_BYTES_MAX, RESULTS_KEPT, SESSION_IDLE_MS, SESSION_OPEN_WINDOW_MS, SESSIONS_MAX, SubmitRefusal,
};
use sessions::{Sessions, Verdict};

/// What an entry did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Applied {
    /// Its place.
    pub offset: Offset,
    /// The log's time with it, in milliseconds since 1970 UTC; 0 before a leader wrote any.
    pub log_time_ms: u64,
    /// What became of it.
    pub outcome: Outcome,
    /// For those who watch.
    pub notices: Vec<Notice>,
}

/// What became of an entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The term's first entry: everybody's checkpoint must have this hash.
    Started(CheckpointHash),
    /// A session was opened, was open, or was refused.
    Opened {
        /// Which.
        session: SessionId,
        /// Why not.
        refusal: Option<OpenRefusal>,
    },
    /// A message took effect, for the first time.
    Done {
        /// Whose.
        session: SessionId,
        /// Its number.
        sequence: Sequence,
        /// Which application took it.
        app: AppId,
        /// Its answer.
        result: Vec<u8>,
    },
    /// A message that had taken effect already: nothing happened, and the answer is the first one's.
    Repeated {
        /// Whose.
        session: SessionId,
        /// Its number.
        sequence: Sequence,
        /// Where it took effect.
        first: Offset,
        /// The answer of then.
        result: Vec<u8>,
    },
    /// A message that does not count.
    Refused {
        /// Whose.
        session: SessionId,
        /// Its number.
        sequence: Sequence,
        /// Why.
        refusal: SubmitRefusal,
    },
    /// The log's time.
    Ticked,
    /// A reader's place.
    Barrier {
        /// Whose.
        origin: NodeId,
        /// Of which start of it.
        incarnation: u64,
        /// Which.
        tag: u64,
    },
    /// A change of members was planned (`true`) or not possible.
    Planned(bool),
    /// The plan was withdrawn; `false` without one.
    Unplanned(bool),
    /// The term is over. Nothing behind it in its log counts.
    Ended {
        /// The next term's members.
        members: Members,
        /// The next term's behaviour.
        behaviour: u16,
    },
    /// Nothing that this version knows, or an end that may not be.
    Ignored,
}

/// Sessions, applications, the log's time and what is planned.
pub struct Machine {
    term: Term,
    log_time_ms: u64,
    behaviour: u16,
    members: Members,
    plan: Option<Change>,
    sessions: Sessions,
    apps: Apps,
}

impl Machine {
    /// As a checkpoint has it.
    ///
    /// # Errors
    /// When an application is missing or does not know its own state.
    pub fn restore(checkpoint: &crate::Checkpoint, apps: Apps) -> Result<Self, CheckpointError> {
        let mut machine = Self {
            term: checkpoint.term,
            log_time_ms: 0,
            behaviour: checkpoint.behaviour,
            members: checkpoint.members.clone(),
            plan: None,
            sessions: Sessions::default(),
            apps,
        };
        if !checkpoint.machine.is_empty() {
            machine.read(&checkpoint.machine).map_err(|_| CheckpointError::Machine)?;
        }
        Ok(machine)
    }

    /// The log's time, in milliseconds since 1970 UTC; 0 before a leader wrote any.
    pub fn log_time_ms(&self) -> u64 {
        self.log_time_ms
    }

    /// How the machine behaves in the present term.
    pub(crate) fn behaviour(&self) -> u16 {
        self.behaviour
    }

    /// The change of members that is planned.
    pub fn plan(&self) -> Option<Change> {
        self.plan
    }

    /// An application.
    pub fn app(&self, app: AppId) -> Option<&dyn App> {
        self.apps.get(&app).map(Box::as_ref)
    }

    /// What a session's message became earlier; `None` when it is new, or too old to be known.
    pub fn earlier(&self, session: SessionId, sequence: Sequence) -> Option<(Offset, Vec<u8>)> {
        self.sessions.earlier(session, sequence)
    }

    /// The number that a session's next message has; `None` when it is not open.
    pub fn next_sequence(&self, session: SessionId) -> Option<Sequence> {
        self.sessions.next_sequence(session)
    }

    /// Applies the next entry.
    pub fn apply(&mut self, offset: Offset, entry: &Entry) -> Applied {
        let mut notices = Vec::new();
        // Messages are most of what there is, and their bodies are looked at where they lie.
        let outcome = match Message::of(entry) {
            Some(Ok(message)) => self.apply_submit(offset, message, &mut notices),
            Some(Err(_)) => Outcome::Ignored,
            None => Command::decode(entry).map_or(Outcome::Ignored, |command| self.apply_command(offset, command)),
        };
        Applied { offset, log_time_ms: self.log_time_ms, outcome, notices }
    }

    fn apply_command(&mut self, offset: Offset, command: Command) -> Outcome {
        match command {
            Command::TermStart(hash) => Outcome::Started(hash),
            Command::Open { session, log_time_ms } => {
                let refusal = self.sessions.open(offset, self.log_time_ms, session, log_time_ms).err();
                Outcome::Opened { session, refusal }
            }
            Command::Submit { session, sequence, app, body } => {
                self.apply_submit(offset, Message { session, sequence, app, body: &body }, &mut Vec::new())
            }
            Command::Tick(utc_ms) => {
                self.log_time_ms = self.log_time_ms.max(utc_ms);
                self.sessions.expire(self.log_time_ms);
                Outcome::Ticked
            }
            Command::Barrier { origin, incarnation, tag } => Outcome::Barrier { origin, incarnation, tag },
            Command::Plan { term, change } => Outcome::Planned(term == self.term && self.apply_plan(change)),
            Command::Unplan { term } => Outcome::Unplanned(term == self.term && self.plan.take().is_some()),
            Command::EndTerm { term, .. } if term != self.term => Outcome::Ignored,
            Command::EndTerm { members, behaviour, .. } => self.apply_end(members, behaviour),
        }
    }

    fn apply_submit(&mut self, offset: Offset, message: Message<'_>, notices: &mut Vec<Notice>) -> Outcome {
        let Message { session, sequence, .. } = message;
        match self.sessions.judge(offset, self.log_time_ms, session, sequence) {
            Verdict::New => self.apply_message(offset, message, notices),
            Verdict::Repeated(first, result) => Outcome::Repeated { session, sequence, first, result },
            Verdict::Refused(refusal) => Outcome::Refused { session, sequence, refusal },
        }
    }

    fn apply_message(&mut self, offset: Offset, message: Message<'_>, notices: &mut Vec<Notice>) -> Outcome {
        let Message { session, sequence, app, body } = message;
        let context = Context { offset, log_time_ms: self.log_time_ms, session };
        let mut output = match self.apps.get_mut(&app) {
            Some(app) => app.apply(context, body),
            None => crate::apps::Output::answer(*b"no such application"),
        };
        output.result.truncate(RESULT_BYTES_MAX);
        *notices = output.notices;
        self.sessions.keep(session, offset, &output.result);
        Outcome::Done { session, sequence, app, result: output.result }
    }

    fn apply_plan(&mut self, change: Change) -> bool {
        let adds_new = change.add.is_none_or(|node| !self.members.contains(node));
        let removes_old = change.remove.is_none_or(|node| self.members.contains(node));
        let changes = change.add.is_some() || change.remove.is_some();
        let possible = adds_new && removes_old && changes && self.members.changed(change).is_ok();
        if self.plan.is_some() || !possible {
            return false;
        }
        self.plan = Some(change);
        true
    }

    fn apply_end(&mut self, members: Members, behaviour: u16) -> Outcome {
        let planned = self.plan.and_then(|plan| self.members.changed(plan).ok());
        let is_planned = planned.as_ref() == Some(&members);
        if (members != self.members && !is_planned) || behaviour < self.behaviour {
            return Outcome::Ignored;
        }
        if is_planned {
            self.plan = None;
        }
        self.term = self.term.next();
        self.members = members.clone();
        self.behaviour = behaviour;
        Outcome::Ended { members, behaviour }
    }

    /// The state as a checkpoint has it.
    pub fn snapshot(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.u64(self.log_time_ms);
        out.u8(u8::from(self.plan.is_some()));
        if let Some(plan) = self.plan {
            out.bytes(Command::Plan { term: self.term, change: plan }.encode().as_bytes());
        }
        self.sessions.encode(&mut out);
        out.u16(self.apps.len() as u16);
        for (app, state) in &self.apps {
            out.u16(app.0);
            out.bytes(&state.snapshot());
        }
        out
    }

    fn read(&mut self, bytes: &[u8]) -> Result<(), ReadError> {
        let mut input = Reader::new(bytes);
        self.log_time_ms = input.u64()?;
        if input.flag()? {
            let plan = Entry::from_bytes(input.bytes(CHECKPOINT_BYTES_MAX)?).and_then(|entry| Command::decode(&entry));
            let Ok(Command::Plan { change, .. }) = plan else { return Err(ReadError::Range) };
            self.plan = Some(change);
        }
        self.sessions = Sessions::decode(&mut input)?;
        for _ in 0..input.u16()? {
            let (app, state) = (AppId(input.u16()?), input.bytes(CHECKPOINT_BYTES_MAX)?);
            let app = self.apps.get_mut(&app).ok_or(ReadError::Range)?;
            app.restore(state).map_err(|_| ReadError::Range)?;
        }
        input.end()
    }

    /// Becomes what a checkpoint has, with the same applications. After an error the machine is of no use.
    pub(crate) fn replace(&mut self, checkpoint: &crate::Checkpoint) -> Result<(), CheckpointError> {
        let apps = std::mem::take(&mut self.apps);
        *self = Self::restore(checkpoint, apps)?;
        Ok(())
    }

    /// A planted fault: messages count again when they come again.
    #[cfg(feature = "planted-faults")]
    pub(crate) fn plant_without_sessions(&mut self) {
        self.sessions.plant_forgetful();
    }
}

#[cfg(test)]
mod tests;
