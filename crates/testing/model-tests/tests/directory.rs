//! The relay directory by seeds: against a reference, among liars, and with members that are dead.

use model_tests::directory::{
    INTERVAL_MS, LiarsOutcome, RandomOutcome, START_MS, against_the_reference, among_liars, charter, member,
};
use relay_directory::{Directory, DirectoryClient, Event, Promise, Signer, Taken};
use std::collections::BTreeSet;

/// Seeds of each test in an ordinary run: `HUSHWIRE_DIRECTORY_SEED=17 HUSHWIRE_DIRECTORY_SEEDS=1` plays one again.
fn seeds(count: u64) -> std::ops::Range<u64> {
    let of = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let first = of("HUSHWIRE_DIRECTORY_SEED").unwrap_or(0);
    first..first + of("HUSHWIRE_DIRECTORY_SEEDS").unwrap_or(count)
}

fn replay(seed: u64) -> String {
    format!("seed {seed} (HUSHWIRE_DIRECTORY_SEED={seed} HUSHWIRE_DIRECTORY_SEEDS=1)")
}

#[test]
fn the_directory_does_what_the_reference_does() {
    let mut sum = RandomOutcome::default();
    for seed in seeds(60) {
        let done = against_the_reference(seed, 700).unwrap_or_else(|error| panic!("{}: {error}", replay(seed)));
        sum.done += done.done;
        sum.refused += done.refused;
        sum.published += done.published;
        sum.changes += done.changes;
        sum.reasons.extend(done.reasons);
    }
    println!("{sum:?}");
    let codes: BTreeSet<u8> = [2, 4, 5, 6, 7, 10, 11, 13, 14, 15, 16, 17, 18, 19, 20, 23, 24, 25, 26, 27].into();
    let whole = seeds(60).count() >= 60;
    assert!(!whole || sum.reasons == codes, "reasons that never came, or others: {:?}", sum.reasons);
    assert!(!whole || (sum.published > 200 && sum.changes > 30 && sum.done > sum.refused / 3), "{sum:?}");
}

fn sum(seeds: std::ops::Range<u64>, members: u32, may: u8, liars: u32) -> Result<LiarsOutcome, String> {
    let mut sum = LiarsOutcome::default();
    for seed in seeds {
        let done = among_liars(seed, members, may, liars, 12).map_err(|error| format!("{}: {error}", replay(seed)))?;
        sum.taken += done.taken;
        sum.refused += done.refused;
        sum.split += done.split;
        sum.left_out += done.left_out;
        sum.proofs += done.proofs;
        sum.disagreements += done.disagreements;
    }
    println!("{members} members, {may} may lie, {liars} do: {sum:?}");
    Ok(sum)
}

/// f of 3 f + 1, and of more: two editions of one index, two logs, forged time, unsigned orders, relays left out.
#[test]
fn as_many_liars_as_may_be_fool_no_client() {
    for (members, liars, count) in [(4, 1, 24), (5, 1, 12), (7, 2, 10), (10, 3, 6)] {
        let sum = sum(seeds(count), members, liars, u32::from(liars)).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((sum.disagreements, sum.proofs), (0, 0), "{members} members");
        let whole = seeds(count).count() as u64 >= count;
        let busy = sum.taken > 20 && sum.split > 5 && sum.left_out > 20 && sum.refused > 20;
        assert!(!whole || busy, "the liars were idle: {sum:?}");
    }
}

/// One liar more than may be: two clients disagree, and a client that sees both editions has the proof.
#[test]
fn one_liar_more_is_seen() {
    let sum = sum(seeds(30), 4, 1, 2).unwrap_or_else(|error| panic!("{error}"));
    assert!(seeds(30).count() < 30 || sum.disagreements > 10 && sum.proofs > 10, "the model sees no lie: {sum:?}");
}

/// A directory whose living members tick and sign for so many intervals. Gives the indices that were published.
fn published(members: u32, may: u8, alive: u32, intervals: u64) -> Vec<u64> {
    let all: Vec<u32> = (1..=members).collect();
    let charter = charter(&all, may);
    let network = charter.network_id();
    let mut directory = Directory::new(charter).expect("a directory");
    let mut client = DirectoryClient::new(network);
    let signer = |number| Signer::new(network, member(number), Promise::default());
    let mut signers: Vec<Signer> = (1..=members).map(signer).collect();
    let mut indices = Vec::new();
    for index in 0..intervals {
        // All are alive at first, so that the dead ones leave a clock behind.
        let living = if index == 0 { members } else { alive };
        let now_ms = START_MS + (index + 1) * INTERVAL_MS + 5;
        for signer in &signers[..living as usize] {
            let tick = signer.tick(&directory, now_ms).encode();
            directory.apply(&tick);
        }
        for signer in &mut signers[..living as usize] {
            let Ok(vow) = signer.consider(now_ms, &directory) else { continue };
            if let [.., Event::Published(name)] = directory.apply(&vow.command.encode())[..] {
                indices.push(name.index);
            }
        }
        if let Some(edition) = directory.published().filter(|edition| edition.edition().index() == index + 1) {
            let name = edition.edition().name();
            assert_eq!(client.handle_full(now_ms, &edition.encode()), Ok(Taken::Edition(name)));
            assert!(client.document(now_ms).is_some());
        }
    }
    indices
}

#[test]
fn n_minus_k_dead_members_stop_nothing_and_one_more_does() {
    for (members, may, quorum) in [(3, 0, 2), (4, 1, 3), (5, 1, 4), (7, 2, 5)] {
        let all: Vec<u64> = (1..=8).collect();
        assert_eq!(published(members, may, quorum, 8), all, "{quorum} of {members}");
        assert_eq!(published(members, may, quorum - 1, 8), [1], "{} of {members}", quorum - 1);
    }
}
