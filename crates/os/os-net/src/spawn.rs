//! Starting a process that has nothing but its standard streams and one channel.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal};

use crate::process_channel::{CHILD_DESCRIPTOR, Channel};

/// What to start.
#[derive(Debug, Clone)]
pub struct Program {
    /// The executable, usually `/proc/self/exe`: the same file even if its path has been replaced since.
    pub executable: PathBuf,
    /// What the process sees as its own name.
    pub name: OsString,
    /// Arguments after the name.
    pub arguments: Vec<OsString>,
    /// The whole environment; nothing is inherited.
    pub environment: Vec<(OsString, OsString)>,
}

/// A started process. Dropping it neither ends nor awaits the process.
#[derive(Debug)]
pub struct StartedProcess {
    /// To wait for it and to kill it.
    pub child: Child,
    /// Readable once the process has ended.
    pub pidfd: OwnedFd,
}

/// Starts a process with descriptors 0 to 2 as here (standard input is `/dev/null`), descriptor 3 the given end of a
/// channel, and no other. The kernel kills it when the *thread* that called this ends, so call it from a thread that
/// lives as long as the process is to.
pub fn start(program: &Program, channel: Channel) -> io::Result<StartedProcess> {
    // Numbers up to the child's are kept taken, so that nothing which the standard library opens for the start itself
    // lies where the channel is put.
    let reserved = rustix::io::fcntl_dupfd_cloexec(channel.as_fd(), CHILD_DESCRIPTOR)?;
    let channel_number = channel.as_raw_fd();
    let parent = rustix::process::getpid();
    let mut command = Command::new(&program.executable);
    command.arg0(&program.name).args(&program.arguments).stdin(Stdio::null());
    command.env_clear().envs(program.environment.iter().map(|(key, value)| (key, value)));
    // SAFETY: the closure runs between fork and exec. It makes system calls only, allocates nothing, takes no lock,
    // and uses `channel_number` while `channel` is still open in the copied descriptor table.
    unsafe { command.pre_exec(move || prepare_child(channel_number, parent)) };
    let mut child = command.spawn()?;
    drop(reserved);
    let number = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or(Errno::INVAL)?;
    // The child is not awaited yet, so that its number cannot belong to another process.
    match rustix::process::pidfd_open(number, PidfdFlags::empty()) {
        Ok(pidfd) => Ok(StartedProcess { child, pidfd }),
        Err(errno) => {
            child.kill()?;
            child.wait()?;
            Err(errno.into())
        }
    }
}

/// Runs in the child before exec.
fn prepare_child(channel: RawFd, parent: Pid) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    if rustix::process::getppid() != Some(parent) {
        // The parent died before the line above; nobody would end this process.
        return Err(Errno::SRCH.into());
    }
    // SAFETY: plain system calls on numbers; descriptor 3 of this single-threaded copy belongs to nobody but the
    // reservation, and what is marked close-on-exec here is closed by the exec that follows.
    let done = unsafe {
        let placed = if channel == CHILD_DESCRIPTOR {
            libc::fcntl(channel, libc::F_SETFD, 0)
        } else {
            libc::dup2(channel, CHILD_DESCRIPTOR)
        };
        if placed == -1 {
            -1
        } else {
            let first = (CHILD_DESCRIPTOR + 1).cast_unsigned();
            let closed = libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC);
            // Before Linux 5.11 the flag is unknown. All descriptors of this project are close-on-exec by themselves.
            if closed == -1 && *libc::__errno_location() != libc::EINVAL && *libc::__errno_location() != libc::ENOSYS {
                -1
            } else {
                0
            }
        }
    };
    if done == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
