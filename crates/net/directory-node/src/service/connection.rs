//! One program at the service.

use super::{COMMANDS_A_SECOND, IDLE_MAX, Shared, WRITE_PATIENCE};
use crate::limits::Bucket;
use crate::member::utc_ms;
use relay_directory::{
    ANSWER_BYTES_MAX, Command, CommandOutcome, Directory, FrameReader, Refusal, Request, ServiceAnswer, ServiceRequest,
    frame,
};
use std::io;
use std::sync::{Arc, PoisonError};
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// What is read at once: the requests that a client may have on the way, and not much more.
const READ_BYTES: usize = 64 * 1024;
const TOO_FAST: &str = "more commands in a second than this member takes; try again";

/// Serves requests one after the other, so a stream is not read while one is worked on.
pub(super) async fn serve(mut stream: UnixStream, shared: Arc<Shared>) -> io::Result<()> {
    let mut reader = FrameReader::requests();
    let mut commands = Bucket::new(COMMANDS_A_SECOND, Instant::now());
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let Ok(count) = timeout(IDLE_MAX, stream.read(&mut buffer)).await else { return Ok(()) };
        let mut bytes = &buffer[..count?];
        if bytes.is_empty() {
            return Ok(());
        }
        while !bytes.is_empty() {
            let taken = reader.handle_bytes(bytes).map_err(invalid)?;
            bytes = &bytes[taken..];
            let Some(request) = reader.poll_frame() else { continue };
            let request = ServiceRequest::decode(&request).map_err(invalid)?;
            let (answer, _room) = answer(&shared, &mut commands, request).await?;
            write(&mut stream, &answer).await?;
        }
    }
}

fn invalid(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// As long as some of it is taken now and then.
async fn write(stream: &mut UnixStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = timeout(WRITE_PATIENCE, stream.write(bytes)).await.map_err(|_| io::ErrorKind::TimedOut)??;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        bytes = &bytes[written..];
    }
    Ok(())
}

/// An answer in its frame, and the room that it has until it is written.
async fn answer(
    shared: &Arc<Shared>,
    commands: &mut Bucket,
    request: ServiceRequest,
) -> io::Result<(Vec<u8>, Option<OwnedSemaphorePermit>)> {
    let answer = match request {
        ServiceRequest::Fetch(request) => return fetch(shared, request).await,
        ServiceRequest::Submit(command) => ServiceAnswer::Submit(submit(shared, commands, command).await),
        ServiceRequest::Standing => ServiceAnswer::Standing(shared.directory.look(Directory::standing)),
        ServiceRequest::Members => ServiceAnswer::Members(shared.directory.look(Directory::members_standing)),
    };
    Ok((frame(&answer.encode()), None))
}

async fn fetch(shared: &Arc<Shared>, request: Request) -> io::Result<(Vec<u8>, Option<OwnedSemaphorePermit>)> {
    // Nobody knows its length yet, so there has to be room for the longest one.
    let longest = kib(ANSWER_BYTES_MAX);
    let room = Arc::clone(&shared.answers).acquire_many_owned(longest).await.map_err(io::Error::other)?;
    let directory = shared.directory.clone();
    let answer = spawn_blocking(move || frame(&directory.answer(&request).encode())).await.map_err(io::Error::other)?;
    let mut room = Some(room);
    let spare = longest.saturating_sub(kib(answer.len()));
    drop(room.as_mut().and_then(|room| room.split(spare as usize)));
    Ok((answer, room))
}

fn kib(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(1_024)).unwrap_or(u32::MAX)
}

async fn submit(shared: &Arc<Shared>, own: &mut Bucket, bytes: Vec<u8>) -> CommandOutcome {
    let now = Instant::now();
    let fits = own.take(now) && shared.commands.lock().unwrap_or_else(PoisonError::into_inner).take(now);
    if !fits {
        return CommandOutcome::try_again(TOO_FAST);
    }
    let Ok(command) = Command::decode(&bytes) else { return Refusal::Malformed.into() };
    if let Err(refusal) = shared.directory.look(|directory| judge(directory, &command)) {
        return refusal.into();
    }
    let charter = shared.directory.look(|directory| Arc::clone(directory.charter()));
    let described = match &command {
        Command::Describe(announcement) => Some(Arc::clone(announcement)),
        _ => None,
    };
    // Signatures are most of the work, and the log's thread has other things to do.
    let checked = spawn_blocking(move || command.check(&charter, charter.network_id()).map(|_| ())).await;
    match checked {
        Ok(Ok(())) => {}
        Ok(Err(refusal)) => return refusal.into(),
        Err(_) => return CommandOutcome::try_again("the member could not look at it; try again"),
    }
    if let Some(announcement) = described {
        // Whoever takes it to the log: an edition without it is not signed here. What does not count is refused by the log too.
        let _ = shared.directory.look(|directory| shared.signer.lock().hold(utc_ms(), directory, announcement));
    }
    shared.orders.order(bytes).await
}

/// What the log would surely refuse does not go there: it costs every member a signature and a place.
fn judge(directory: &Directory, command: &Command) -> Result<(), Refusal> {
    let members_only = |member| if directory.electorate().contains(member) { Ok(()) } else { Err(Refusal::NotMember) };
    match command {
        Command::Describe(announcement) => directory.judge(announcement.announcement()),
        Command::Withdraw(said) => directory.admission(&said.node).map(|_| ()).ok_or(Refusal::NotAdmitted),
        // A greater number may be the next one, by what this member has not heard yet.
        Command::Govern(order) if order.number < directory.next_order() => {
            Err(Refusal::OrderNumber { expected: directory.next_order() })
        }
        Command::Govern(_) => Ok(()),
        Command::Tick(tick) => members_only(&tick.member),
        Command::Sign(vote) => members_only(&vote.member),
        Command::PublishService(service) => members_only(&service.sponsor),
    }
}
