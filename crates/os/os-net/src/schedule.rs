//! How the kernel schedules the calling thread: real-time priority, core, timer slack.

use std::num::NonZeroU64;

use rustix::io::Errno;
use rustix::thread::CpuSet;
use thiserror::Error;

/// Why the kernel does not schedule the thread as asked. The thread goes on as before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ScheduleError {
    /// Real-time priority needs `CAP_SYS_NICE` or a limit `RLIMIT_RTPRIO` of at least the priority.
    #[error("no permission for real-time priority {0}: give the service LimitRTPRIO={0} or switch it off")]
    NotPermitted(u8),
    /// The priority is outside 1..=99.
    #[error("real-time priority {0} is outside 1..=99")]
    PriorityRange(u8),
    /// The machine has no such core, or this process may not use it.
    #[error("core {0} does not exist or is not allowed for this process")]
    NoSuchCore(usize),
    /// Any other answer of the system.
    #[error("the scheduler refused: {0}")]
    System(Errno),
}

/// Gives the calling thread the real-time policy `SCHED_FIFO` with `priority` in 1..=99. Threads that it starts
/// later do not inherit it.
pub fn set_fifo(priority: u8) -> Result<(), ScheduleError> {
    if !(1..=99).contains(&priority) {
        return Err(ScheduleError::PriorityRange(priority));
    }
    let parameters = libc::sched_param { sched_priority: i32::from(priority) };
    let policy = libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK;
    // SAFETY: `parameters` is a valid `sched_param` that the kernel only reads; pid 0 is the calling thread.
    if unsafe { libc::sched_setscheduler(0, policy, &raw const parameters) } == 0 {
        return Ok(());
    }
    match Errno::from_io_error(&std::io::Error::last_os_error()) {
        Some(Errno::PERM) => Err(ScheduleError::NotPermitted(priority)),
        other => Err(ScheduleError::System(other.unwrap_or(Errno::IO))),
    }
}

/// Lets the calling thread, and threads that it starts later, run on one core only.
pub fn pin_to_core(core: usize) -> Result<(), ScheduleError> {
    if core >= CpuSet::MAX_CPU {
        return Err(ScheduleError::NoSuchCore(core));
    }
    let mut cores = CpuSet::new();
    cores.set(core);
    rustix::thread::sched_setaffinity(None, &cores).map_err(|errno| match errno {
        Errno::INVAL => ScheduleError::NoSuchCore(core),
        other => ScheduleError::System(other),
    })
}

/// The cores on which the calling thread may run, in ascending order.
pub fn allowed_cores() -> Result<Vec<usize>, ScheduleError> {
    let allowed = rustix::thread::sched_getaffinity(None).map_err(ScheduleError::System)?;
    Ok((0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core)).collect())
}

/// Asks for timers of the calling thread to fire as exactly as the hardware can (timer slack of 1 ns instead of
/// 50 us).
pub fn set_exact_timers() -> Result<(), ScheduleError> {
    rustix::thread::set_current_timer_slack(NonZeroU64::new(1)).map_err(ScheduleError::System)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_can_be_pinned_to_a_core_that_exists() -> Result<(), ScheduleError> {
        let core = allowed_cores()?.first().copied().unwrap_or(0);
        std::thread::scope(|scope| {
            let pinned = scope.spawn(move || {
                pin_to_core(core)?;
                rustix::thread::sched_getaffinity(None).map_err(ScheduleError::System)
            });
            let cores = pinned.join().map_err(|_| ScheduleError::System(Errno::IO))??;
            assert_eq!(cores.count(), 1);
            assert!(cores.is_set(core));
            Ok(())
        })
    }

    #[test]
    fn impossible_cores_and_priorities_are_refused() {
        assert_eq!(pin_to_core(1023), Err(ScheduleError::NoSuchCore(1023)));
        assert_eq!(pin_to_core(1 << 20), Err(ScheduleError::NoSuchCore(1 << 20)));
        assert_eq!(set_fifo(0), Err(ScheduleError::PriorityRange(0)));
        assert_eq!(set_fifo(100), Err(ScheduleError::PriorityRange(100)));
    }

    #[test]
    fn timers_can_be_made_exact() -> Result<(), ScheduleError> {
        std::thread::scope(|scope| {
            let slack = scope.spawn(|| {
                set_exact_timers()?;
                rustix::thread::current_timer_slack().map_err(ScheduleError::System)
            });
            assert_eq!(slack.join().map_err(|_| ScheduleError::System(Errno::IO))??, 1);
            Ok(())
        })
    }
}
