//! Commands on their way through the service to the log.

use super::Service;
use crate::member::utc_ms;
use directory_stream::Bucket;
use relay_directory::{Command, CommandOutcome, Directory, Refusal};
use std::sync::{Arc, PoisonError};
use tokio::task::spawn_blocking;
use tokio::time::Instant;

const TOO_FAST: &str = "more commands in a second than this member takes; try again";

impl Service {
    /// Takes a command, or puts it off, and counts what becomes of it.
    pub(super) async fn submit(&self, own: &mut Bucket, bytes: Vec<u8>) -> CommandOutcome {
        let now = Instant::now();
        let fits = own.take(now) && self.commands.lock().unwrap_or_else(PoisonError::into_inner).take(now);
        if !fits {
            self.counts.put_off();
            return CommandOutcome::try_again(TOO_FAST);
        }
        let outcome = self.order(bytes).await;
        self.counts.command(&outcome);
        outcome
    }

    async fn order(&self, bytes: Vec<u8>) -> CommandOutcome {
        let Ok(command) = Command::decode(&bytes) else { return Refusal::Malformed.into() };
        if let Err(refusal) = self.directory.look(|directory| judge(directory, &command)) {
            return refusal.into();
        }
        let charter = self.directory.look(|directory| Arc::clone(directory.charter()));
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
        let held = described.map(|announcement| {
            // Whoever takes it to the log: an edition without it is not signed here. What does not count is refused by the log too.
            let name = (announcement.node_id(), announcement.announcement().published_ms);
            let _ = self.directory.look(|directory| self.signer.lock().hold(utc_ms(), directory, announcement));
            name
        });
        let outcome = self.orders.order(bytes).await;
        if let Some((node, published_ms)) = held {
            self.signer.note_outcome(&node, published_ms, &outcome);
        }
        outcome
    }
}

/// What the log would surely refuse does not go there: it costs every member a signature and a place.
fn judge(directory: &Directory, command: &Command) -> Result<(), Refusal> {
    let members_only = |member| if directory.electorate().contains(member) { Ok(()) } else { Err(Refusal::NotMember) };
    match command {
        Command::Describe(announcement) => {
            directory.judge(announcement.announcement())?;
            if directory.is_over_quota(&announcement.node_id()) { Err(Refusal::Quota) } else { Ok(()) }
        }
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
