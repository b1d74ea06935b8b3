//! What a member does by itself: it says the time, signs what it may, keeps what it has promised, and takes to the log what the log
//! should have had.

use crate::grid::Grid;
use crate::node::Stopped;
use crate::orders::{ORDER_PATIENCE, Orders};
use crate::shared::SharedDirectory;
use crate::state_files::{StateFiles, StateFilesError};
use identity::NodeId;
use network_document::{EditionName, SignedAnnouncement};
use relay_directory::{CODE_TRY_AGAIN, Command, CommandOutcome, Refusal, SignRefusal, Signer, Vow};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::sleep;

/// A signature that was not ordered is sent again after this time.
const SIGN_AGAIN_AFTER: Duration = Duration::from_millis(500);
/// An edition that it does not sign is looked at again after this time: what it lacks may have been put out meanwhile.
const RECONSIDER_AFTER: Duration = Duration::from_millis(250);
/// The clock may be put right at any time, so nobody sleeps for longer towards a time of day.
const SLEEP_MAX: Duration = Duration::from_secs(1);

/// Descriptors that the log never had are looked for so often.
const LOOK_FOR_UNORDERED: Duration = Duration::from_secs(1);
/// Of these, as many as are taken there at once; others wait for the next look.
const UNORDERED_MAX: usize = 16;
/// What is held is written so often at most.
const KEEP_HELD_EVERY: Duration = Duration::from_secs(1);

/// This member's part: what it holds and what it promised. The service hands it descriptors.
#[derive(Debug, Clone)]
pub(crate) struct SharedSigner(Arc<Mutex<Signer>>);

impl SharedSigner {
    pub(crate) fn new(signer: Signer) -> Self {
        Self(Arc::new(Mutex::new(signer)))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Signer> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what the log made of a descriptor that is held. What it refused it refused for every member alike, so no edition has to
    /// have it.
    pub(crate) fn note_outcome(&self, node: &NodeId, published_ms: u64, outcome: &CommandOutcome) {
        if !outcome.is_done() && outcome.code != CODE_TRY_AGAIN {
            self.lock().forget(node, published_ms);
        }
    }
}

/// Milliseconds since 1970 UTC, by this machine's clock. One before 1970 was never set.
pub(crate) fn utc_ms() -> u64 {
    let utc = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(utc.as_millis()).unwrap_or(u64::MAX)
}

pub(crate) struct Member {
    pub(crate) directory: SharedDirectory,
    pub(crate) signer: SharedSigner,
    pub(crate) orders: Orders,
    pub(crate) files: StateFiles,
}

/// What it is about to do.
struct Going {
    member: NodeId,
    grid: Grid,
    next_tick_ms: u64,
    tick: Option<JoinHandle<CommandOutcome>>,
    sign: Option<JoinHandle<CommandOutcome>>,
    /// The edition that it does not sign, and when it looked. The reason was told.
    refused: Option<(u64, Instant)>,
    /// The published edition whose state is kept.
    kept: EditionName,
    keep: Option<JoinHandle<Result<(), StateFilesError>>>,
    /// What is held as of this change is on the disk, or on its way there; and since when.
    kept_held: (u64, Instant),
    keep_held: Option<JoinHandle<Result<(), StateFilesError>>>,
    /// Descriptors on their way to the log.
    unordered: Option<JoinHandle<()>>,
    looked: Instant,
}

/// Waits for a task; for ever without one.
async fn done<T>(task: &mut Option<JoinHandle<T>>) -> Option<T> {
    match task {
        Some(running) => {
            let result = running.await.ok();
            *task = None;
            result
        }
        None => std::future::pending().await,
    }
}

impl Member {
    /// Until something ends it.
    pub(crate) async fn run(self) -> Stopped {
        let mut changed = self.directory.changed();
        let member = self.signer.lock().member();
        let grid = self
            .directory
            .look(|directory| directory.charter().founding().map(|founding| Grid::new(founding, &member)));
        // A directory has a founding: its charter had one.
        let Some(grid) = grid else { return Stopped::Panicked };
        let mut going = Going {
            member,
            grid,
            next_tick_ms: grid.next_after(utc_ms()),
            tick: None,
            sign: None,
            refused: None,
            kept: EditionName { index: 0, hash: [0; 32] },
            keep: None,
            kept_held: (self.signer.lock().held_changes(), Instant::now()),
            keep_held: None,
            unordered: None,
            looked: Instant::now(),
        };
        loop {
            if let Err(error) = self.consider(&mut going).await {
                return Stopped::Files(error);
            }
            self.keep_state(&mut going);
            self.keep_held(&mut going);
            self.order_unordered(&mut going);
            self.wait(&mut going, &mut changed).await;
        }
    }

    async fn wait(&self, going: &mut Going, changed: &mut watch::Receiver<u64>) {
        let now_ms = utc_ms();
        // A clock that was put back is heard of within a second.
        going.next_tick_ms = going.next_tick_ms.min(going.grid.next_after(now_ms));
        let until_tick = Duration::from_millis(going.next_tick_ms.saturating_sub(now_ms)).min(SLEEP_MAX);
        tokio::select! {
            // The directory is this member's too, so it is never gone.
            _ = changed.changed() => {}
            () = sleep(until_tick) => self.tick(going),
            outcome = done(&mut going.tick) => refused("a tick", outcome.as_ref()),
            outcome = done(&mut going.sign) => refused("a signature", outcome.as_ref()),
            kept = done(&mut going.keep) => if let Some(Err(error)) = kept {
                tracing::warn!(%error, "the newest state cannot be kept for operators");
            },
            kept = done(&mut going.keep_held) => if !matches!(kept, Some(Ok(()))) {
                // Another number than the present one: it is written again in a second.
                going.kept_held.0 = going.kept_held.0.wrapping_sub(1);
                if let Some(Err(error)) = kept {
                    tracing::warn!(%error, "what relays handed to this member cannot be kept over a start");
                }
            },
            _ = done(&mut going.unordered) => {}
        }
    }

    /// Says the time if it is time for that. One word is on its way at a time.
    fn tick(&self, going: &mut Going) {
        let now_ms = utc_ms();
        if now_ms < going.next_tick_ms {
            return;
        }
        going.next_tick_ms = going.grid.next_after(now_ms);
        let is_member = self.directory.look(|directory| directory.electorate().contains(&going.member));
        if going.tick.is_some() || !is_member {
            return;
        }
        let command = self.directory.look(|directory| self.signer.lock().tick(directory, now_ms));
        let orders = self.orders.clone();
        going.tick = Some(tokio::spawn(async move { orders.order(command.encode()).await }));
    }

    /// Signs the edition that waits, or says once why not.
    async fn consider(&self, going: &mut Going) -> Result<(), StateFilesError> {
        if going.sign.is_some() {
            return Ok(());
        }
        let considered = self.directory.look(|directory| {
            let index = directory.pending().map_or(0, |edition| edition.edition().index());
            let just_now = |(refused, at): (u64, Instant)| refused == index && at.elapsed() < RECONSIDER_AFTER;
            let is_refused = going.refused.is_some_and(just_now);
            (index, (!is_refused).then(|| self.signer.lock().consider(utc_ms(), directory)))
        });
        match considered {
            (_, Some(Ok(Vow { promise, command }))) => {
                // The promise first. Whatever happens to this process, it is on the disk when the signature leaves.
                let files = self.files.clone();
                let stored = spawn_blocking(move || files.store_promise(&promise)).await;
                stored.map_err(|_| StateFilesError::Task)??;
                let orders = self.orders.clone();
                going.sign = Some(tokio::spawn(async move {
                    let outcome = orders.order(command.encode()).await;
                    if !outcome.is_done() {
                        sleep(SIGN_AGAIN_AFTER).await;
                    }
                    outcome
                }));
            }
            (_, None | Some(Err(SignRefusal::Nothing | SignRefusal::NotMember))) => {}
            (index, Some(Err(why))) => {
                if going.refused.is_none_or(|(refused, _)| refused != index) {
                    tracing::warn!(index, reason = %why, "this member does not sign an edition");
                }
                going.refused = Some((index, Instant::now()));
            }
        }
        Ok(())
    }

    /// Keeps the state with each newly published edition.
    fn keep_state(&self, going: &mut Going) {
        if going.keep.is_some() {
            return;
        }
        let state = self.directory.look(|directory| {
            let name = directory.published_name();
            (directory.published().is_some() && name != going.kept).then(|| (name, directory.encode()))
        });
        if let Some((name, state)) = state {
            going.kept = name;
            let files = self.files.clone();
            going.keep = Some(spawn_blocking(move || files.store_state(&state)));
        }
    }
}

impl Member {
    /// Keeps what relays have handed to this member, so that it is as strict after a start.
    fn keep_held(&self, going: &mut Going) {
        let changes = self.signer.lock().held_changes();
        let (kept, at) = going.kept_held;
        if going.keep_held.is_some() || kept == changes || at.elapsed() < KEEP_HELD_EVERY {
            return;
        }
        going.kept_held = (changes, Instant::now());
        let (files, held) = (self.files.clone(), self.signer.lock().encode_held());
        going.keep_held = Some(spawn_blocking(move || files.store_held(&held)));
    }

    /// Takes descriptors to the log that it should have had by now.
    fn order_unordered(&self, going: &mut Going) {
        if going.unordered.is_some() || going.looked.elapsed() < LOOK_FOR_UNORDERED {
            return;
        }
        going.looked = Instant::now();
        let unordered = self.directory.look(|directory| {
            let interval_ms = directory.charter().founding().map_or(u64::MAX, |founding| founding.interval_ms);
            // Whoever handed it over is still told what becomes of it for so long.
            let wait_ms = (ORDER_PATIENCE.as_millis() as u64).min(interval_ms / 4);
            self.signer.lock().unordered(directory, utc_ms().saturating_sub(wait_ms), UNORDERED_MAX)
        });
        if unordered.is_empty() {
            return;
        }
        let (orders, signer) = (self.orders.clone(), self.signer.clone());
        going.unordered = Some(tokio::spawn(order_all(orders, signer, unordered)));
    }
}

async fn order_all(orders: Orders, signer: SharedSigner, unordered: Vec<Arc<SignedAnnouncement>>) {
    for announcement in unordered {
        let (node, published_ms) = (announcement.node_id(), announcement.announcement().published_ms);
        let outcome = orders.order(Command::Describe(announcement).encode()).await;
        signer.note_outcome(&node, published_ms, &outcome);
    }
}

fn refused(what: &str, outcome: Option<&CommandOutcome>) {
    // What comes late is refused as old or as of another index, which is nothing to tell.
    let late = [Refusal::Old, Refusal::OldTick, Refusal::OtherIndex].map(|refusal| refusal.code());
    if let Some(outcome) = outcome.filter(|outcome| !outcome.is_done() && !late.contains(&outcome.code)) {
        tracing::debug!(code = outcome.code, reason = %outcome.sentence, "{what} has no effect");
    }
}
