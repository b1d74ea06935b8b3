//! What the user asked to be swapped, from the environment.
//!
//! Programs overwrite their environment (to change the title that `ps` shows), so it is read once, at the first call that
//! asks, and copied.

use std::ffi::CStr;
use std::sync::atomic::{AtomicU8, Ordering};

/// Patterns of socket paths, separated by colons; `*` stands for anything. Unset: every path.
const PATHS: &CStr = c"HUSHWIRE_SWAP_PATHS";
/// Names of programs, separated by colons. Unset: every program.
const PROGRAMS: &CStr = c"HUSHWIRE_SWAP_PROGRAMS";
/// A file to which each process adds a line of counts when it ends.
const STATISTICS: &CStr = c"HUSHWIRE_SWAP_STATS";

/// Longest value that is taken from the environment. A longer one of the first two swaps nothing.
const VALUE_BYTES_MAX: usize = 4096;

struct Value {
    bytes: [u8; VALUE_BYTES_MAX],
    length: usize,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Unset,
    Set,
    TooLong,
}

impl Value {
    const EMPTY: Self = Self { bytes: [0; VALUE_BYTES_MAX], length: 0, state: State::Unset };

    fn read(&mut self, name: &CStr) {
        // SAFETY: a terminated name; the answer is used at once.
        let found = unsafe { libc::getenv(name.as_ptr()) };
        if found.is_null() {
            return;
        }
        // SAFETY: the environment's strings are terminated.
        let value = unsafe { CStr::from_ptr(found) }.to_bytes_with_nul();
        self.state = if value.len() > VALUE_BYTES_MAX { State::TooLong } else { State::Set };
        if self.state == State::Set {
            self.bytes[..value.len()].copy_from_slice(value);
            self.length = value.len() - 1;
        }
    }

    /// Whether the value is unset, or one of its patterns fits.
    fn allows(&self, text: &[u8]) -> bool {
        match self.state {
            State::Unset => true,
            State::TooLong => false,
            State::Set => self.bytes[..self.length].split(|byte| *byte == b':').any(|pattern| fits(pattern, text)),
        }
    }
}

struct Selection {
    paths: Value,
    programs: Value,
    statistics: Value,
}

struct Shared(std::cell::UnsafeCell<Selection>);

// SAFETY: written by one thread before `READY` says so, and only read after it.
unsafe impl Sync for Shared {}

static SELECTION: Shared = Shared(std::cell::UnsafeCell::new(Selection {
    paths: Value::EMPTY,
    programs: Value::EMPTY,
    statistics: Value::EMPTY,
}));
static PROGRESS: AtomicU8 = AtomicU8::new(0);
const READING: u8 = 1;
const READY: u8 = 2;

fn selection() -> Option<&'static Selection> {
    match PROGRESS.compare_exchange(0, READING, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => {
            // SAFETY: only the thread that changed 0 to `READING` comes here, and nobody reads before `READY`.
            let selection = unsafe { &mut *SELECTION.0.get() };
            selection.paths.read(PATHS);
            selection.programs.read(PROGRAMS);
            selection.statistics.read(STATISTICS);
            if selection.statistics.state == State::Set {
                swap_link::statistics::want();
            }
            PROGRESS.store(READY, Ordering::Release);
        }
        Err(READY) => {}
        // Another thread reads it, or this is a signal handler within: the connection at hand stays plain.
        Err(_) => return None,
    }
    // SAFETY: complete, and never written again.
    Some(unsafe { &*SELECTION.0.get() })
}

/// Whether connections through this address are wanted. Unnamed and abstract addresses count as `@name`.
pub(crate) fn wants(path: &[u8]) -> bool {
    selection().is_some_and(|selection| selection.paths.allows(path) && selection.programs.allows(program()))
}

/// Where to add the line of counts.
pub(crate) fn statistics_path() -> Option<&'static CStr> {
    let value = &selection()?.statistics;
    if value.state != State::Set { None } else { CStr::from_bytes_until_nul(&value.bytes).ok() }
}

/// Reads the environment while it is still what the user set.
pub(crate) fn prepare() {
    let _ = selection();
}

#[used]
// SAFETY: the section holds pointers to functions of this type, which the loader calls once.
#[unsafe(link_section = ".init_array")]
static PREPARE: extern "C" fn() = prepare_early;

extern "C" fn prepare_early() {
    prepare();
    crate::alone::prepare();
    #[cfg(not(any(test, fuzzing)))]
    crate::hooks::watch_forks();
}

fn program() -> &'static [u8] {
    // SAFETY: glibc and musl define it with this type.
    unsafe extern "C" {
        static program_invocation_short_name: *const libc::c_char;
    }
    // SAFETY: libc sets it before any code of ours runs; it is terminated.
    unsafe {
        if program_invocation_short_name.is_null() {
            &[]
        } else {
            CStr::from_ptr(program_invocation_short_name).to_bytes()
        }
    }
}

/// Whether `text` fits `pattern`, in which `*` stands for any bytes.
fn fits(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut from) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while from < text.len() {
        if pattern.get(at) == Some(&b'*') {
            star = Some((at, from));
            at += 1;
        } else if pattern.get(at) == Some(&text[from]) {
            at += 1;
            from += 1;
        } else if let Some((star_at, star_from)) = star {
            at = star_at + 1;
            from = star_from + 1;
            star = Some((star_at, star_from + 1));
        } else {
            return false;
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_anything() {
        for (pattern, text) in
            [("", ""), ("*", ""), ("*", "/a"), ("/run/*.sock", "/run/a/b.sock"), ("@*", "@x"), ("a*b*c", "abxbc")]
        {
            assert!(fits(pattern.as_bytes(), text.as_bytes()), "{pattern} {text}");
        }
        for (pattern, text) in [("", "a"), ("/run/*.sock", "/run/a.socket"), ("a", "ab"), ("a*b", "ac"), ("ab", "a")] {
            assert!(!fits(pattern.as_bytes(), text.as_bytes()), "{pattern} {text}");
        }
    }
}
