//! This machine's clock against what the network says: for warnings, and nothing is set by it.

use admin::mirror::{nobody_answers, wrong_clock};
use admin::render::duration;
use network_document::{Charter, Contact, Invitation, NetworkDocument};
use std::time::Duration;
use tokio::task::JoinSet;
use tunnel_manager::{ClockSkew, DirParameters, TunnelMgr, TunnelMgrConfig};

/// A clock that differs by less is as good as any.
const TOLERATED: Duration = Duration::from_secs(30);
/// How long directory nodes may take to be reached. A tunnel needs a tenth of a second; a busy machine may need seconds, and that is no
/// reason for a warning.
const PATIENCE: Duration = Duration::from_secs(8);
/// Contacts of the invitation that are asked at a time: one of them may be down or slow. The first answer counts.
const ASKED_MAX: usize = 3;

/// What the document that a node goes by says of the clock: it is of a time that has not come, or has ended.
pub(crate) fn against_document(document: &NetworkDocument, now_ms: u64) -> Option<String> {
    let edition = document.as_edition()?.edition();
    let ahead_ms = edition.valid_after_ms().saturating_sub(now_ms);
    if ahead_ms > TOLERATED.as_millis() as u64 {
        return Some(format!(
            "the network's document begins in {}: this machine's clock is behind by as much at least; set it right, best with NTP",
            duration(ahead_ms / 1_000)
        ));
    }
    let ended_ms = now_ms.saturating_sub(edition.valid_until_ms());
    (ended_ms > 0).then(|| {
        format!(
            "the network's document ended {} ago: either this machine's clock is ahead, or no later document has come, and the mirror's \
             log says why",
            duration(ended_ms / 1_000)
        )
    })
}

/// What an invitation says of the clock by itself: a network has no members before it was founded.
pub(crate) fn against_charter(charter: &Charter, now_ms: u64) -> Option<String> {
    let ahead_ms = charter.founding()?.start_ms.saturating_sub(now_ms);
    (ahead_ms > TOLERATED.as_millis() as u64).then(|| {
        format!(
            "the network of the invitation is founded in {}: this machine's clock is behind by as much at least; set it right, best with NTP",
            duration(ahead_ms / 1_000)
        )
    })
}

/// What a directory node of the invitation says the time is, or what the cause may be that none says anything.
pub(crate) async fn against_directory(invitation: &Invitation) -> Option<String> {
    let charter = invitation.charter();
    let mut asked = JoinSet::new();
    for contact in invitation.contacts().iter().take(ASKED_MAX) {
        asked.spawn(first_hop_clock_skew(charter.clone(), contact.clone()));
    }
    match first_answer(asked).await {
        None => Some(nobody_answers("no directory node of the invitation", charter.packet_size().packet())),
        Some(skew) => {
            of_skew(skew, Duration::from_millis(charter.founding().map_or(0, |founding| founding.interval_ms)))
        }
    }
}

/// The first that is one, within [`PATIENCE`].
async fn first_answer(mut asked: JoinSet<Option<ClockSkew>>) -> Option<ClockSkew> {
    let first = async {
        while let Some(answer) = asked.join_next().await {
            if let Ok(Some(skew)) = answer {
                return Some(skew);
            }
        }
        None
    };
    tokio::time::timeout(PATIENCE, first).await.ok().flatten()
}

/// The directory's time stands still between its members' words: it may be behind by an interval on a good clock.
fn of_skew(skew: ClockSkew, interval: Duration) -> Option<String> {
    let tolerated = if skew.ahead_ms > 0 { TOLERATED + interval } else { TOLERATED };
    skew.exceeds(tolerated).then(|| wrong_clock(-skew.ahead_ms))
}

/// As a directory node says it, over one hop.
async fn first_hop_clock_skew(charter: Charter, contact: Contact) -> Option<ClockSkew> {
    let document = NetworkDocument::of_contacts(charter, vec![contact]).ok()?;
    let config = TunnelMgrConfig { ready: 0, ..TunnelMgrConfig::new(document).ok()? };
    let manager = TunnelMgr::start(config).ok()?;
    let tunnel = manager.get_dir(DirParameters { hops: 1, ..DirParameters::default() }).await.ok()?;
    let skew = tunnel.first_hop_clock_skew().await;
    // The node keeps no place for this command.
    manager.stop().await;
    skew
}

#[cfg(test)]
mod tests {
    use super::*;
    use identity::{NodeSecret, OperatorSecret};
    use network_document::{Edition, EditionHead, EditionName, Electorate, Founding, Label, Parameters, SignedEdition};
    use std::sync::Arc;

    const START_MS: u64 = 1_800_000_000_000;

    fn charter() -> Charter {
        let members = (1..=3).map(|seed| NodeSecret::from_seed([seed; 32]).node_id()).collect();
        let founding = Founding::new(START_MS, Electorate::new(1, members, 0).expect("three members"));
        let operator = OperatorSecret::from_seed([9; 32]).operator_key();
        let label = Label::new("example", "name").expect("a label");
        let charter = Charter::new(label, Default::default(), vec![operator], 1).expect("a charter");
        charter.with_directory(founding).expect("a founding")
    }

    /// Edition 2 of intervals of ten minutes, good for eighteen.
    fn document() -> NetworkDocument {
        let charter = Arc::new(charter());
        let electorate = charter.founding().expect("it has one").electorate.clone();
        let previous = EditionName { index: 0, hash: charter.network_id().0 };
        let head = EditionHead::new(Arc::clone(&charter), 2, previous, electorate, Parameters::default());
        let edition = Edition::new(head.expect("a head"), Vec::new()).expect("an edition");
        let mut signed = SignedEdition::new(Arc::new(edition));
        (1..=3).for_each(|seed| signed.sign(&NodeSecret::from_seed([seed; 32])).expect("a member"));
        NetworkDocument::load(&signed.encode()).expect("a good one")
    }

    #[test]
    fn documents_and_charters_know_when_they_are_not() {
        let document = document();
        let edition = document.as_edition().expect("of members").edition();
        let (begins, ends) = (edition.valid_after_ms(), edition.valid_until_ms());
        assert_eq!(against_document(&document, begins), None);
        assert_eq!(against_document(&document, begins - 30_000), None, "as good as any");
        let behind = against_document(&document, begins - 7_200_000).expect("behind");
        assert!(behind.contains("begins in 2 h 0 min: this machine's clock is behind"), "{behind}");
        let ended = against_document(&document, ends + 60_000).expect("ended");
        assert!(ended.contains("ended 1 min 0 s ago") && ended.contains("clock is ahead"), "{ended}");
        assert_eq!(against_charter(&charter(), START_MS), None);
        let early = against_charter(&charter(), START_MS - 86_400_000).expect("behind");
        assert!(early.contains("is founded in 1 d 0 h"), "{early}");
    }

    #[test]
    fn one_answer_is_enough_and_a_slow_one_is_no_wrong_clock() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let skew = ClockSkew { ahead_ms: 33_000, uncertainty: Duration::from_secs(4) };
        let first = runtime.block_on(async {
            let mut asked = JoinSet::new();
            asked.spawn(std::future::pending());
            asked.spawn(std::future::ready(None));
            asked.spawn(async move {
                tokio::time::sleep(Duration::from_millis(100)).await;
                Some(skew)
            });
            first_answer(asked).await
        });
        assert_eq!(first, Some(skew), "one is silent, one has nothing to say");
        assert_eq!(of_skew(skew, Duration::ZERO), None, "29 s are sure");
        assert!(of_skew(ClockSkew { ahead_ms: 35_000, ..skew }, Duration::ZERO).is_some());
    }

    #[test]
    fn a_clock_is_off_beyond_what_the_directory_itself_may_lag() {
        let interval = Duration::from_secs(600);
        let skew = |ahead_ms| of_skew(ClockSkew { ahead_ms, uncertainty: Duration::from_millis(100) }, interval);
        assert_eq!((skew(0), skew(-30_000), skew(600_000)), (None, None, None));
        assert!(skew(-31_000).expect("behind").contains("clock is 31 s behind the directory's"));
        assert!(skew(700_000).expect("ahead").contains("clock is 11 min 40 s ahead of the directory's"));
    }
}
