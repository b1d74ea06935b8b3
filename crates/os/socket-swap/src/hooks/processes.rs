//! Processes that begin, and programs that take the place of others.

use super::hooks;
use crate::connection::{self, Stage};
use crate::link::Word;
use crate::{epoll, lock, real, rendezvous, table};
use libc::{c_char, c_int, c_long, c_void};

type Words = *const *const c_char;

hooks! {
    fn fork() -> c_int {
        forked(|| {
            // SAFETY: the program's call.
            unsafe { real::fork() }
        })
    }

    fn execve(path: *const c_char, words: Words, environment: Words) -> c_int {
        leave_inherited();
        // SAFETY: the program's call.
        unsafe { real::execve(path, words, environment) }
    }

    fn execv(path: *const c_char, words: Words) -> c_int {
        leave_inherited();
        // SAFETY: the program's call.
        unsafe { real::execv(path, words) }
    }

    fn execvp(file: *const c_char, words: Words) -> c_int {
        leave_inherited();
        // SAFETY: the program's call.
        unsafe { real::execvp(file, words) }
    }

    fn execvpe(file: *const c_char, words: Words, environment: Words) -> c_int {
        leave_inherited();
        // SAFETY: the program's call.
        unsafe { real::execvpe(file, words, environment) }
    }

    fn fexecve(fd: c_int, words: Words, environment: Words) -> c_int {
        leave_inherited();
        // SAFETY: the program's call.
        unsafe { real::fexecve(fd, words, environment) }
    }

    fn posix_spawn(pid: *mut c_int, path: *const c_char, actions: *const c_void, attributes: *const c_void, words: Words, environment: Words) -> c_int {
        leave_inherited();
        // SAFETY: the program's call.
        unsafe { real::posix_spawn(pid, path, actions, attributes, words, environment) }
    }

    fn posix_spawnp(pid: *mut c_int, file: *const c_char, actions: *const c_void, attributes: *const c_void, words: Words, environment: Words) -> c_int {
        leave_inherited();
        // SAFETY: the program's call.
        unsafe { real::posix_spawnp(pid, file, actions, attributes, words, environment) }
    }

    fn posix_spawn_file_actions_adddup2(actions: *mut c_void, fd: c_int, to: c_int) -> c_int {
        table::leave(fd);
        // SAFETY: the program's call.
        unsafe { real::posix_spawn_file_actions_adddup2(actions, fd, to) }
    }

    fn system(command: *const c_char) -> c_int {
        leave_inherited();
        // SAFETY: the program's call.
        unsafe { real::system(command) }
    }

    fn popen(command: *const c_char, kind: *const c_char) -> *mut c_void {
        leave_inherited();
        // SAFETY: the program's call.
        unsafe { real::popen(command, kind) }
    }

    fn syscall(number: c_long, a: usize, b: usize, c: usize, d: usize, e: usize, f: usize) -> c_long {
        if let Some(refused) = raw_call(number, a, b) {
            return refused;
        }
        // SAFETY: the program's call. A call with fewer arguments ignores the rest.
        unsafe { real::syscall(number, a, b, c, d, e, f) }
    }
}

/// Calls by number that go around our hooks.
fn raw_call(number: c_long, a: usize, b: usize) -> Option<c_long> {
    match number {
        libc::SYS_io_uring_setup => {
            // A ring of the kernel's reads and writes sockets by itself. Programs that use one know a system without.
            real::set_errno(libc::ENOSYS);
            return Some(-1);
        }
        libc::SYS_close => table::closing(a as c_int),
        libc::SYS_execve | libc::SYS_execveat => leave_inherited(),
        libc::SYS_clone | libc::SYS_clone3 => leave_everything(),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_fork | libc::SYS_vfork => leave_everything(),
        libc::SYS_read
        | libc::SYS_write
        | libc::SYS_readv
        | libc::SYS_writev
        | libc::SYS_recvfrom
        | libc::SYS_sendto
        | libc::SYS_recvmsg
        | libc::SYS_sendmsg
        | libc::SYS_recvmmsg
        | libc::SYS_sendmmsg
        | libc::SYS_dup
        | libc::SYS_dup3
        | libc::SYS_preadv2
        | libc::SYS_pwritev2 => table::leave(a as c_int),
        libc::SYS_close_range => {
            for fd in table::entered().filter(|fd| (a..=b).contains(&(*fd as usize))) {
                table::leave(fd);
            }
        }
        libc::SYS_epoll_pwait | libc::SYS_epoll_pwait2 => epoll::watched_by_others(a as c_int),
        libc::SYS_ppoll | libc::SYS_pselect6 => leave_everything(),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_epoll_wait => epoll::watched_by_others(a as c_int),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_poll | libc::SYS_select => leave_everything(),
        _ => {}
    }
    None
}

fn leave_everything() {
    for fd in table::entered() {
        table::leave(fd);
    }
}

/// Both processes have what the first had. Linked connections work in both; followed ones are counted as shared.
fn forked(fork: impl FnOnce() -> c_int) -> c_int {
    for fd in table::entered() {
        if let Some(found) = table::find(fd)
            && found.is_ours()
        {
            rendezvous::abandon(&found, fd);
        }
    }
    for connection in connection::all() {
        connection.holders().add();
        if let Some(link) = connection.link() {
            link.set(Word::Shared, 1);
        }
    }
    // Another thread may hold the registry; its owner does not exist in the child.
    let locked = epoll::locked();
    let child = fork();
    drop(locked);
    match child {
        0 => {
            lock::forget_thread();
            // SAFETY: asks for a number.
            let own = unsafe { libc::getpid() };
            for connection in connection::all() {
                connection.adopt(own);
            }
        }
        // Nobody was made.
        ..0 => {
            for connection in connection::all() {
                connection.holders().remove();
            }
        }
        _ => {}
    }
    child
}

/// Before another program: connections that it will have go back to their sockets, which it reads without us. In the child
/// of a `vfork`, whose descriptors are not the table's, the kernel is asked which of ours they are.
fn leave_inherited() {
    let errno = real::errno();
    if connection::all().next().is_some() {
        for fd in 0..open_descriptors_end() {
            if let Some(at) = inherited_entry(fd) {
                table::leave(at);
            }
        }
    }
    real::set_errno(errno);
}

/// One above the highest descriptor that is looked at.
fn open_descriptors_end() -> c_int {
    let highest = table::entered().last().unwrap_or(0);
    highest.saturating_add(64).min(table::DESCRIPTORS_MAX as c_int)
}

/// If `fd` stays open in the next program and leads to a socket of ours, a descriptor that the table has for it.
fn inherited_entry(fd: c_int) -> Option<c_int> {
    // SAFETY: asks for flags.
    let flags = unsafe { real::fcntl(fd, libc::F_GETFD, 0) };
    if flags < 0 || flags & libc::FD_CLOEXEC != 0 {
        return None;
    }
    let inode = socket_inode(fd)?;
    table::entered().find(|entered| {
        table::find(*entered).is_some_and(|found| {
            let known = found.inode.load(std::sync::atomic::Ordering::Relaxed);
            // What is not linked may not have learnt its inode.
            *entered == fd || known == inode || found.stage() != Stage::Linked && socket_inode(*entered) == Some(inode)
        })
    })
}

fn socket_inode(fd: c_int) -> Option<u64> {
    // SAFETY: a structure of numbers, which the call fills.
    unsafe {
        let mut about: libc::stat = std::mem::zeroed();
        let is_socket = libc::fstat(fd, &mut about) == 0 && about.st_mode & libc::S_IFMT == libc::S_IFSOCK;
        is_socket.then_some(about.st_ino)
    }
}
