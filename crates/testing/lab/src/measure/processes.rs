//! What processes use, from the kernel.

use std::fs;
use std::path::Path;

/// Processes under measurement, in the order in which tables show them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Watched(pub(super) Vec<(String, u32)>);

impl Watched {
    /// Nanoseconds of processor time of each so far.
    pub(super) fn cpu_ns(&self) -> Vec<u64> {
        self.0.iter().map(|(_, pid)| cpu_ns(*pid)).collect()
    }

    /// Seconds of processor time of each since `before`.
    pub(super) fn cpu_since(&self, before: &[u64]) -> Vec<f64> {
        self.cpu_ns().iter().zip(before).map(|(now, before)| now.saturating_sub(*before) as f64 / 1e9).collect()
    }

    pub(super) fn names(&self) -> Vec<&str> {
        self.0.iter().map(|(name, _)| name.as_str()).collect()
    }
}

/// Time on a processor of all threads (the first number of schedstat, in nanoseconds). A process that is gone, and one
/// on a kernel without schedstat, has used nothing.
pub(crate) fn cpu_ns(pid: u32) -> u64 {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return 0 };
    threads.flatten().filter_map(|thread| run_time(&thread.path().join("schedstat"))).sum()
}

fn run_time(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.split_whitespace().next()?.parse().ok()
}

/// Resident bytes of a process without shared segments: the mappings of a memfd are left out.
pub(super) fn resident_without_segments(pid: u32) -> u64 {
    let maps = fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap_or_default();
    sum_resident(&maps)
}

fn sum_resident(maps: &str) -> u64 {
    let mut counts = true;
    let mut bytes = 0;
    for line in maps.lines() {
        let mut words = line.split_whitespace();
        let first = words.next().unwrap_or_default();
        if first == "Rss:" {
            let kilobytes: u64 = words.next().and_then(|number| number.parse().ok()).unwrap_or(0);
            bytes += if counts { kilobytes * 1024 } else { 0 };
        } else if !first.ends_with(':') {
            counts = !line.contains("/memfd:");
        }
    }
    bytes
}

/// The one, five and fifteen minutes' averages.
pub(super) fn load_average() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().take(3).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_time_and_memory() {
        let watched = Watched(vec![("me".to_owned(), std::process::id())]);
        let before = watched.cpu_ns();
        let mut sum = 0_u64;
        while watched.cpu_since(&before)[0] < 0.01 {
            sum = sum.wrapping_add((0..10_000_u64).sum());
        }
        assert!(sum > 0);
        assert!(resident_without_segments(std::process::id()) > 100_000);
    }

    #[test]
    fn shared_segments_are_left_out() {
        let maps = "7f00-7f01 rw-p 0 00:00 0 \nSize: 8 kB\nRss: 4 kB\nVmFlags: rd\n\
                    7f02-7f03 rw-s 0 00:01 9 /memfd:hushwire (deleted)\nRss: 100 kB\n\
                    7f04-7f05 r-xp 0 08:01 7 /usr/bin/x\nRss: 8 kB\n";
        assert_eq!(sum_resident(maps), 12 * 1024);
    }
}
