//! Random commands for the directory and for the reference: they must agree after each.

use super::reference::{Reference, Step};
use super::{INTERVAL_MS, KEY_INTERVALS, START_MS, Said, admission, charter, electorate, member, order, relay};
use network_document::EditionName;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use relay_directory::{CLOCK_SKEW_MAX_MS, Command, Directory, Event, Order, Tick, Vote, Withdrawal};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Relays that take part.
const RELAYS: u32 = 6;
/// Members that are or could be.
const MEMBERS: u32 = 8;

/// What happened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RandomOutcome {
    /// Commands that had an effect.
    pub done: u32,
    /// Commands that were refused.
    pub refused: u32,
    /// For how many different reasons.
    pub reasons: BTreeSet<u8>,
    /// Editions that were published.
    pub published: u32,
    /// Changes of members.
    pub changes: u64,
}

/// Plays so many random commands.
///
/// # Errors
/// What the directory did and the reference did not, or the reverse.
pub fn against_the_reference(seed: u64, steps: u32) -> Result<RandomOutcome, String> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let (first, liars) =
        [(vec![1, 2, 3], 0), (vec![1, 2, 3, 4], 1), (vec![1, 2, 3, 4, 5, 6, 7], 2)][random.random_range(0..3)].clone();
    let charter = charter(&first, liars);
    let mut directory = Directory::new(Arc::clone(&charter)).map_err(|error| error.to_string())?;
    let mut reference = Reference::new(&first, usize::from(liars));
    let mut outcome = RandomOutcome::default();
    for number in 0..steps {
        let step = random_step(&mut random, &reference);
        let before = reference.published;
        let expected = reference.apply(&step);
        let events = directory.apply(&command(&directory, &step).encode());
        let found = match events.as_slice() {
            [Event::Refused(refusal)] => Err(*refusal),
            _ => Ok(()),
        };
        if found != expected {
            return Err(format!("step {number}, {step:?}: {found:?}, and the reference says {expected:?}"));
        }
        match expected {
            Ok(()) => outcome.done += 1,
            Err(refusal) => {
                outcome.refused += 1;
                outcome.reasons.insert(refusal.code());
            }
        }
        outcome.published += u32::from(reference.published > before);
        compare(&directory, &reference).map_err(|what| format!("step {number}, {step:?}: another {what}"))?;
        if number % 97 == 0 {
            let copy = Directory::decode(Arc::clone(&charter), &directory.encode());
            if copy.as_ref() != Ok(&directory) {
                return Err(format!("step {number}: the state does not come back: {:?}", copy.err()));
            }
        }
    }
    outcome.changes = reference.term - 1;
    Ok(outcome)
}

fn random_step(random: &mut ChaCha8Rng, reference: &Reference) -> Step {
    let relay = random.random_range(1..=RELAYS);
    let now_ms = reference.time_ms;
    let number = reference.orders + u64::from(!random.random_bool(0.1));
    match random.random_range(0..100) {
        0..35 => random_describe(random, reference, relay),
        35..40 => Step::Withdraw { relay, until_ms: now_ms + random.random_range(0..2 * INTERVAL_MS) },
        40..52 => {
            let class = random.random_range(9..14);
            Step::Admit { relay, class, number, operators: random_operators(random) }
        }
        52..55 => Step::Expel { relay, number, operators: random_operators(random) },
        55..57 => {
            let liars = random.random_range(0..3_u8);
            let mut members: Vec<u32> = (1..=MEMBERS).collect();
            while members.len() > 3 * usize::from(liars) + 1 + random.random_range(1..3) {
                members.remove(random.random_range(0..members.len()));
            }
            let consenting = reference.members.iter().filter(|_| random.random_bool(0.85)).copied().collect();
            let (term, operators) = (reference.term + u64::from(!random.random_bool(0.1)), random_operators(random));
            Step::Members { members, liars, term, number, operators, consenting }
        }
        57..80 => {
            let member = random_member(random, reference);
            let sequence = reference.next_tick(member) - u64::from(random.random_bool(0.05));
            let ahead = random.random_range(0..INTERVAL_MS);
            let utc_ms = match random.random_range(0..20) {
                0 => 0,
                1 => now_ms + 30 * INTERVAL_MS,
                _ => now_ms + ahead,
            };
            Step::Tick { member, sequence, utc_ms }
        }
        _ => {
            let member = random_member(random, reference);
            Step::Vote { member, other_hash: random.random_bool(0.05), late: random.random_bool(0.05) }
        }
    }
}

fn random_describe(random: &mut ChaCha8Rng, reference: &Reference, relay: u32) -> Step {
    let now_ms = reference.time_ms;
    let published_ms = match random.random_range(0..10) {
        0 => now_ms + CLOCK_SKEW_MAX_MS + 1,
        1 => now_ms.saturating_sub(5 * INTERVAL_MS),
        _ => now_ms + random.random_range(0..INTERVAL_MS),
    };
    let lasts = [1, INTERVAL_MS, 5 * INTERVAL_MS, 8 * INTERVAL_MS, 8 * INTERVAL_MS + 1];
    let usual = |random: &mut ChaCha8Rng| {
        if random.random_bool(0.9) { relay } else { random.random_range(1..=RELAYS) }
    };
    let present = (now_ms - START_MS) / INTERVAL_MS / KEY_INTERVALS;
    let other = (present + random.random_range(0..=4)).saturating_sub(3);
    let said = Said {
        relay,
        key: usual(random),
        address: usual(random),
        interval: if random.random_bool(0.7) { present } else { other },
        class: random.random_range(8..12),
        published_ms,
        expires_ms: published_ms + lasts[random.random_range(0..lasts.len())],
    };
    Step::Describe { said, forged: random.random_bool(0.05) }
}

fn random_member(random: &mut ChaCha8Rng, reference: &Reference) -> u32 {
    if random.random_bool(0.9) {
        reference.members[random.random_range(0..reference.members.len())]
    } else {
        random.random_range(1..=MEMBERS + 1)
    }
}

fn random_operators(random: &mut ChaCha8Rng) -> Vec<u32> {
    match random.random_range(0..20) {
        0 => vec![1],
        1 => vec![1, 4],
        _ => vec![1, 3],
    }
}

fn command(directory: &Directory, step: &Step) -> Command {
    let network = directory.network_id();
    match step {
        Step::Describe { said, forged: false } => said.command(network),
        Step::Describe { said, forged: true } => said.command(network_document::NetworkId([9; 32])),
        Step::Withdraw { relay: of, until_ms } => Command::Withdraw(Withdrawal::new(network, &relay(*of), *until_ms)),
        Step::Admit { relay: of, class, number, operators } => {
            let admit = Order::Admit { node: relay(*of).node_id(), admission: admission(*class) };
            order(network, *number, admit, operators, &[])
        }
        Step::Expel { relay: of, number, operators } => {
            order(network, *number, Order::Expel { node: relay(*of).node_id() }, operators, &[])
        }
        Step::Members { members, liars, term, number, operators, consenting } => {
            let members = Order::Members(electorate(*term, members, *liars));
            order(network, *number, members, operators, consenting)
        }
        Step::Tick { member: by, sequence, utc_ms } => {
            Command::Tick(Tick::new(network, &member(*by), *sequence, *utc_ms))
        }
        Step::Vote { member: by, other_hash, late } => {
            let nothing = EditionName { index: 1, hash: [1; 32] };
            let mut name = directory.pending().map_or(nothing, |pending| pending.edition().name());
            name.index -= u64::from(*late);
            name.hash[0] ^= u8::from(*other_hash);
            Command::Sign(Vote::new(network, &member(*by), name))
        }
    }
}

/// Everything that both know.
fn compare(directory: &Directory, reference: &Reference) -> Result<(), &'static str> {
    let same = |same: bool, what| if same { Ok(()) } else { Err(what) };
    same(directory.time_ms() == reference.time_ms, "time")?;
    same(directory.next_order() == reference.orders + 1, "number of the next order")?;
    let members: BTreeSet<_> = reference.members.iter().map(|number| member(*number).node_id()).collect();
    same(directory.electorate().members().iter().copied().collect::<BTreeSet<_>>() == members, "list of members")?;
    same(directory.electorate().term() == reference.term, "term")?;
    let mut relays: Vec<_> = reference.relays.iter().map(Said::announcement).collect();
    relays.sort_unstable_by_key(|said| said.node_id());
    same(directory.relays().map(|relay| relay.announcement()).eq(relays.iter()), "list of relays")?;
    same(directory.published_name().index == reference.published, "published edition")?;
    let (Some(pending), Some(waiting)) = (directory.pending(), &reference.waiting) else {
        return same(directory.pending().is_none() && reference.waiting.is_none(), "edition that waits");
    };
    let edition = pending.edition();
    same(edition.index() == waiting.index, "index")?;
    same(edition.previous().index == waiting.previous, "edition before")?;
    let mut relays: Vec<_> = waiting.relays.iter().map(Said::announcement).collect();
    relays.sort_unstable_by_key(|said| said.node_id());
    same(edition.relays().iter().map(|relay| relay.announcement()).eq(relays.iter()), "list of an edition's relays")?;
    let votes: BTreeSet<_> = waiting.votes.iter().map(|number| member(*number).node_id()).collect();
    same(pending.signatures().map(|(by, _)| by).collect::<BTreeSet<_>>() == votes, "list of those who signed")
}
