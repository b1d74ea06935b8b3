//! A program that follows all topics at one node, over as many connections as it takes.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use pipe_protocol::{Answer, ErrorCode, Form, From, Of, Refusal, Request, SessionId};

use super::connection::Connection;
use super::log_witness::Told;
use super::publisher::Broken;
use super::run::{PATIENCE, Run};

const REST: Duration = Duration::from_millis(50);
/// Messages that it lets come ahead.
const CREDIT: u32 = 256;

/// Follows from the first message on until it was told the last one of the run.
pub(crate) fn follow(run: &Run, pipe: &Path, by: &str, form: Form) -> anyhow::Result<Told> {
    let mut told = Told { by: by.to_owned(), messages: Vec::new(), reached: 0, refused: Vec::new() };
    let mut deadline = None;
    loop {
        if let Err(error) = listen(run, pipe, form, &mut told) {
            ensure!(!error.is::<Broken>(), "{by}: {error:#}");
        }
        if let Some(last) = run.last() {
            if told.reached > last {
                return Ok(told);
            }
            let deadline = *deadline.get_or_insert_with(|| Instant::now() + PATIENCE);
            ensure!(Instant::now() < deadline, "{by} has come to {}, not behind {last}", told.reached);
        }
        std::thread::sleep(REST);
    }
}

/// Follows in one connection until it ends or the last message came.
fn listen(run: &Run, pipe: &Path, form: Form, told: &mut Told) -> anyhow::Result<()> {
    let mut connection = Connection::open(pipe, SessionId::from_bytes([0xff; 16]), form)?;
    // Not from the oldest on: a node that took over a checkpoint begins there, and then it has to say so.
    let from = From::Offset(told.reached);
    let subscribe = Request::Subscribe { of: Of::Topics, names: Vec::new(), from };
    connection.say(&[subscribe, Request::Credit { count: CREDIT }])?;
    let (mut used, mut heard) = (0, Instant::now());
    loop {
        if run.last().is_some_and(|last| told.reached > last || heard.elapsed() > PATIENCE / 4) {
            return Ok(());
        }
        let Some(answer) = connection.hear()? else { continue };
        heard = Instant::now();
        match answer {
            Answer::Message(message) => {
                told.reached = told.reached.max(message.offset + 1);
                told.messages.push(message);
                used += 1;
                if used == CREDIT / 2 {
                    connection.say(&[Request::Credit { count: used }])?;
                    used = 0;
                }
            }
            Answer::Reached { offset } => told.reached = told.reached.max(offset),
            Answer::Error(Refusal { code: ErrorCode::Horizon, expected: Some(kept), .. }) if kept > told.reached => {
                told.refused.push(told.reached..kept);
                told.reached = kept;
                bail!("what is in front of {kept} is not kept here");
            }
            Answer::Error(refusal) if refusal.code == ErrorCode::Unavailable => bail!("{}", refusal.text),
            other => bail!(Broken(format!("a follower at {} is told {other:?}", told.reached))),
        }
    }
}
