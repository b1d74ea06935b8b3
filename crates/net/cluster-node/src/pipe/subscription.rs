//! What one program follows.

use crate::history::{Follower, History, HistoryError, Told};
use pipe_protocol::{Connection, Message, Name, Of};
use replicated_log::Offset;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Messages that are looked at in one go before others get their turn.
const TURN_MESSAGES: usize = 256;
/// A subscription that keeps up is told its place so often at most.
const REACHED_INTERVAL: Duration = Duration::from_secs(1);

/// One subscription.
pub(super) struct Subscription {
    of: Of,
    names: BTreeSet<Vec<u8>>,
    follower: Option<Follower>,
    /// Looked at and not delivered.
    waiting: VecDeque<Arc<Told>>,
    reached: Option<(Offset, Instant)>,
}

impl Subscription {
    /// From `position` on, after what is known to be true before it.
    pub(super) fn new(
        history: Arc<History>,
        (of, names): (Of, Vec<Name>),
        position: Offset,
        known: impl IntoIterator<Item = Told>,
    ) -> Self {
        let names = names.iter().map(|name| name.as_str().as_bytes().to_vec()).collect();
        let mut subscription = Self {
            of,
            names,
            follower: Some(Follower::new(history, position)),
            waiting: VecDeque::new(),
            reached: None,
        };
        subscription.keep(known.into_iter().map(Arc::new));
        subscription
    }

    fn keep(&mut self, told: impl IntoIterator<Item = Arc<Told>>) {
        let wanted = told
            .into_iter()
            .filter(|told| told.of == self.of && (self.names.is_empty() || self.names.contains(&told.name)));
        self.waiting.extend(wanted);
    }

    /// Whether something can be done without anything new being ordered.
    pub(super) fn has_work(&self, connection: &Connection) -> bool {
        let is_behind = self.follower.as_ref().is_some_and(Follower::is_behind);
        (!self.waiting.is_empty() || is_behind) && connection.may_deliver()
    }

    /// Delivers as much as the program may get and a turn allows.
    pub(super) async fn advance(&mut self, connection: &mut Connection) -> Result<(), HistoryError> {
        if self.waiting.is_empty() && connection.may_deliver() {
            let Some(mut follower) = self.follower.take() else { return Ok(()) };
            // It may read files, which is nothing for a task that shares its thread.
            let turn = tokio::task::spawn_blocking(move || {
                let found = follower.advance(TURN_MESSAGES);
                (follower, found)
            });
            let (follower, found) = match turn.await {
                Ok(turn) => turn,
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            };
            self.follower = Some(follower);
            self.keep(found?);
        }
        while let Some(told) = self.waiting.pop_front_if(|_| connection.may_deliver()) {
            connection.deliver(message(&told));
        }
        self.tell_place(connection);
        Ok(())
    }

    fn tell_place(&mut self, connection: &mut Connection) {
        let Some(follower) = self.follower.as_ref().filter(|follower| !follower.is_behind()) else { return };
        let (place, now) = (follower.position(), Instant::now());
        let is_due = self.reached.is_none_or(|(last, at)| last < place && now >= at + REACHED_INTERVAL);
        if self.waiting.is_empty() && is_due {
            self.reached = Some((place, now));
            connection.reach(place.0);
        }
    }
}

fn message(told: &Told) -> Message {
    // Names come from this program or another that went through the same door; an application of another version may differ.
    let name = Name::new(&String::from_utf8_lossy(&told.name)).or_else(|_| Name::new("?"));
    let name = name.unwrap_or_else(|_| unreachable!("a question mark is a name"));
    Message {
        offset: told.offset.0,
        name,
        number: told.number,
        origin: super::serve::pipe_session(told.session),
        time_s: told.time_s,
        data: told.data.clone(),
    }
}
