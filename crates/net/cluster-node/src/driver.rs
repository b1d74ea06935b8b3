//! The loop around a node: inputs, then one turn, its writes, one sync, and only then what rests on the disk.
//!
//! It shares a thread with the node's connections and its pipe, which stand still while the disk syncs: what comes meanwhile
//! waits in their sockets and shares the next turn. A thread of its own cost more in hand-offs than it gave
//! (docs/measurements/cluster.md). Whoever asks for something waits while [`INPUTS_MAX`] others wait, so nobody is dropped.

use crate::application::Applications;
use crate::clients::{Answer, Client, Waiters, Waiting, What};
use crate::folder::{Folder, FolderError, Opened};
use crate::history::History;
use identity::NodeId;
use replicated_log::apps::Apps;
use replicated_log::{
    AppId, Change, ClusterId, Event, Fatal, Members, Node, Now, Offset, OpenError, OpenRefusal, Outgoing, Sequence,
    SessionEpoch, SessionId, Status, SubmitError, Term, Token, Tuning, Turn,
};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use thiserror::Error;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout_at;

/// Inputs that wait for the node. While there are so many, whoever has another waits.
pub const INPUTS_MAX: usize = 4_096;
/// Inputs of one turn. More would make a sync cheaper for each and everybody wait longer for it.
const INPUTS_PER_TURN: usize = 1_024;
/// Tasks between a socket and here that hand on to each other (the QUIC endpoint, its connection, the stream, the pump), and some
/// to spare. Each has its turn once for each time that this one waits for all.
const TASKS_ON_THE_WAY: usize = 6;
/// A sync that takes this long is told: at the usual election time-out the node may have missed a round.
const SLOW_SYNC: Duration = Duration::from_millis(100);
/// Terms that are kept beside the present one.
const TERMS_KEPT: usize = 16;

/// How a node gets its frames to its peers.
pub trait Peers: Send {
    /// Sends a frame in the connection that it names, or drops it if that is over. It never waits.
    fn send(&mut self, frame: Outgoing);
    /// What a peer sent makes no sense: its connection is to end.
    fn refuse(&mut self, peer: NodeId, epoch: SessionEpoch);
    /// These vote from now on; nobody else needs a connection.
    fn set_members(&mut self, members: &Members);
}

/// What happens to a node.
#[derive(Debug)]
pub enum Input {
    /// A connection with an authenticated peer began.
    Connected(NodeId, SessionEpoch),
    /// It ended.
    Lost(NodeId, SessionEpoch),
    /// A frame came in it.
    Frame(NodeId, SessionEpoch, Vec<u8>),
    /// A client asks, and calls its request by this number.
    Request(Client, u64, Request),
    /// The node is to stop, after what is written is synced.
    Stop,
}

/// What a client asks for.
#[derive(Debug)]
pub enum Request {
    /// [`Node::open_session`].
    Open(SessionId),
    /// [`Node::submit`].
    Submit(SessionId, Sequence, AppId, Vec<u8>),
    /// What an application says, no older than the request.
    Read(AppId, Vec<u8>),
    /// What an application says as this node knows it.
    ReadLocal(AppId, Vec<u8>),
    /// An application's whole state as this node knows it.
    Snapshot(AppId),
    /// [`Node::change_members`].
    Change(Change),
    /// [`Node::withdraw_change`].
    Withdraw,
    /// [`Node::end_term`].
    EndTerm,
}

/// Why a node does not begin.
#[derive(Debug, Error)]
pub enum StartError {
    /// Its folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// What is in it.
    #[error(transparent)]
    Open(#[from] OpenError),
}

/// Why a node ended.
#[derive(Debug, Error)]
pub enum Stopped {
    /// It was told to.
    #[error("it was told to stop")]
    Asked,
    /// The disk.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// Something that it cannot go on with.
    #[error(transparent)]
    Fatal(#[from] Fatal),
    /// A defect.
    #[error("the node's task ended unexpectedly: this is a fault of the program, please report it")]
    Panicked,
}

/// What a node shows of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// How it stands.
    pub status: Status,
    /// Who votes.
    pub members: Members,
    /// Who joins or leaves next.
    pub plan: Option<Change>,
    /// Syncs since the start.
    pub syncs: u64,
    /// What all of them took.
    pub sync_time: Duration,
    /// The longest of them.
    pub longest_sync: Duration,
    /// Entries that were applied since the start.
    pub applied: u64,
}

/// A node that runs. Dropping it leaves it running; send [`Input::Stop`] to end it.
#[derive(Debug, Clone)]
pub struct Running {
    /// What happens to it.
    pub inputs: mpsc::Sender<Input>,
    /// What was ordered.
    pub history: Arc<History>,
    /// How it stands.
    pub view: watch::Receiver<View>,
}

impl Running {
    /// Asks for something and waits for the answer; `None` when the node has stopped.
    pub async fn ask(&self, request: Request) -> Option<Answer> {
        let (answers, mut answered) = mpsc::unbounded_channel();
        self.inputs.send(Input::Request(Client { answers }, 0, request)).await.ok()?;
        answered.recv().await.map(|(_, answer)| answer)
    }
}

/// Opens the node in `folder` and runs it as a task; `ended` is called when it has ended. It needs a tokio runtime with time
/// around it, of one thread that nothing else is urgent on: that stands still while the disk syncs.
///
/// # Errors
/// When the folder cannot be opened or the node in it not begun.
pub fn start(
    folder: (Folder, Opened),
    identity: (ClusterId, NodeId),
    incarnation: u64,
    tuning: Tuning,
    (applications, live): (Applications, Apps),
    peers: impl Peers + 'static,
    ended: impl FnOnce(Stopped) + Send + 'static,
) -> Result<Running, StartError> {
    let (folder, opened) = folder;
    let archive = folder.archive();
    let log = (opened.recovered, opened.reader);
    let node = Node::open(identity, incarnation, tuning, &opened.checkpoint, log, applications.live(live))?;
    // The node begins at its term's checkpoint and applies its log again.
    let history = Arc::new(History::new(archive, node.status().next, applications));
    let (inputs, waiting) = mpsc::channel(INPUTS_MAX);
    let (shown, view) = watch::channel(View {
        status: node.status(),
        members: node.members().clone(),
        plan: None,
        syncs: 0,
        sync_time: Duration::ZERO,
        longest_sync: Duration::ZERO,
        applied: 0,
    });
    let mut driver = Driver {
        node,
        folder,
        peers,
        clock: Instant::now(),
        waiters: Waiters::default(),
        history: history.clone(),
        shown,
        syncs: Syncs::default(),
        applied: 0,
    };
    driver.peers.set_members(driver.node.members());
    tokio::spawn(async move {
        let Err(why) = driver.run(waiting).await;
        // Whoever hears of the end may open the folder again.
        drop(driver);
        ended(why);
    });
    Ok(Running { inputs, history, view })
}

struct Driver<P> {
    node: Node,
    folder: Folder,
    peers: P,
    clock: Instant,
    waiters: Waiters,
    history: Arc<History>,
    shown: watch::Sender<View>,
    syncs: Syncs,
    applied: u64,
}

#[derive(Debug, Default)]
struct Syncs {
    count: u64,
    time: Duration,
    longest: Duration,
}

impl Syncs {
    fn count(&mut self, took: Duration) {
        self.count += 1;
        self.time += took;
        self.longest = self.longest.max(took);
    }
}

/// It ends only with a reason.
type Never = std::convert::Infallible;

impl<P: Peers> Driver<P> {
    async fn run(&mut self, mut inputs: mpsc::Receiver<Input>) -> Result<Never, Stopped> {
        loop {
            // What came while the disk was syncing is heard first: it shares the turn, and a heartbeat that lay in the socket
            // is not missed when the engine's clock steps.
            for _ in 0..TASKS_ON_THE_WAY {
                tokio::task::yield_now().await;
            }
            let deadline =
                self.node.poll_deadline().map_or(self.clock + Duration::from_secs(3_600), |at| self.clock + at);
            let first = timeout_at(deadline.into(), inputs.recv()).await;
            if let Ok(first) = first {
                self.handle(first.unwrap_or(Input::Stop))?;
                for _ in 1..INPUTS_PER_TURN {
                    let Ok(input) = inputs.try_recv() else { break };
                    self.handle(input)?;
                }
            }
            self.node.handle_timeout(self.now());
            while let Some(turn) = self.node.poll_turn(self.now()) {
                self.carry_out(turn)?;
            }
            self.show();
        }
    }

    fn now(&self) -> Now {
        // A clock before 1970 is a clock that was never set.
        let utc = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { monotonic: self.clock.elapsed(), utc_ms: u64::try_from(utc.as_millis()).unwrap_or(u64::MAX) }
    }

    fn handle(&mut self, input: Input) -> Result<(), Stopped> {
        let now = self.now();
        match input {
            Input::Connected(peer, epoch) => self.node.handle_session(now, peer, epoch),
            Input::Lost(peer, epoch) => self.node.handle_session_end(peer, epoch),
            Input::Frame(peer, epoch, bytes) => {
                if let Err(error) = self.node.handle_frame(now, peer, &bytes) {
                    tracing::warn!(%error, "a peer's frame is refused");
                    self.node.handle_session_end(peer, epoch);
                    self.peers.refuse(peer, epoch);
                }
            }
            Input::Request(client, tag, request) => {
                self.handle_request(Waiting { client, tag, what: What::Control }, request)
            }
            Input::Stop => {
                self.folder.sync()?;
                return Err(Stopped::Asked);
            }
        }
        Ok(())
    }

    fn handle_request(&mut self, mut waiting: Waiting, request: Request) {
        let offset = self.node.status().next;
        let ask = match request {
            Request::ReadLocal(app, question) => {
                let result = self.node.machine().app(app).map(|app| app.query(&question)).unwrap_or_default();
                return waiting.answer(Answer::Read { offset, result });
            }
            Request::Snapshot(app) => {
                let result = self.node.machine().app(app).map(|app| app.snapshot()).unwrap_or_default();
                return waiting.answer(Answer::Read { offset, result });
            }
            Request::Open(session) => {
                waiting.what = What::Open { session, is_second_try: false };
                Ask::Open(session)
            }
            Request::Submit(session, sequence, app, body) => {
                waiting.what = What::Submit;
                Ask::Submit(session, sequence, app, body)
            }
            Request::Read(app, question) => {
                waiting.what = What::Read(app, question);
                Ask::Read
            }
            Request::Change(change) => Ask::Change(change),
            Request::Withdraw => Ask::Withdraw,
            Request::EndTerm => Ask::EndTerm,
        };
        let token = self.waiters.insert(waiting);
        if let Err(error) = ask.put(&mut self.node, token) {
            self.answer(token, |_, _| not_taken(error));
        }
    }

    fn carry_out(&mut self, turn: Turn) -> Result<(), Stopped> {
        let Turn { early, writes, sync, unsynced } = turn;
        early.into_iter().for_each(|frame| self.peers.send(frame));
        for write in writes {
            self.folder.write(write)?;
        }
        if sync {
            let begun = Instant::now();
            self.folder.sync()?;
            let took = begun.elapsed();
            self.syncs.count(took);
            if took >= SLOW_SYNC {
                tracing::warn!(took_ms = took.as_millis(), "slow disk: a sync of the log held this node up");
            }
        }
        let released = self.node.handle_saved(unsynced);
        released.frames.into_iter().for_each(|frame| self.peers.send(frame));
        let told = released.events.into_iter().try_for_each(|event| self.tell(event));
        self.history.wake();
        told
    }

    fn tell(&mut self, event: Event) -> Result<(), Stopped> {
        match event {
            Event::Opened { token, refusal } => self.tell_opened(token, refusal),
            Event::Acknowledged { token, offset, result } => self.answer(token, |_, _| Answer::Done { offset, result }),
            Event::Refused { token, refusal } => self.answer(token, |_, _| Answer::Refused(refusal)),
            Event::Busy { token, retry_after } => self.answer(token, |_, _| Answer::Busy(retry_after)),
            Event::ReadReady { token, offset } => self.answer(token, |node, waiting| match &waiting.what {
                What::Read(app, question) => {
                    let result = node.machine().app(*app).map(|app| app.query(question)).unwrap_or_default();
                    Answer::Read { offset, result }
                }
                What::Opened(session) => {
                    Answer::Opened { next: node.machine().next_sequence(*session).unwrap_or(Sequence(1)) }
                }
                _ => Answer::Controlled(false),
            }),
            Event::Controlled { token, done } => self.answer(token, |_, _| Answer::Controlled(done)),
            Event::Applied(applied) => {
                self.applied += 1;
                self.history.push(applied);
            }
            Event::TermBegan { term, base, members, skipped } => self.begin_term(term, base, &members, skipped),
            Event::Leader(leader) => tracing::info!(leader = ?leader.map(|leader| leader.to_string()), "leader"),
            Event::Left => tracing::info!("this node votes no more; stop it when all others have begun the term"),
            Event::Stopped(fatal) => return Err(fatal.into()),
        }
        Ok(())
    }

    fn tell_opened(&mut self, token: Token, refusal: Option<OpenRefusal>) {
        // It bore the time of a log that had just begun, or that this node knew the beginning of: now it knows better.
        if refusal == Some(OpenRefusal::Late)
            && let Some(session) = self.waiters.take_second_try(token)
            && self.node.open_session(token, session).is_ok()
        {
            return;
        }
        if let Some(refusal) = refusal {
            return self.answer(token, |_, _| Answer::NotOpened(refusal));
        }
        // What opened it may be an opening of long ago, to which this node only came now: what the session published since
        // then, elsewhere, has taken no effect here. A program that is told such a number takes its session for forgotten.
        self.waiters.opened(token);
        if let Err(error) = self.node.read(token) {
            self.answer(token, |_, _| not_taken(error));
        }
    }

    fn begin_term(&mut self, term: Term, base: Offset, members: &Members, skipped: bool) {
        tracing::info!(term = term.0, base = base.0, members = members.count(), skipped, "a term began");
        if skipped {
            self.history.skip_to(base);
        }
        self.peers.set_members(members);
        // In front of what was missed nothing can be told without a hole.
        if let Err(error) = self.folder.prune(if skipped { 0 } else { TERMS_KEPT }) {
            tracing::warn!(%error, "an old term is left over; it goes at the beginning of the next one");
        }
    }

    fn answer(&mut self, token: Token, answer: impl FnOnce(&Node, &Waiting) -> Answer) {
        if let Some(waiting) = self.waiters.take(token) {
            let answer = answer(&self.node, &waiting);
            waiting.answer(answer);
        }
    }

    fn show(&self) {
        let view = View {
            status: self.node.status(),
            members: self.node.members().clone(),
            plan: self.node.machine().plan(),
            syncs: self.syncs.count,
            sync_time: self.syncs.time,
            longest_sync: self.syncs.longest,
            applied: self.applied,
        };
        self.shown.send_replace(view);
    }
}

fn not_taken(error: SubmitError) -> Answer {
    match error {
        SubmitError::Busy { retry_after } => Answer::Busy(retry_after),
        other => Answer::NotTaken(other),
    }
}

/// A request that waits for an event.
enum Ask {
    Open(SessionId),
    Submit(SessionId, Sequence, AppId, Vec<u8>),
    Read,
    Change(Change),
    Withdraw,
    EndTerm,
}

impl Ask {
    fn put(self, node: &mut Node, token: Token) -> Result<(), SubmitError> {
        match self {
            Self::Open(session) => node.open_session(token, session),
            Self::Submit(session, sequence, app, body) => node.submit(token, (session, sequence), app, &body),
            Self::Read => node.read(token),
            Self::Change(change) => node.change_members(token, change),
            Self::Withdraw => node.withdraw_change(token),
            Self::EndTerm => node.end_term(token),
        }
    }
}
