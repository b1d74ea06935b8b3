//! Processes that begin, and programs that take the place of others.

use super::hooks;
use crate::connection;
use crate::link::Word;
use crate::{alone, epoll, lock, real, rendezvous, table};
use libc::{c_char, c_int, c_long, c_void};
use std::cell::UnsafeCell;
use std::sync::atomic::AtomicUsize;

type Words = *const *const c_char;

hooks! {
    #[allow(non_snake_case, reason = "libc's name")]
    fn _Fork() -> c_int {
        before_fork();
        // SAFETY: the program's call.
        let child = unsafe { real::_Fork() };
        if child == 0 { in_child() } else { in_parent() }
        child
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

    fn vdprintf(fd: c_int, format: *const c_char, arguments: *mut c_void) -> c_int {
        table::leave(fd);
        // SAFETY: the program's call. A list of arguments is passed as an address.
        unsafe { real::vdprintf(fd, format, arguments) }
    }

    fn __vdprintf_chk(fd: c_int, flag: c_int, format: *const c_char, arguments: *mut c_void) -> c_int {
        table::leave(fd);
        // SAFETY: as above.
        unsafe { real::__vdprintf_chk(fd, flag, format, arguments) }
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
        // Flags that are changed this way would not be seen.
        libc::SYS_fcntl | libc::SYS_ioctl => table::leave(a as c_int),
        libc::SYS_execve | libc::SYS_execveat => leave_inherited(),
        libc::SYS_clone | libc::SYS_clone3 => leave_to_copy(),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_fork | libc::SYS_vfork => leave_to_copy(),
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
        libc::SYS_epoll_ctl => epoll::watched_by_others(a as c_int),
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

/// Before a thread that libc does not know of, or a copy of the process that no handler of `fork` sees.
fn leave_to_copy() {
    alone::never_again();
    lock::distrust();
    leave_everything();
}

fn leave_everything() {
    epoll::tell_kernel_of_all();
    for fd in table::entered() {
        table::leave(fd);
    }
}

/// Has libc call us around each fork, also around those inside of it (`daemon`, `forkpty`).
pub(crate) fn watch_forks() {
    // SAFETY: the three functions live as long as the process.
    unsafe { libc::pthread_atfork(Some(before_fork), Some(in_parent), Some(in_child)) };
}

/// The registry's lock from before a fork to after it. Another thread may hold it, which does not exist in the child.
struct ForkLock(UnsafeCell<Option<epoll::Locked>>);

// SAFETY: touched between `before_fork` and its end only, which libc lets one thread do at a time.
unsafe impl Sync for ForkLock {}

static FORK_LOCK: ForkLock = ForkLock(UnsafeCell::new(None));

/// Both processes will have what this one has. Linked connections work in both; followed ones are counted as shared. If the
/// fork fails they stay counted, and so plain.
extern "C" fn before_fork() {
    for fd in table::entered() {
        if let Some(found) = table::find(fd)
            && found.is_ours()
        {
            rendezvous::abandon(&found, fd);
        }
    }
    epoll::share_all();
    for connection in connection::all() {
        connection.holders().add();
        if let Some(link) = connection.link() {
            link.set(Word::Shared, 1);
            alone::never_again();
        }
    }
    // SAFETY: as said at `ForkLock`.
    unsafe { *FORK_LOCK.0.get() = epoll::locked() };
}

extern "C" fn in_parent() {
    // SAFETY: as said at `ForkLock`.
    drop(unsafe { (*FORK_LOCK.0.get()).take() });
}

extern "C" fn in_child() {
    in_parent();
    lock::forget_thread();
    table::adopt();
    // SAFETY: asks for a number.
    let own = unsafe { libc::getpid() };
    for connection in connection::all() {
        connection.adopt(own);
        connection.unpark();
    }
}

/// Exports a call with any number of arguments: calls `$before` with the first one, and goes on at the address that it
/// returns with all registers and the stack as they were.
macro_rules! variadic {
    ($($name:ident before $before:ident)*) => {$(
        /// # Safety
        /// As for the call of libc of this name.
        #[cfg_attr(not(any(test, fuzzing)), unsafe(no_mangle))]
        #[unsafe(naked)]
        unsafe extern "C" fn $name() {
            #[cfg(target_arch = "x86_64")]
            core::arch::naked_asm!(
                "push rdi", "push rsi", "push rdx", "push rcx", "push r8", "push r9", "push rax",
                "sub rsp, 128",
                "movups [rsp], xmm0", "movups [rsp + 16], xmm1", "movups [rsp + 32], xmm2", "movups [rsp + 48], xmm3",
                "movups [rsp + 64], xmm4", "movups [rsp + 80], xmm5", "movups [rsp + 96], xmm6", "movups [rsp + 112], xmm7",
                "call {before}",
                "mov r11, rax",
                "movups xmm0, [rsp]", "movups xmm1, [rsp + 16]", "movups xmm2, [rsp + 32]", "movups xmm3, [rsp + 48]",
                "movups xmm4, [rsp + 64]", "movups xmm5, [rsp + 80]", "movups xmm6, [rsp + 96]", "movups xmm7, [rsp + 112]",
                "add rsp, 128",
                "pop rax", "pop r9", "pop r8", "pop rcx", "pop rdx", "pop rsi", "pop rdi",
                "jmp r11",
                before = sym $before,
            );
            #[cfg(target_arch = "aarch64")]
            core::arch::naked_asm!(
                "stp x29, x30, [sp, #-208]!",
                "stp x0, x1, [sp, #16]", "stp x2, x3, [sp, #32]", "stp x4, x5, [sp, #48]", "stp x6, x7, [sp, #64]",
                "stp q0, q1, [sp, #80]", "stp q2, q3, [sp, #112]", "stp q4, q5, [sp, #144]", "stp q6, q7, [sp, #176]",
                "bl {before}",
                "mov x16, x0",
                "ldp q6, q7, [sp, #176]", "ldp q4, q5, [sp, #144]", "ldp q2, q3, [sp, #112]", "ldp q0, q1, [sp, #80]",
                "ldp x6, x7, [sp, #64]", "ldp x4, x5, [sp, #48]", "ldp x2, x3, [sp, #32]", "ldp x0, x1, [sp, #16]",
                "ldp x29, x30, [sp], #208",
                "br x16",
                before = sym $before,
            );
        }
    )*};
}

variadic! {
    execl before before_execl
    execlp before before_execlp
    execle before before_execle
    clone before before_clone
    __clone before before_second_clone
    dprintf before before_dprintf
    __dprintf_chk before before_dprintf_chk
}

macro_rules! before {
    ($($name:ident of $call:literal: $leave:expr;)*) => {$(
        extern "C" fn $name(first: usize) -> usize {
            static CELL: AtomicUsize = AtomicUsize::new(0);
            let leave: fn(usize) = $leave;
            leave(first);
            real::resolve(&CELL, $call)
        }
    )*};
}

before! {
    before_execl of c"execl": |_| leave_inherited();
    before_execlp of c"execlp": |_| leave_inherited();
    before_execle of c"execle": |_| leave_inherited();
    before_clone of c"clone": |_| leave_to_copy();
    before_second_clone of c"__clone": |_| leave_to_copy();
    // It writes by a part of stdio that nobody stands in front of.
    before_dprintf of c"dprintf": |fd| table::leave(fd as c_int);
    before_dprintf_chk of c"__dprintf_chk": |fd| table::leave(fd as c_int);
}

/// Before another program: connections that it will have go back to their sockets, which it reads without us. In the child
/// of a `vfork`, whose descriptors are not the table's, the kernel is asked which of ours they are.
fn leave_inherited() {
    let errno = real::errno();
    epoll::tell_kernel_of_all();
    if connection::all().next().is_some() {
        for fd in 0..table::open_descriptors_end() {
            if let Some(at) = inherited_entry(fd) {
                table::leave(at);
            }
        }
    }
    real::set_errno(errno);
}

/// If `fd` stays open in the next program and leads to a socket of ours, a descriptor that the table has for it.
fn inherited_entry(fd: c_int) -> Option<c_int> {
    // SAFETY: asks for flags.
    let flags = unsafe { real::fcntl(fd, libc::F_GETFD, 0) };
    if flags < 0 || flags & libc::FD_CLOEXEC != 0 {
        return None;
    }
    let inode = table::socket_inode(fd)?;
    table::entered().find(|entered| {
        table::find(*entered).is_some_and(|found| {
            // What is not linked may not have learnt its inode.
            let known = found.inode.load(std::sync::atomic::Ordering::Relaxed);
            if known == 0 { table::socket_inode(*entered) == Some(inode) } else { known == inode }
        })
    })
}
