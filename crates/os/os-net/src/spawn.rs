//! Starting a process that has nothing but its standard streams and one channel.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
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

impl StartedProcess {
    /// Number of the process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

/// Ends a process at once. A process that has ended already is no error.
pub fn kill(pidfd: BorrowedFd<'_>) -> io::Result<()> {
    match rustix::process::pidfd_send_signal(pidfd, Signal::KILL) {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Starts a process with descriptors 0 to 2 as here (standard input is `/dev/null`), descriptor 3 the given end of a
/// channel, and no other. The kernel kills it when the *thread* that called this ends, so call it from a thread that
/// lives as long as the process is to.
///
/// It stands in a process group of its own and ignores SIGINT and SIGTERM: a Ctrl-C or a service manager means the
/// supervisor, which tells the process over the channel.
pub fn start(program: &Program, channel: Channel) -> io::Result<StartedProcess> {
    // Numbers up to the child's are kept taken, so that nothing which the standard library opens for the start itself
    // lies where the channel is put.
    let reserved = rustix::io::fcntl_dupfd_cloexec(channel.as_fd(), CHILD_DESCRIPTOR)?;
    let channel_number = channel.as_raw_fd();
    let parent = rustix::process::getpid();
    let mut command = Command::new(&program.executable);
    command.arg0(&program.name).args(&program.arguments).stdin(Stdio::null());
    command.process_group(0);
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
    // SAFETY: plain system calls on numbers; SIG_IGN is no function that could run, and stays so across exec; descriptor 3 of this single-threaded copy belongs to nobody but the
    // reservation, and what is marked close-on-exec here is closed by the exec that follows.
    let done = unsafe {
        libc::signal(libc::SIGINT, libc::SIG_IGN);
        libc::signal(libc::SIGTERM, libc::SIG_IGN);
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

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::time::{Duration, Instant};

    use super::*;

    type Outcome = Result<(), Box<dyn std::error::Error>>;

    fn shell(script: &str, environment: &[(&str, &str)]) -> Program {
        Program {
            executable: "/bin/sh".into(),
            name: "sh".into(),
            arguments: vec!["-c".into(), script.into()],
            environment: environment.iter().map(|(key, value)| (key.into(), value.into())).collect(),
        }
    }

    /// Waits until the other end of a channel is closed; whatever comes before is no JSON.
    fn wait_for_end(channel: &Channel) -> Outcome {
        use crate::process_channel::ReceiveError;
        loop {
            match channel.receive::<serde_json::Value>(Some(Duration::from_secs(50))) {
                Err(ReceiveError::Closed) => return Ok(()),
                Ok(None) => return Err("the process does not end".into()),
                _ => {}
            }
        }
    }

    #[test]
    fn a_process_has_four_descriptors_and_the_environment_it_was_given() -> Outcome {
        let (here, there) = Channel::pair()?;
        // A descriptor that is not close-on-exec must not get through either.
        let (reader, _writer) = rustix::pipe::pipe()?;
        let leaky = rustix::io::dup(&reader)?;
        rustix::io::fcntl_setfd(&leaky, rustix::io::FdFlags::empty())?;
        let mut started = start(&shell("echo '\"up\"' >&3; exec sleep 60", &[("KEY", "value")]), there)?;
        let up = here.receive::<serde_json::Value>(Some(Duration::from_secs(50)))?.ok_or("silence")?;
        assert_eq!(up.message, serde_json::json!("up"));
        // The shell, and the loader of `sleep`, have descriptors of their own for a moment.
        let numbers = || -> io::Result<Vec<String>> {
            let entries = std::fs::read_dir(format!("/proc/{}/fd", started.pid()))?;
            let mut numbers: Vec<String> =
                entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
            numbers.sort();
            Ok(numbers)
        };
        let deadline = Instant::now() + Duration::from_secs(50);
        while numbers()? != ["0", "1", "2", "3"] && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(numbers()?, ["0", "1", "2", "3"]);
        // It is empty until the kernel is through with starting `sleep`.
        let mut environment = String::new();
        while environment.is_empty() {
            std::fs::File::open(format!("/proc/{}/environ", started.pid()))?.read_to_string(&mut environment)?;
        }
        assert!(environment.contains("KEY=value") && !environment.contains("CARGO"), "{environment}");
        kill(started.pidfd.as_fd())?;
        assert!(!started.child.wait()?.success());
        kill(started.pidfd.as_fd())?;
        wait_for_end(&here)
    }

    #[test]
    fn a_process_ignores_ctrl_c_and_dies_with_the_thread_that_started_it() -> Outcome {
        let (here, there) = Channel::pair()?;
        let starter = std::thread::spawn(move || {
            let started = start(&shell("kill -INT $$; kill -TERM $$; echo '\"alive\"' >&3; exec sleep 60", &[]), there);
            let alive = here.receive::<serde_json::Value>(Some(Duration::from_secs(50)));
            (here, started, alive.map(|alive| alive.map(|alive| alive.message)))
        });
        let (here, started, alive) = starter.join().map_err(|_| "the starter panicked")?;
        assert_eq!(alive?, Some(serde_json::json!("alive")));
        wait_for_end(&here)?;
        assert!(!started?.child.wait()?.success());
        Ok(())
    }

    #[test]
    fn a_program_that_does_not_exist_is_an_error_here() -> Outcome {
        let (_here, there) = Channel::pair()?;
        let program = Program { executable: "/nonexistent/program".into(), ..shell("", &[]) };
        assert_eq!(start(&program, there).err().map(|error| error.kind()), Some(io::ErrorKind::NotFound));
        Ok(())
    }
}
