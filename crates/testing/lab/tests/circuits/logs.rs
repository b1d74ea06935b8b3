//! What must stand in no log, at no level.

use std::net::SocketAddr;

use lab::circuits::CircuitNet;

/// Letters and digits in a row that are more than a number of this machine: 16 bytes in hexadecimal, or a key. Nonces of tunnels,
/// which nobody outside of the processes knows, would be such words.
const LONG_WORD: usize = 32;

/// Reads the logs of all processes after they have ended.
pub(crate) fn name_nobody(net: CircuitNet, destinations: &[SocketAddr]) -> anyhow::Result<()> {
    let secrets = secrets(&net)?;
    assert!(secrets.len() >= 3 * net.relays().len(), "keys and onion keys of all relays");
    let relays = net.relays().iter().chain([net.exit()]);
    let relays: Vec<(String, String)> =
        relays.map(|relay| (relay.node_id.to_string(), relay.address.to_string())).collect();
    let destinations: Vec<String> = destinations.iter().map(ToString::to_string).collect();
    let exit = net.exit().address.to_string();
    let files = net.log_files();
    let kept = net.end()?;
    for (name, file) in files {
        let log = std::fs::read_to_string(&file)?;
        assert!(log.contains("TRACE") || log.contains("INFO"), "{name} writes no log");
        // An exit is told by its own file where it listens.
        let addresses = relays.iter().map(|(_, address)| address).filter(|address| name != "exit" || **address != exit);
        let names = relays.iter().map(|(id, _)| id);
        let private = secrets.iter().chain(&destinations).chain(addresses).chain(names);
        let found: Vec<&String> = private.filter(|text| log.contains(text.as_str())).collect();
        assert!(found.is_empty(), "{found:?} in the log of {name}");
        let long: Vec<&str> = log.lines().filter(|line| is_suspicious(line)).take(5).collect();
        assert!(long.is_empty(), "in the log of {name}: {long:#?}");
    }
    drop(kept);
    Ok(())
}

/// Whether a line has a long word, or a list of as many bytes as a key has, as Rust prints them. QUIC's own tracing tells the first
/// connection id of a session, a random number that nobody sees outside of it.
fn is_suspicious(line: &str) -> bool {
    let mut words = line.split(|letter: char| !letter.is_ascii_alphanumeric());
    let is_byte = |word: &str| word.trim_matches(['[', ']', '(', ')']).parse::<u8>().is_ok();
    let words_of_list: Vec<bool> = line.split(", ").map(is_byte).collect();
    let has_list = words_of_list.windows(LONG_WORD / 2 - 2).any(|run| run.iter().all(|is_byte| *is_byte));
    !line.contains(" quinn_proto::") && (has_list || words.any(|word| word.len() >= LONG_WORD))
}

/// The secret words of all key files.
fn secrets(net: &CircuitNet) -> anyhow::Result<Vec<String>> {
    let mut secrets = Vec::new();
    for entry in std::fs::read_dir(net.folder())? {
        let path = entry?.path();
        let kind = path.extension().and_then(|kind| kind.to_str()).unwrap_or_default();
        if ["key", "keys", "onion-keys"].contains(&kind) {
            let text = std::fs::read_to_string(&path)?;
            let lines = text.lines().filter(|line| !line.starts_with('#'));
            let last_words = lines.filter_map(|line| line.split_whitespace().last().map(str::to_owned));
            secrets.extend(last_words.filter(|word| word.len() >= LONG_WORD));
        }
    }
    Ok(secrets)
}
