//! Processes, descriptors and mappings, as the kernel counts them.

use std::collections::BTreeMap;
use std::fs;

/// What a process holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Holdings {
    pub(crate) descriptors: usize,
    /// Descriptors of shared segments, and mappings of them.
    pub(crate) segment_descriptors: usize,
    pub(crate) segment_mappings: usize,
}

/// `None` if the process may not be looked at: a confined one shows itself only to the superuser.
pub(crate) fn holdings(pid: u32) -> Option<Holdings> {
    let is_segment = |text: &str| text.contains("memfd:");
    let entries: Vec<_> = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.filter_map(Result::ok).collect();
    let targets = entries.iter().filter_map(|entry| fs::read_link(entry.path()).ok());
    let segment_descriptors = targets.filter(|target| is_segment(&target.to_string_lossy())).count();
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
    let segment_mappings = maps.lines().filter(|line| is_segment(line)).count();
    Some(Holdings { descriptors: entries.len(), segment_descriptors, segment_mappings })
}

/// Whether a process exists and is no zombie.
pub(crate) fn is_alive(pid: u32) -> bool {
    state_and_parent(pid).is_some_and(|(state, _)| !matches!(state, 'Z' | 'X'))
}

/// The children of a process, those included that ended and were not awaited, with their state.
pub(crate) fn children(parent: u32) -> BTreeMap<u32, char> {
    let Ok(entries) = fs::read_dir("/proc") else { return BTreeMap::new() };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let found = pids.filter_map(|pid| Some((pid, state_and_parent(pid)?)));
    found.filter(|(_, (_, of))| *of == parent).map(|(pid, (state, _))| (pid, state)).collect()
}

fn state_and_parent(pid: u32) -> Option<(char, u32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before it may hold anything.
    let mut rest = stat.rsplit_once(')')?.1.split_whitespace();
    Some((rest.next()?.chars().next()?, rest.next()?.parse().ok()?))
}
