//! The way of a command to the log: one session of this node, in which commands have numbers.

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use cluster_node::clients::{Answer, Client};
use cluster_node::driver::{Input, Request, Running};
use relay_directory::{CommandOutcome, DIRECTORY};
use replicated_log::{RESULTS_KEPT, Sequence, SessionId};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};

/// Commands that wait for their turn. For one more, whoever has it is told to try again.
pub const WAITING_MAX: usize = 256;
/// Whoever has a command is told to try again when it was not ordered in this time: without a majority nothing is.
pub const ORDER_PATIENCE: Duration = Duration::from_secs(5);
/// A session that did not open is tried again after this time.
const REOPEN_AFTER: Duration = Duration::from_millis(250);
/// Commands that the log has at once: it keeps the answers to so many of a session.
const IN_FLIGHT_MAX: usize = RESULTS_KEPT;

const LATE: &str = "the members did not order it in time; no majority of them is there, most likely. Try again";
const BUSY: &str = "too many commands wait; try again";

struct Job {
    command: Vec<u8>,
    reply: oneshot::Sender<CommandOutcome>,
}

/// Takes commands to the log. Clones use the same session.
#[derive(Debug, Clone)]
pub(crate) struct Orders {
    jobs: mpsc::Sender<Job>,
}

impl Orders {
    /// The handle, and what does the work until the node has stopped.
    pub(crate) fn new(node: Running) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (jobs, waiting) = mpsc::channel(WAITING_MAX);
        (Self { jobs }, Ordering::new(node, waiting).run())
    }

    /// Orders a command and says what became of it. A command that was not ordered in time may still be.
    pub(crate) async fn order(&self, command: Vec<u8>) -> CommandOutcome {
        let (reply, answered) = oneshot::channel();
        if self.jobs.try_send(Job { command, reply }).is_err() {
            return CommandOutcome::try_again(BUSY);
        }
        match timeout(ORDER_PATIENCE, answered).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) | Err(_) => CommandOutcome::try_again(LATE),
        }
    }
}

enum Session {
    /// It is tried at this time.
    Closed(Instant),
    /// Asked for with this tag.
    Opening(SessionId, u64),
    /// The number of its next message.
    Open(SessionId, u64),
}

struct Ordering {
    node: Running,
    jobs: mpsc::Receiver<Job>,
    client: Client,
    answers: mpsc::UnboundedReceiver<(u64, Answer)>,
    session: Session,
    /// By tag. Tags are never used twice, so an answer to an earlier session's message is nobody's.
    in_flight: BTreeMap<u64, oneshot::Sender<CommandOutcome>>,
    last_tag: u64,
}

/// The node has stopped.
struct Gone;

impl Ordering {
    fn new(node: Running, jobs: mpsc::Receiver<Job>) -> Self {
        let (sender, answers) = mpsc::unbounded_channel();
        let client = Client { answers: sender };
        let session = Session::Closed(Instant::now());
        Self { node, jobs, client, answers, session, in_flight: BTreeMap::new(), last_tag: 0 }
    }

    async fn run(mut self) {
        while let Ok(()) = self.step().await {}
    }

    async fn step(&mut self) -> Result<(), Gone> {
        let takes = matches!(self.session, Session::Open(..)) && self.in_flight.len() < IN_FLIGHT_MAX;
        let reopen = match self.session {
            Session::Closed(at) => Some(at),
            Session::Opening(..) | Session::Open(..) => None,
        };
        tokio::select! {
            answer = self.answers.recv() => {
                let (tag, answer) = answer.ok_or(Gone)?;
                self.handle_answer(tag, answer);
                Ok(())
            }
            job = self.jobs.recv(), if takes => self.submit(job.ok_or(Gone)?).await,
            () = sleep_until(reopen.unwrap_or_else(Instant::now)), if reopen.is_some() => self.open().await,
        }
    }

    async fn ask(&mut self, request: Request) -> Result<u64, Gone> {
        self.last_tag += 1;
        let input = Input::Request(self.client.clone(), self.last_tag, request);
        self.node.inputs.send(input).await.map_err(|_| Gone)?;
        Ok(self.last_tag)
    }

    async fn open(&mut self) -> Result<(), Gone> {
        let mut drawn = [0; 16];
        let session = SystemRandom::new().fill(&mut drawn).ok().map(|()| u128::from_ne_bytes(drawn));
        let Some(session) = session.and_then(|drawn| SessionId::new(drawn).ok()) else {
            self.close();
            return Ok(());
        };
        let tag = self.ask(Request::Open(session)).await?;
        self.session = Session::Opening(session, tag);
        Ok(())
    }

    async fn submit(&mut self, job: Job) -> Result<(), Gone> {
        // Whoever waited for too long was told so, and will say it again.
        if job.reply.is_closed() {
            return Ok(());
        }
        let Session::Open(session, number) = self.session else { return Ok(()) };
        self.session = Session::Open(session, number + 1);
        let tag = self.ask(Request::Submit(session, Sequence(number), DIRECTORY, job.command)).await?;
        self.in_flight.insert(tag, job.reply);
        Ok(())
    }

    fn handle_answer(&mut self, tag: u64, answer: Answer) {
        if let Session::Opening(session, asked) = self.session
            && asked == tag
        {
            match answer {
                Answer::Opened { next } => self.session = Session::Open(session, next.0),
                other => {
                    tracing::debug!(answer = ?other, "no session for commands yet");
                    self.close();
                }
            }
            return;
        }
        let Some(reply) = self.in_flight.remove(&tag) else { return };
        let outcome = match answer {
            Answer::Done { result, .. } => CommandOutcome::of_result(&result),
            other => {
                // What comes after a number that did not count does not count either: all are said again in another session.
                tracing::debug!(answer = ?other, "a command was not taken");
                self.close();
                CommandOutcome::try_again(BUSY)
            }
        };
        // Whoever asked may be gone.
        let _ = reply.send(outcome);
    }

    /// Commands say for themselves whether they count, so nothing is lost but time.
    fn close(&mut self) {
        self.session = Session::Closed(Instant::now() + REOPEN_AFTER);
        for (_, reply) in std::mem::take(&mut self.in_flight) {
            let _ = reply.send(CommandOutcome::try_again(BUSY));
        }
    }
}
