//! `hushwire cluster sub`: messages of topics, one a line.

use super::link::{Link, LinkError, Waits};
use super::place::Place;
use crate::args::cluster::ClusterSubArgs;
use crate::commands::status::runtime;
use crate::failure::{Code, Failure, Outcome};
use crate::terminal;
use pipe_protocol::{Answer, ErrorCode, Form, From, Message, Of, Request, encode};
use std::io::{BufWriter, ErrorKind, StdoutLock, Write};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// Messages that the node may send before any of them is printed. Credit is given back in halves of it, when they are
/// printed: who reads slowly has no more than this on the way.
const CREDIT: u32 = 256;
/// After a connection that stood for so long, patience begins anew.
const STEADY: Duration = Duration::from_secs(1);

pub(super) fn run(args: &ClusterSubArgs) -> Outcome {
    let mut printer = Printer {
        out: BufWriter::new(std::io::stdout().lock()),
        is_json: args.json,
        left: args.count,
        place: Place::new(args.from),
    };
    let outcome = runtime()?.block_on(follow(args, &mut printer));
    let flushed = printer.out.flush();
    match (&outcome, flushed) {
        (Err(End::Done), Ok(())) => {}
        // Whoever read has gone away: that is their way to say that it is enough.
        (_, Err(error)) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
        (_, Err(error)) => return Err(Failure::io("cannot write the messages", &error)),
        (_, Ok(())) => {}
    }
    if let From::Offset(next) = printer.place.from() {
        terminal::complain(&format!("Go on with --from {next}\n"));
    }
    match outcome {
        Err(End::Failed(failure)) => Err(failure),
        Ok(()) | Err(End::Done) => Ok(()),
    }
}

/// Why nothing more is printed.
enum End {
    Done,
    Failed(Failure),
}

/// Why one connection was left.
enum Left {
    Link(LinkError),
    End(End),
}

impl std::convert::From<LinkError> for Left {
    fn from(error: LinkError) -> Self {
        Self::Link(error)
    }
}

async fn follow(args: &ClusterSubArgs, printer: &mut Printer<'_>) -> Result<(), End> {
    let patience = Duration::from_secs(args.patience);
    let mut waits = Waits::new();
    let mut is_first = true;
    let mut away_since = Instant::now();
    loop {
        let opened = timeout(patience, Link::open(&args.pipe.path, None)).await;
        let error = match opened {
            Err(_) => LinkError::Lost(None),
            Ok(Err(error)) => error,
            Ok(Ok((mut link, _))) => {
                is_first = false;
                let (place, opened) = (printer.place.from(), Instant::now());
                let left = follow_link(args, printer, &mut link).await;
                if printer.place.from() != place || opened.elapsed() >= STEADY {
                    (waits, away_since) = (Waits::new(), Instant::now());
                }
                match left {
                    Left::End(end) => return Err(end),
                    Left::Link(error) => error,
                }
            }
        };
        let least = error.retry().filter(|_| !is_first || error.shows_a_node());
        let wait = least.map(|least| waits.next(least)).filter(|wait| away_since.elapsed() + *wait <= patience);
        let Some(wait) = wait else { return Err(End::Failed(failure(args, &error))) };
        printer.flush()?;
        sleep(wait).await;
    }
}

fn failure(args: &ClusterSubArgs, error: &LinkError) -> Failure {
    let failure = error.failure("follow the topics", &args.pipe.path);
    match error {
        LinkError::Refused(refusal) if refusal.code == ErrorCode::Horizon => match refusal.expected {
            Some(oldest) => failure.remedy(format!("begin with --from {oldest}, the oldest that this node keeps")),
            None => failure.remedy("begin with --from oldest"),
        },
        _ => failure,
    }
}

/// Follows over one connection, behind what was printed already.
async fn follow_link(args: &ClusterSubArgs, printer: &mut Printer<'_>, link: &mut Link) -> Left {
    link.say(&Request::Subscribe { of: Of::Topics, names: args.topics.clone(), from: printer.place.from() });
    link.say(&Request::Credit { count: CREDIT });
    let mut used = 0;
    loop {
        if let Err(left) = turn(printer, link, &mut used).await {
            return left;
        }
    }
}

async fn turn(printer: &mut Printer<'_>, link: &mut Link, used: &mut u32) -> Result<(), Left> {
    while let Some(answer) = link.hear()? {
        match answer {
            Answer::Message(message) => {
                *used += 1;
                printer.print(message).map_err(Left::End)?;
            }
            Answer::Reached { offset } => printer.place.reach(offset),
            Answer::Error(refusal) => return Err(Left::Link(LinkError::Refused(refusal))),
            // Nothing of this was asked for.
            Answer::Welcome { .. } | Answer::Done { .. } | Answer::Value { .. } => {}
        }
        if *used >= CREDIT / 2 {
            // A reader that is slow makes this wait, and the node with it, for this connection alone.
            printer.flush().map_err(Left::End)?;
            link.say(&Request::Credit { count: std::mem::take(used) });
        }
    }
    printer.flush().map_err(Left::End)?;
    link.exchange().await.map_err(Left::Link)
}

/// Writes messages to stdout.
struct Printer<'a> {
    out: BufWriter<StdoutLock<'a>>,
    is_json: bool,
    /// Messages until the end.
    left: Option<u64>,
    place: Place,
}

impl Printer<'_> {
    fn print(&mut self, message: Message) -> Result<(), End> {
        match self.place.take(&message) {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(hole) => {
                let failure = Failure::new(Code::Data, format!("the node leaves something out: {hole}"));
                return Err(End::Failed(failure.remedy("follow at another node, and report this one")));
            }
        }
        let line = if self.is_json {
            let mut line = Vec::new();
            encode(&Answer::Message(message), Form::Lines, &mut line);
            line
        } else {
            let mut line = message.data.unwrap_or_default();
            line.push(b'\n');
            line
        };
        self.out.write_all(&line).map_err(|error| ended(&error))?;
        if let Some(left) = &mut self.left {
            *left -= 1;
            if *left == 0 {
                return Err(End::Done);
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), End> {
        self.out.flush().map_err(|error| ended(&error))
    }
}

/// Whoever read has gone away, which is their way to say that it is enough; or writing failed.
fn ended(error: &std::io::Error) -> End {
    if error.kind() == ErrorKind::BrokenPipe {
        return End::Done;
    }
    End::Failed(Failure::io("cannot write the messages", error))
}
