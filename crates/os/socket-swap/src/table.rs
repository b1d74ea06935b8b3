//! From a descriptor to its connection, without locks.

use crate::connection::{self, Connection, Stage};
use crate::link::Link;
use crate::{epoll, plain, reserved};
use std::ops::Deref;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};

/// Descriptors that can be swapped: 0 to this. Those above stay plain.
pub(crate) const DESCRIPTORS_MAX: usize = 65536;

/// 0, or the place of the connection plus one.
static TABLE: [AtomicU32; DESCRIPTORS_MAX] = [const { AtomicU32::new(0) }; DESCRIPTORS_MAX];
/// Above the highest descriptor that was ever entered.
static ABOVE_HIGHEST: AtomicU32 = AtomicU32::new(0);

/// The process whose table this is, or 0 before the first entry.
static PROCESS: AtomicI32 = AtomicI32::new(0);

/// Takes the table over, at the first entry and in the child of a fork.
pub(crate) fn adopt() {
    // SAFETY: asks for a number.
    PROCESS.store(unsafe { libc::getpid() }, Ordering::Relaxed);
}

/// Whether descriptors of the calling process are those of the table. The child of a `vfork` shares this memory and closes
/// descriptors of its own.
fn is_own_process() -> bool {
    // SAFETY: asks for a number.
    PROCESS.load(Ordering::Relaxed) == unsafe { libc::getpid() }
}

/// A connection that stays for as long as this lives.
pub(crate) struct Reference(&'static Connection);

impl Deref for Reference {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.0
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        self.0.release();
    }
}

impl PartialEq for Reference {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.0, other.0)
    }
}

/// The connection behind a descriptor. `None`, which costs one load: not ours.
#[inline]
pub(crate) fn find(fd: i32) -> Option<Reference> {
    let cell = TABLE.get(fd as usize)?;
    let entry = cell.load(Ordering::Acquire);
    if entry == 0 {
        return None;
    }
    refer(cell, entry)
}

/// The link behind a descriptor that a set of epoll watches, without a reference: two atomic changes less.
///
/// # Safety
/// The caller holds the registry's lock for as long as it uses the link, and found the descriptor there. Whoever closes
/// such a descriptor, or forgets what it leads to, takes the lock before anything is let go.
#[inline]
pub(crate) unsafe fn link_at(fd: i32) -> Option<&'static Link> {
    let entry = TABLE.get(fd as usize)?.load(Ordering::Acquire);
    if entry == 0 { None } else { connection::at(entry - 1).link() }
}

/// The flags of what a descriptor leads to may have changed.
pub(crate) fn forget_flags(fd: i32) {
    if let Some(found) = find(fd) {
        found.flags.forget();
    }
}

/// Never lets go of the connection behind a descriptor, which somebody may be using without a reference.
#[cold]
pub(crate) fn keep_for_ever(fd: i32) {
    std::mem::forget(find(fd));
}

#[cold]
#[inline(never)]
fn retry(fd_cell: &'static AtomicU32) -> Option<Reference> {
    let entry = fd_cell.load(Ordering::Acquire);
    if entry == 0 { None } else { refer(fd_cell, entry) }
}

#[inline]
fn refer(cell: &'static AtomicU32, entry: u32) -> Option<Reference> {
    let connection = connection::at(entry - 1);
    if !connection.refer() {
        return retry(cell);
    }
    let reference = Reference(connection);
    // Closed meanwhile, and perhaps opened again: the reference may be to another connection.
    if cell.load(Ordering::SeqCst) != entry {
        drop(reference);
        return retry(cell);
    }
    Some(reference)
}

/// Whether a descriptor has an entry.
#[inline]
pub(crate) fn has(fd: i32) -> bool {
    TABLE.get(fd as usize).is_some_and(|cell| cell.load(Ordering::Acquire) != 0)
}

/// Follows a new connection, which has no entry.
pub(crate) fn follow(fd: i32) {
    let Some(cell) = TABLE.get(fd as usize) else { return };
    if epoll::is_unseen(fd) {
        return;
    }
    if is_outside(fd) {
        // Standard input and output are read and written by parts of libc that nobody stands in front of.
        return;
    }
    if PROCESS.load(Ordering::Relaxed) == 0 {
        adopt();
    }
    if let Some((place, _)) = connection::take() {
        ABOVE_HIGHEST.fetch_max(fd as u32 + 1, Ordering::AcqRel);
        cell.store(place + 1, Ordering::SeqCst);
        crate::statistics::add(crate::statistics::Count::Connections);
    }
}

/// Whether what this number leads to is never ours.
pub(crate) fn is_outside(fd: i32) -> bool {
    fd <= libc::STDERR_FILENO || TABLE.get(fd as usize).is_none()
}

/// A descriptor was duplicated by this process.
pub(crate) fn duplicated(from: i32, to: i32) {
    forget_stale(to);
    let Some(found) = find(from) else { return };
    if !found.is_ours() {
        return;
    }
    if is_outside(to) {
        go_plain(&found, from);
        return;
    }
    if let Some(cell) = TABLE.get(to as usize) {
        found.descriptors.fetch_add(1, Ordering::AcqRel);
        ABOVE_HIGHEST.fetch_max(to as u32 + 1, Ordering::AcqRel);
        cell.store(TABLE[from as usize].load(Ordering::Acquire), Ordering::SeqCst);
    }
}

/// A descriptor is about to be closed by this process, or was replaced.
pub(crate) fn closing(fd: i32) {
    let is_reserved = reserved::has(fd);
    if !has(fd) && !is_reserved && !epoll::concerns(fd) || !is_own_process() {
        return;
    }
    if is_reserved {
        reserved::closing(fd);
    }
    epoll::closing(fd);
    let Some(found) = find(fd) else { return };
    if !found.is_ours() {
        return;
    }
    if TABLE[fd as usize].swap(0, Ordering::SeqCst) == 0 {
        return;
    }
    if !found.is_quiet() {
        found.park(fd);
    }
    let last = found.descriptors.fetch_sub(1, Ordering::AcqRel) == 1;
    if !last {
        return;
    }
    if let Some(link) = found.link() {
        plain::leaving(link, fd);
    }
    found.holders().remove();
    // The table's reference; ours is still held.
    found.0.release();
}

/// The kernel gave out this number, so whatever had it before was closed by means that we do not see.
pub(crate) fn forget_stale(fd: i32) {
    if has(fd) || epoll::concerns(fd) {
        closing(fd);
    }
}

/// Leaves a connection to its socket for good. A followed one is forgotten, a linked one goes back.
pub(crate) fn go_plain(found: &Reference, fd: i32) {
    match found.stage() {
        Stage::Followed => forget(found),
        Stage::Linked => plain::go_back(found, fd),
        _ => {}
    }
}

/// As `go_plain`, by descriptor.
pub(crate) fn leave(fd: i32) {
    if let Some(found) = find(fd) {
        go_plain(&found, fd);
    }
}

/// Takes a connection off the table.
pub(crate) fn forget(found: &Reference) {
    found.barred.store(true, Ordering::SeqCst);
    if found.attempting.swap(true, Ordering::AcqRel) {
        // An attempt is under way in another thread; it will find that it is barred.
        return;
    }
    let watched = epoll::locked();
    if watched.is_none() {
        // A handler of signals that interrupted somebody who looks at the rings of a set, perhaps at this one.
        found.0.refer();
    }
    let entry = entry_of(found);
    for cell in &TABLE[..ABOVE_HIGHEST.load(Ordering::Acquire) as usize] {
        if cell.compare_exchange(entry, 0, Ordering::SeqCst, Ordering::Relaxed).is_ok()
            && found.descriptors.fetch_sub(1, Ordering::AcqRel) == 1
        {
            // Another process that has it too must not take itself for the only one: this one goes on with the socket.
            if found.holders().is_alone() {
                found.holders().remove();
            }
            found.set_stage(Stage::Plain);
            found.0.release();
        }
    }
}

fn entry_of(found: &Reference) -> u32 {
    let first = connection::at(0);
    let distance = std::ptr::from_ref(found.0) as usize - std::ptr::from_ref(first) as usize;
    (distance / size_of::<Connection>()) as u32 + 1
}

/// One above the highest descriptor that is looked at for sockets of ours which have no entry.
pub(crate) fn open_descriptors_end() -> i32 {
    let highest = entered().last().unwrap_or(0);
    highest.saturating_add(64).min(DESCRIPTORS_MAX as i32)
}

/// The inode of a descriptor that is a socket.
pub(crate) fn socket_inode(fd: i32) -> Option<u64> {
    // SAFETY: a structure of numbers, which the call fills.
    unsafe {
        let mut about: libc::stat = std::mem::zeroed();
        let is_socket = libc::fstat(fd, &mut about) == 0 && about.st_mode & libc::S_IFMT == libc::S_IFSOCK;
        is_socket.then_some(about.st_ino)
    }
}

/// Whether a socket has a peer.
pub(crate) fn is_connected(fd: i32) -> bool {
    let errno = crate::real::errno();
    // SAFETY: zeros are an address, which the call fills.
    let asked = unsafe {
        let mut name: libc::sockaddr_un = std::mem::zeroed();
        let mut length = size_of::<libc::sockaddr_un>() as libc::socklen_t;
        libc::getpeername(fd, std::ptr::from_mut(&mut name).cast(), &mut length)
    };
    crate::real::set_errno(errno);
    asked == 0
}

/// Descriptors that have an entry.
pub(crate) fn entered() -> impl Iterator<Item = i32> {
    let above = ABOVE_HIGHEST.load(Ordering::Acquire);
    (0..above as i32).filter(|fd| has(*fd))
}
