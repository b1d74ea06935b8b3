//! How many descriptors this process may have.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors that are kept for everything that is neither a port nor a flow: logs, the resolver, files being read.
pub(crate) const DESCRIPTORS_KEPT: u64 = 64;

/// Raises the limit of open files so that `needed` fit, the hard limit too where that is allowed. Returns the limit in
/// force, which may be lower.
pub(crate) fn raise_descriptor_limit(needed: u64) -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let unlimited = u64::MAX;
    if limit.current.unwrap_or(unlimited) >= needed {
        return limit.current.unwrap_or(unlimited);
    }
    let hard = limit.maximum.unwrap_or(unlimited);
    if hard < needed && setrlimit(Resource::Nofile, Rlimit { current: Some(needed), maximum: Some(needed) }).is_ok() {
        return needed;
    }
    // Fails only if the kernel's own bound is below the hard limit; then nothing changes.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(hard), maximum: limit.maximum });
    getrlimit(Resource::Nofile).current.unwrap_or(unlimited)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_at_least_what_was_there() {
        let before = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        assert!(raise_descriptor_limit(1) >= before);
        assert!(raise_descriptor_limit(before + 1) >= before);
    }
}
