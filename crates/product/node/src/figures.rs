//! What `/proc` says about a process.

use std::time::Duration;

/// Clock ticks per second in `/proc`, the same on every Linux that Hushwire runs on.
const TICKS_PER_SECOND: u64 = 100;

/// Time and memory that a process has used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Figures {
    /// User and system time.
    pub(crate) cpu: Duration,
    /// Bytes of resident memory, shared segments included.
    pub(crate) rss_bytes: u64,
    /// Of these, bytes of shared memory.
    pub(crate) shared_bytes: u64,
}

/// Reads the figures of a process; `None` if it has ended or `/proc` is hidden.
pub(crate) fn read(pid: u32) -> Option<Figures> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    Some(Figures { cpu: cpu(&stat)?, rss_bytes: kib(&status, "VmRSS:")?, shared_bytes: kib(&status, "RssShmem:")? })
}

/// Fields 14 and 15 of `stat`, counted behind the program's name, which may contain anything.
fn cpu(stat: &str) -> Option<Duration> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut ticks = fields.split_ascii_whitespace().skip(11).map(str::parse::<u64>);
    let ticks = ticks.next()?.ok()?.checked_add(ticks.next()?.ok()?)?;
    Some(Duration::from_millis(ticks.checked_mul(1000 / TICKS_PER_SECOND)?))
}

fn kib(status: &str, key: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_ascii_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        let stat = "42 (a) b) (c) S 1 42 42 0 -1 4194304 90 0 0 0 150 25 0 0 20 0 1 0 12345 1000 200";
        assert_eq!(cpu(stat), Some(Duration::from_millis(1750)));
        assert_eq!(cpu("garbage"), None);
        assert_eq!(cpu("1 (x) S 1 2"), None);
    }

    #[test]
    fn sizes_are_in_kib() {
        let status = "Name:\tx\nVmRSS:\t    1234 kB\nRssShmem:\t       0 kB\n";
        assert_eq!(kib(status, "VmRSS:"), Some(1234 * 1024));
        assert_eq!(kib(status, "RssShmem:"), Some(0));
        assert_eq!(kib(status, "VmPeak:"), None);
    }

    #[test]
    fn this_process_has_figures_and_no_process_has_none() {
        let own = read(std::process::id());
        assert!(own.is_some_and(|own| own.rss_bytes > 0 && own.rss_bytes >= own.shared_bytes));
        assert_eq!(read(u32::MAX), None);
    }
}
