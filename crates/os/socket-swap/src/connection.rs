//! Connections that are swapped or may be: a fixed pool, so that no call ever allocates.

use crate::alone;
use crate::holders::Holders;
use crate::link::Link;
use crate::reserved;
use shm_ring::OwnSegment;
use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU8, AtomicU32, AtomicU64, Ordering};

/// Connections that a process can follow at a time. Further ones stay plain.
pub(crate) const CONNECTIONS_MAX: usize = 16384;

/// How far a connection has come.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Stage {
    /// Not in use.
    Free = 0,
    /// Being set up or taken down.
    Changing = 1,
    /// Followed, and plain so far.
    Followed = 2,
    /// Both segments are mapped.
    Linked = 3,
    /// Plain for good; waits only for the end of calls that still use it.
    Plain = 4,
}

/// A connection.
pub(crate) struct Connection {
    stage: AtomicU8,
    /// Calls inside, and one for the table.
    references: AtomicU32,
    /// Descriptors of this process.
    pub(crate) descriptors: AtomicU32,
    holders: AtomicU32,
    /// The process whose table this is. Another one is the child of a `vfork`, whose descriptors are its own.
    process: AtomicI32,
    /// Calls that moved data.
    pub(crate) calls: AtomicU32,
    /// Calls that received data. A program that never does reads by other means.
    pub(crate) reads: AtomicU32,
    /// Value of `calls` at which the next attempt to link is made.
    pub(crate) attempt_at: AtomicU32,
    /// Somebody makes an attempt.
    pub(crate) attempting: AtomicBool,
    /// Something happened that rings cannot follow, so no direction may turn to its ring.
    pub(crate) barred: AtomicBool,
    /// The socket's inode and the other end's.
    pub(crate) inode: AtomicU64,
    pub(crate) other_inode: AtomicU64,
    /// The descriptor on which offers arrive, or -1.
    pub(crate) door: AtomicI32,
    /// Whether the open file is non-blocking.
    pub(crate) flags: Flags,
    /// A copy of a descriptor that was closed while a call was inside, or -1. The kernel lets a call go on with what it
    /// began with; calls of ours that sleep and look again go on with this one.
    parked: AtomicI32,
    /// Our segment from the offer to the link. Guarded by `attempting`.
    pub(crate) offered: UnsafeCell<Option<OwnSegment>>,
    /// Set before the stage becomes `Linked`; taken when nobody refers to the connection any more.
    link: UnsafeCell<Option<Link>>,
}

// SAFETY: `offered` is touched by whoever set `attempting`, or by the last one to let go; `link` is written before the stage
// `Linked` is published and then only read, until the last one lets go.
unsafe impl Sync for Connection {}

impl Connection {
    #[expect(clippy::declare_interior_mutable_const, reason = "only the first value of each element of the pool")]
    const FREE: Self = Self {
        stage: AtomicU8::new(Stage::Free as u8),
        references: AtomicU32::new(0),
        descriptors: AtomicU32::new(0),
        holders: AtomicU32::new(0),
        process: AtomicI32::new(0),
        calls: AtomicU32::new(0),
        reads: AtomicU32::new(0),
        attempt_at: AtomicU32::new(0),
        attempting: AtomicBool::new(false),
        barred: AtomicBool::new(false),
        inode: AtomicU64::new(0),
        other_inode: AtomicU64::new(0),
        door: AtomicI32::new(-1),
        flags: Flags(AtomicU32::new(0)),
        parked: AtomicI32::new(-1),
        offered: UnsafeCell::new(None),
        link: UnsafeCell::new(None),
    };

    /// How far it has come.
    pub(crate) fn stage(&self) -> Stage {
        match self.stage.load(Ordering::SeqCst) {
            0 => Stage::Free,
            1 => Stage::Changing,
            2 => Stage::Followed,
            3 => Stage::Linked,
            _ => Stage::Plain,
        }
    }

    /// Moves it on.
    pub(crate) fn set_stage(&self, stage: Stage) {
        self.stage.store(stage as u8, Ordering::SeqCst);
    }

    /// The link, if there is one.
    #[inline]
    pub(crate) fn link(&self) -> Option<&Link> {
        if self.stage.load(Ordering::Acquire) != Stage::Linked as u8 {
            return None;
        }
        // SAFETY: written before the stage was published; the caller's reference keeps it.
        unsafe { (*self.link.get()).as_ref() }
    }

    /// Sets the link. Only the one who makes the attempt calls this, once.
    pub(crate) fn set_link(&self, link: Link) {
        // SAFETY: nobody looks at it before the stage says so, which is next.
        unsafe { *self.link.get() = Some(link) };
        self.set_stage(Stage::Linked);
    }

    /// The count of processes.
    pub(crate) fn holders(&self) -> Holders {
        Holders::at(self.holders.load(Ordering::Relaxed))
    }

    /// Whether the calling process is the one whose table this is.
    pub(crate) fn is_ours(&self) -> bool {
        // SAFETY: asks for a number.
        self.process.load(Ordering::Relaxed) == unsafe { libc::getpid() }
    }

    /// In the child of a fork: the copied table is the child's.
    pub(crate) fn adopt(&self, process: i32) {
        self.process.store(process, Ordering::Relaxed);
    }

    /// The descriptor to use in a call that was made on `fd`.
    #[inline]
    pub(crate) fn descriptor(&self, fd: i32) -> i32 {
        let parked = self.parked.load(Ordering::Acquire);
        if parked >= 0 { parked } else { fd }
    }

    /// Before `fd` is closed while calls are inside. They keep the socket open until they end, as in the kernel.
    pub(crate) fn park(&self, fd: i32) {
        if self.parked.load(Ordering::Acquire) >= 0 {
            return;
        }
        if let Some(copy) = reserved::copy(fd)
            && self.parked.compare_exchange(-1, copy, Ordering::AcqRel, Ordering::Relaxed).is_err()
        {
            reserved::close(copy);
        }
    }

    /// In the child of a fork: the calls that it was parked for are the parent's.
    pub(crate) fn unpark(&self) {
        let parked = self.parked.swap(-1, Ordering::AcqRel);
        if parked >= 0 {
            reserved::close(parked);
        }
    }

    /// Whether no call but the caller's own is inside.
    pub(crate) fn is_quiet(&self) -> bool {
        self.references.load(Ordering::SeqCst) <= 2
    }

    /// Keeps it until `release`. `false`: nobody has it any more, so nobody may take it up again. The caller looks again
    /// whether it is still the one that was meant: a signal may have come in between.
    #[inline]
    pub(crate) fn refer(&self) -> bool {
        if alone::is_alone() {
            let is_in_use = self.references.load(Ordering::Relaxed) > 0;
            if is_in_use {
                alone::raise(&self.references);
            }
            return is_in_use;
        }
        let mut count = self.references.load(Ordering::Relaxed);
        while count > 0 {
            match self.references.compare_exchange_weak(count, count + 1, Ordering::SeqCst, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(found) => count = found,
            }
        }
        false
    }

    /// Lets go; the last one empties the connection.
    #[inline]
    pub(crate) fn release(&self) {
        let is_last = if alone::is_alone() {
            alone::lower(&self.references)
        } else {
            self.references.fetch_sub(1, Ordering::SeqCst) == 1
        };
        if is_last {
            self.empty();
        }
    }

    #[cold]
    fn empty(&self) {
        self.set_stage(Stage::Changing);
        // SAFETY: no table entry leads here and no call is inside, so nobody else touches either.
        unsafe {
            *self.link.get() = None;
            *self.offered.get() = None;
        }
        let door = self.door.swap(-1, Ordering::Relaxed);
        if door >= 0 {
            reserved::close(door);
        }
        self.unpark();
        self.set_stage(Stage::Free);
    }
}

/// Whether a descriptor is non-blocking, as the kernel said last. The low two bits: 0 unknown, 1 no, 2 yes; above them a count
/// of changes, so that an answer from before a change is not kept.
pub(crate) struct Flags(AtomicU32);

impl Flags {
    /// The flag, asked for if it is not known. Only where no other process can change it.
    #[inline]
    pub(crate) fn is_nonblocking(&self, ask: impl FnOnce() -> bool) -> bool {
        let known = self.0.load(Ordering::Acquire);
        match known & 3 {
            1 => false,
            2 => true,
            _ => {
                let answer = ask();
                let told = known | if answer { 2 } else { 1 };
                let _ = self.0.compare_exchange(known, told, Ordering::AcqRel, Ordering::Relaxed);
                answer
            }
        }
    }

    /// After this process may have changed it.
    pub(crate) fn forget(&self) {
        let next = |known: u32| Some((known & !3).wrapping_add(4));
        let _ = self.0.fetch_update(Ordering::AcqRel, Ordering::Relaxed, next);
    }
}

static POOL: [Connection; CONNECTIONS_MAX] = [const { Connection::FREE }; CONNECTIONS_MAX];
static NEXT: AtomicU32 = AtomicU32::new(0);

/// The connection at a place.
#[inline]
pub(crate) fn at(place: u32) -> &'static Connection {
    &POOL[place as usize % CONNECTIONS_MAX]
}

/// All connections in use.
pub(crate) fn all() -> impl Iterator<Item = &'static Connection> {
    let used = (NEXT.load(Ordering::Acquire) as usize).min(CONNECTIONS_MAX);
    POOL[..used].iter().filter(|connection| matches!(connection.stage(), Stage::Followed | Stage::Linked))
}

/// The program closed one of our own descriptors.
pub(crate) fn lost(fd: i32) {
    let used = (NEXT.load(Ordering::Acquire) as usize).min(CONNECTIONS_MAX);
    for connection in &POOL[..used] {
        for own in [&connection.door, &connection.parked] {
            let _ = own.compare_exchange(fd, -1, Ordering::AcqRel, Ordering::Relaxed);
        }
    }
}

/// A free connection, set up as followed, with the reference of the table and one descriptor. `None`: all are in use.
pub(crate) fn take() -> Option<(u32, &'static Connection)> {
    // From the low end, so that those in use stay close together; from a hint, so that it stays quick.
    let used = NEXT.load(Ordering::Acquire) as usize;
    let free = |place: &usize| {
        let (free, changing) = (Stage::Free as u8, Stage::Changing as u8);
        POOL[*place].stage.compare_exchange(free, changing, Ordering::SeqCst, Ordering::Relaxed).is_ok()
    };
    let place = (0..used.min(CONNECTIONS_MAX)).find(free).or_else(|| {
        let fresh = NEXT.fetch_add(1, Ordering::AcqRel) as usize;
        if fresh >= CONNECTIONS_MAX {
            NEXT.store(CONNECTIONS_MAX as u32, Ordering::Release);
            return None;
        }
        free(&fresh).then_some(fresh)
    })?;
    let connection = &POOL[place];
    let Some(holders) = Holders::take() else {
        connection.set_stage(Stage::Free);
        return None;
    };
    connection.holders.store(holders.place(), Ordering::Relaxed);
    // SAFETY: asks for a number.
    connection.adopt(unsafe { libc::getpid() });
    connection.descriptors.store(1, Ordering::Relaxed);
    connection.calls.store(0, Ordering::Relaxed);
    connection.reads.store(0, Ordering::Relaxed);
    connection.attempt_at.store(crate::rendezvous::FIRST_ATTEMPT, Ordering::Relaxed);
    connection.attempting.store(false, Ordering::Relaxed);
    connection.barred.store(false, Ordering::Relaxed);
    connection.flags.forget();
    connection.inode.store(0, Ordering::Relaxed);
    connection.references.store(1, Ordering::SeqCst);
    connection.set_stage(Stage::Followed);
    Some((place as u32, connection))
}
