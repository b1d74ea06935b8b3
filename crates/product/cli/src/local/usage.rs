//! What a process has used, from the kernel.

use std::fs;

/// Clock ticks per second in /proc (`USER_HZ`), the same on every Linux architecture in use.
const TICKS_PER_SECOND: f64 = 100.0;

/// Processor seconds, user and system, of a process with all its threads; `None` when it is gone.
pub(crate) fn cpu_seconds(pid: u32) -> Option<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may contain anything, so fields are counted behind it (proc(5)): utime is the 14th,
    // stime the 15th, and the first behind the name is the third.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_SECOND)
}

/// Resident bytes of a process without shared segments; `None` when it is gone.
pub(crate) fn private_bytes(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let kilobytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
    };
    Some((kilobytes("RssAnon:")? + kilobytes("RssFile:")?) * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_used_something() {
        let me = std::process::id();
        let before = cpu_seconds(me).expect("this process is there");
        let mut sum = 0_u64;
        while cpu_seconds(me).is_some_and(|now| now < before + 0.02) {
            sum = sum.wrapping_add((0..10_000_u64).sum());
        }
        assert!(sum > 0);
        assert!(private_bytes(me).is_some_and(|bytes| bytes > 100 << 10));
        assert_eq!(cpu_seconds(u32::MAX), None);
    }
}
