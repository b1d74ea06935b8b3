//! What became of a relay's words, for people.

use identity::NodeId;
use relay_directory::Refusal;

/// What became of the last attempt.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Outcome {
    /// There is no edition yet, and so no clock of intervals.
    #[default]
    Waiting,
    /// The directory has it.
    Said,
    /// The directory does not take it: its code, and why in words, with what to do.
    Refused(u8, String),
    /// Nobody was reached, or nobody could have it ordered.
    Unreached(String),
    /// It cannot be said as it is configured.
    Invalid(String),
    /// The onion secrets cannot be written, so nobody is told of their keys.
    Keys(String),
}

/// How a publisher stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PublisherStatus {
    /// What became of the last attempt.
    pub outcome: Outcome,
    /// When the words that the directory has were said, in milliseconds since 1970 UTC.
    pub said_ms: Option<u64>,
    /// Until when they hold, in milliseconds since 1970 UTC.
    pub until_ms: Option<u64>,
    /// When to speak next, in milliseconds since 1970 UTC; 0 for at once.
    pub next_ms: u64,
    /// Of which number the relay's present onion key is.
    pub key_interval: Option<u64>,
    /// Whether the newest edition has the relay; `None` while there is none.
    pub is_listed: Option<bool>,
}

/// The directory's sentence with what the operator of this relay can do.
pub(super) fn with_advice(code: u8, sentence: &str, node: NodeId) -> String {
    let sentence = plain(sentence);
    let is = |refusals: &[Refusal]| refusals.iter().any(|refusal| refusal.code() == code);
    let advice = if is(&[Refusal::NotAdmitted]) {
        format!("the operators have to admit {node}; it is said again until they have")
    } else if is(&[Refusal::NotVouchedFor]) {
        "claim less in the relay's configuration, or have the operators admit it with more".to_owned()
    } else if is(&[Refusal::Old]) {
        "either this machine's clock was ahead before, or another machine runs with this node's keys".to_owned()
    } else if is(&[Refusal::Ahead, Refusal::Expired, Refusal::Lasting, Refusal::OnionKeys]) {
        "this machine's clock is the likely cause".to_owned()
    } else if is(&[Refusal::SharedKey]) {
        "if this machine was copied from another relay, give it keys of its own".to_owned()
    } else if is(&[Refusal::Quota]) {
        "it is said again later".to_owned()
    } else {
        return sentence;
    };
    format!("{sentence}: {advice}")
}

/// Whoever was asked may have written anything.
pub(crate) fn plain(sentence: &str) -> String {
    sentence.chars().map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use identity::NodeSecret;

    #[test]
    fn refusals_say_what_to_do_and_nobody_writes_to_the_terminal() {
        let node = NodeSecret::from_seed([1; 32]).node_id();
        let said = |refusal: Refusal| with_advice(refusal.code(), &refusal.to_string(), node);
        assert!(said(Refusal::NotAdmitted).contains(&node.to_string()));
        assert!(said(Refusal::Ahead).contains("clock"));
        assert!(said(Refusal::SharedKey).ends_with("give it keys of its own"));
        assert_eq!(said(Refusal::Signature), Refusal::Signature.to_string());
        assert_eq!(with_advice(200, "a\u{1b}[2Jb", node), "a\u{fffd}[2Jb");
    }
}
