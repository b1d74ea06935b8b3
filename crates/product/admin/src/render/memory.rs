//! What memory is bounded by, and what tunnels hold.

use super::{UNKNOWN, binary, optional};
use crate::status::{HeldMemory, Memory};

/// The row of the screen.
pub(super) fn text(memory: &Memory) -> String {
    let segments = optional(memory.segments_bytes, binary);
    let bound = memory.session_bound_bytes.map_or(UNKNOWN.to_owned(), |bytes| format!("at most {}", binary(bytes)));
    let held = memory.held.map_or_else(String::new, |held| format!(", held {}", held_text(&held)));
    let cut = [(memory.flows_cut, "flows"), (memory.sessions_cut, "sessions")].map(|(cut, what)| {
        let cut = cut.filter(|number| *number > 0);
        cut.map_or_else(String::new, |number| format!(", {number} {what} cut for want of it"))
    });
    format!("segments {segments}, sessions {bound}{held}{}", cut.concat())
}

/// `1.2 MiB (unread 1.0 MiB, overhead 200 KiB)`: kinds of which something is held, but for queues.
pub(super) fn held_text(held: &HeldMemory) -> String {
    let HeldMemory { reorder, unread, unacknowledged, waiting, legs, handshakes, overhead, queues: _ } = *held;
    let kinds = [
        ("out of order", reorder),
        ("unread", unread),
        ("unacknowledged", unacknowledged),
        ("waiting", waiting),
        ("legs", legs),
        ("handshakes", handshakes),
        ("overhead", overhead),
    ];
    let kinds = kinds.into_iter().filter(|(_, bytes)| *bytes > 0);
    let kinds: Vec<String> = kinds.map(|(name, bytes)| format!("{name} {}", binary(bytes))).collect();
    if kinds.is_empty() { binary(0) } else { format!("{} ({})", binary(held.total()), kinds.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_which_nothing_is_held_are_left_out() {
        let held = HeldMemory { unread: 1 << 20, overhead: 32 << 10, queues: 1 << 30, ..HeldMemory::default() };
        assert_eq!(held_text(&held), "1.0 MiB (unread 1.0 MiB, overhead 32.0 KiB)");
        assert_eq!(held_text(&HeldMemory::default()), "0 B");
        let memory = Memory { held: Some(held), flows_cut: Some(3), ..Memory::default() };
        assert!(text(&memory).ends_with("overhead 32.0 KiB), 3 flows cut for want of it"), "{}", text(&memory));
        let memory = Memory { sessions_cut: Some(1), ..memory };
        assert!(text(&memory).ends_with("cut for want of it, 1 sessions cut for want of it"), "{}", text(&memory));
    }
}
