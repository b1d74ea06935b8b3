//! What a wrong key was probably meant to be.

/// Keys that only one role has, as paths of the file.
const ENTRY_KEYS: &[&str] =
    &["peer", "listen", "shaping.up", "shaping.down", "limits.handshake_timeout_s", "budget", "hops"];
const EXIT_KEYS: &[&str] = &[
    "peers",
    "exit_policy",
    "directory",
    "shaping.max_rate",
    "network.public_address",
    "network.source_addresses",
    "network.hop_ports",
    "network.hop_addresses",
    "network.onion_key_file",
    "limits.connect_timeout_s",
    "limits.udp_idle_timeout_s",
    "limits.tunnels",
];

/// The role that has this key, if it is not `role`.
pub(crate) fn other_role(path: &str, role: Option<&'static str>) -> Option<&'static str> {
    match role {
        Some("entry") if EXIT_KEYS.contains(&path) => Some("exit"),
        Some("exit") if ENTRY_KEYS.contains(&path) => Some("entry"),
        _ => None,
    }
}

/// The known key that is at most a third of its letters away from what was written.
pub(crate) fn nearest(written: &str, known: &[&'static str]) -> Option<&'static str> {
    known
        .iter()
        .map(|key| (distance(written, key), *key))
        .filter(|(distance, key)| *distance <= (key.len() / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, key)| key)
}

/// Letters to insert, delete or replace (Levenshtein's distance).
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, letter) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (column, other) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *other);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_slips_are_recognised_and_other_words_are_not() {
        let known = ["packet_size", "bind", "mode"];
        assert_eq!(nearest("packetsize", &known), Some("packet_size"));
        assert_eq!(nearest("bnd", &known), Some("bind"));
        assert_eq!(nearest("modus", &known), None);
        assert_eq!(nearest("colour", &known), None);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
    }

    #[test]
    fn keys_of_the_other_role_are_named() {
        assert_eq!(other_role("peers", Some("entry")), Some("exit"));
        assert_eq!(other_role("listen", Some("exit")), Some("entry"));
        assert_eq!(other_role("listen", Some("entry")), None);
        assert_eq!(other_role("peers", None), None);
    }
}
