//! What liars and broken streams do to a mirror: the last good edition stays, the words are clear, and everything is bounded.

use crate::network::{Fixed, Folder, Harm, Hostile, INTERVAL_MS, Members, Memory, Switch, index, reach, stands};
use directory_mirror::Mirror;
use directory_stream::{Answers, Open};
use relay_directory::{Answer, Evidence, ServiceAnswer, ServiceRequest};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;

/// A mirror that goes by edition 2, whose source then turns.
async fn turned(name: &str, to: impl FnOnce(&Members) -> Switch) -> (Arc<Members>, Folder, Mirror, Switch) {
    let (members, folder) = (Members::start("example"), Folder::new(name));
    let switch = Switch::to(Memory(Arc::clone(&members)));
    let mirror = Mirror::start(folder.config(&members, vec![Arc::new(switch.clone())])).expect("a mirror");
    reach(&mirror, 2).await;
    switch.turn_to(to(&members));
    (members, folder, mirror, switch)
}

/// What a mirror says, while it still goes by edition 2; with an honest source it goes on.
async fn says(name: &str, words: &str, to: impl FnOnce(&Members) -> Switch) {
    let (members, folder, mirror, switch) = turned(name, to).await;
    let says = |error: &Option<String>| error.as_ref().is_some_and(|error| error.contains(words));
    let status = stands(&mirror, |status| says(&status.error)).await;
    assert!(status.is_valid && index(&mirror) == 2, "{status:?}");
    switch.turn_to(Memory(Arc::clone(&members)));
    reach(&mirror, 3).await;
    assert!(stands(&mirror, |status| status.error.is_none()).await.is_valid);
    drop(folder);
}

fn fixed(bytes: Vec<u8>) -> Switch {
    Switch::to(Memory(Arc::new(Fixed(Answer::Full(bytes)))))
}

#[tokio::test(start_paused = true)]
async fn another_networks_edition_is_refused() {
    let other = Members::start("another");
    sleep(Duration::from_millis(INTERVAL_MS + 15_000)).await;
    let bytes = other.published().encode();
    says("another", "of another network than the invitation", |_| fixed(bytes)).await;
}

#[tokio::test(start_paused = true)]
async fn a_truncated_edition_is_refused() {
    let cut = |members: &Members| {
        let bytes = members.published().encode();
        fixed(bytes[..bytes.len() - 5].to_vec())
    };
    says("truncated", "this is no edition of a directory", cut).await;
}

#[tokio::test(start_paused = true)]
async fn an_edition_that_too_few_signed_is_refused() {
    let unsigned = |members: &Members| {
        let published = members.published();
        // Number and signatures stand at the end; three members must sign.
        let (mut bytes, had) = (published.encode(), published.signatures().len());
        bytes.truncate(bytes.len() - (had - 2) * 96);
        let count = bytes.len() - 2 * 96 - 1;
        bytes[count] = 2;
        fixed(bytes)
    };
    says("unsigned", "does not count", unsigned).await;
}

#[tokio::test(start_paused = true)]
async fn nothing_new_is_no_edition() {
    says("late", "nobody who was asked has an edition after number 2 yet", |members| {
        fixed(members.published().encode())
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn streams_that_break_or_lie_are_given_up() {
    for (harm, words) in [
        (Harm::Silence, "nothing came for 30 s"),
        (Harm::Ends, "the stream ended before an answer"),
        (Harm::Cuts, "the stream ended within an answer"),
        (Harm::Drips, "the answer took longer than 300 s"),
        (Harm::Floods, "the answer is to another question"),
        (Harm::Babbles, "what came is no answer"),
        (Harm::Shut, "no relay answers"),
    ] {
        says(&format!("{harm:?}"), words, |_| Switch::to(Hostile(harm))).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_fork_is_told_and_both_editions_are_kept_as_evidence() {
    let (members, folder, mirror, switch) = turned("fork", |members| fixed(members.forged().encode())).await;
    let status = stands(&mirror, |status| !status.forks.is_empty()).await;
    sleep(Duration::from_millis(INTERVAL_MS)).await;
    let error = stands(&mirror, |status| status.error.is_some()).await.error.expect("words");
    assert!(error.contains("the directory has forked at number 1") || error.contains("forked at number 2"), "{error}");
    let bytes = std::fs::read(&status.forks[0]).expect("a file");
    let (network, evidence) = Evidence::decode(&bytes).expect("evidence");
    assert_eq!(network, members.network());
    let message = evidence.known.name.message(network);
    assert!(evidence.known.signatures.iter().all(|(by, bytes)| by.verify(&message, bytes)), "anybody can check it");
    assert_eq!(mirror.status().borrow().forks.len(), 1, "each once");
    assert_eq!(index(&mirror), 2, "the last good one");
    switch.turn_to(Memory(Arc::clone(&members)));
    reach(&mirror, 3).await;
    assert_eq!(stands(&mirror, |status| status.error.is_none()).await.forks.len(), 1, "it stays known");
    drop(folder);
}

#[tokio::test(start_paused = true)]
async fn one_honest_source_among_liars_is_enough() {
    let (members, folder, other) = (Members::start("example"), Folder::new("among"), Members::start("another"));
    let sources: Vec<Arc<dyn Open>> =
        vec![Arc::new(Hostile(Harm::Silence)), Arc::new(Memory(other)), Arc::new(Memory(Arc::clone(&members)))];
    let mirror = Mirror::start(folder.config(&members, sources)).expect("a mirror");
    for wanted in 1..12 {
        reach(&mirror, wanted).await;
        assert_eq!(index(&mirror), wanted, "none is missed");
    }
    let status = stands(&mirror, |status| status.error.is_none()).await;
    assert!(status.counts.refused > 0 && status.counts.broken > 0 && status.forks.is_empty(), "{status:?}");
}

#[tokio::test(start_paused = true)]
async fn a_wrong_clock_is_named_as_the_cause() {
    let (members, folder) = (Members::start("example"), Folder::new("clock"));
    sleep(Duration::from_millis(INTERVAL_MS)).await;
    let source: Arc<dyn Open> = Arc::new(Memory(Arc::clone(&members)));
    for (by_ms, words) in [
        (-2 * 86_400_000, ["the clock is wrong", "s behind the directory's: set it right"]),
        (7_200_000, ["this machine's clock is wrong", "s ahead of the directory's: set it right"]),
    ] {
        let mut config = folder.config(&members, vec![Arc::clone(&source)]);
        config.clock = members.wrong_clock(by_ms);
        let mirror = Mirror::start(config).expect("a mirror");
        let error = stands(&mirror, |status| status.error.is_some()).await.error.expect("words");
        assert!(words.iter().all(|words| error.contains(words)), "{error}");
        let skew_ms = mirror.status().borrow().skew_ms.expect("the time");
        assert!((skew_ms + by_ms).abs() <= 10_000, "{skew_ms}");
        assert!(mirror.status().borrow().clock_is_wrong);
    }
    // By an hour behind: it works, and the status says so.
    let mut config = folder.config(&members, vec![source]);
    config.clock = members.wrong_clock(-3_600_000);
    let mirror = Mirror::start(config).expect("a mirror");
    reach(&mirror, 1).await;
    let status = stands(&mirror, |status| status.clock_is_wrong).await;
    assert!(status.skew_ms.is_some_and(|skew_ms| skew_ms > 3_500_000) && status.error.is_none(), "{status:?}");
}

/// The members, asked over a path that is slow one way.
struct Slow(Arc<Members>);

/// Less than whoever asks waits for a byte.
const SLOW: Duration = Duration::from_secs(28);

impl Answers for Slow {
    type Stream = ();

    async fn answer(&self, stream: &mut (), request: ServiceRequest) -> ServiceAnswer {
        if request == ServiceRequest::Standing {
            sleep(SLOW).await;
        }
        self.0.answer(stream, request).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_answer_makes_no_clock_wrong() {
    let (members, folder) = (Members::start("example"), Folder::new("slow-clock"));
    let mut config = folder.config(&members, vec![Arc::new(Memory(Arc::new(Slow(Arc::clone(&members)))))]);
    // Off by less than is warned of, also behind what the members say every ten seconds.
    config.clock = members.wrong_clock(-27_000);
    let mirror = Mirror::start(config).expect("a mirror");
    reach(&mirror, 1).await;
    let status = mirror.status().borrow().clone();
    assert!(status.skew_ms.is_some_and(|skew_ms| skew_ms > 30_000), "it was measured so: {status:?}");
    assert!((14_000..15_000).contains(&status.skew_uncertain_ms) && !status.clock_is_wrong, "{status:?}");
}
