//! Closed-world attacks through simple models of each mode: unshaped must fall, constant must be chance, and releases
//! with noise must keep their promise. The small sizes run always, the full ones by `cargo xtask long attacks`.

use std::time::Duration;

use adversary::Direction;
use adversary::attacks::{
    Accuracy, Attacker, Dataset, Films, Neighbours, NetworkSize, Pages, Trace, UNSHAPED_MIN, WireSeries, World,
    leaked_max, released_max,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

type Outcome = Result<(), adversary::attacks::DatasetError>;

/// Everything random below follows from it.
const SEED: u64 = 20_261_128;

/// A number of sessions and attackers that fit it.
struct Size {
    films: Films,
    film_sessions: u64,
    pages: Pages,
    page_sessions: u64,
    released_sessions: u64,
    forest: Attacker,
    film_network: Attacker,
    page_network: Attacker,
    released_network: Attacker,
}

fn small() -> Size {
    let network =
        |parts, rounds| Attacker::Network(NetworkSize { parts, filters: [6, 8], hidden: 16, rounds, batch: 8 });
    Size {
        films: Films { count: 8, length: Duration::from_secs(80), segment: Duration::from_secs(5), seed: SEED },
        film_sessions: 40,
        pages: Pages { count: 8, length: Duration::from_secs(2), seed: SEED },
        page_sessions: 40,
        released_sessions: 800,
        forest: Attacker::Forest { trees: 25 },
        film_network: network(48, 20),
        page_network: network(32, 25),
        released_network: network(16, 8),
    }
}

fn full() -> Size {
    let network =
        |parts, filters, hidden, rounds| Attacker::Network(NetworkSize { parts, filters, hidden, rounds, batch: 16 });
    Size {
        films: Films { count: 40, length: Duration::from_secs(300), segment: Duration::from_secs(5), seed: SEED },
        film_sessions: 100,
        pages: Pages { count: 96, length: Duration::from_secs(3), seed: SEED },
        page_sessions: 100,
        released_sessions: 2_000,
        forest: Attacker::Forest { trees: 100 },
        film_network: network(256, [16, 32], 96, 30),
        page_network: network(64, [16, 32], 96, 40),
        released_network: network(16, [8, 16], 32, 20),
    }
}

fn film_bin() -> Duration {
    Duration::from_secs(1)
}

fn page_bin() -> Duration {
    Duration::from_millis(50)
}

/// The same rate whatever the application does, as a network shows it: at each edge of a bin a packet may come a little
/// later and fall into the next.
fn constant(trace: &Trace, session: u64, bin: Duration) -> WireSeries {
    const PACKETS: u64 = 50;
    const PACKET_BYTES: u64 = 1_350;
    let bins = usize::try_from(trace.length.as_nanos() / bin.as_nanos()).expect("a session is short");
    let mut generator = ChaCha8Rng::seed_from_u64(SEED);
    generator.set_stream(session);
    let mut one_way = || {
        let mut late = 0;
        let mut packets = |_| {
            let was_late = std::mem::replace(&mut late, u64::from(generator.random_range(0..4) == 0));
            (PACKETS + was_late - late) * PACKET_BYTES
        };
        (0..bins).map(&mut packets).collect()
    };
    WireSeries::new(one_way(), one_way())
}

/// The most that a client may add in an epoch.
const DELTA: u64 = 2_500_000;
/// Length of an epoch.
const EPOCH: Duration = Duration::from_secs(5);
/// What everybody else adds in an epoch.
const OTHERS: u64 = 40_000_000;

/// Each epoch's bytes with noise, spread over ten bins: what follows a release is a function of it.
fn released(trace: &Trace, session: u64, sigma: f64) -> WireSeries {
    let mut generator = ChaCha8Rng::seed_from_u64(SEED);
    generator.set_stream(session);
    let mut inward = Vec::new();
    for counted in WireSeries::unshaped(trace, EPOCH).one_way(Direction::Inward).iter().take(epochs(trace)) {
        let radius: f64 = generator.random_range(f64::MIN_POSITIVE..1.0);
        let turn: f64 = generator.random_range(0.0..std::f64::consts::TAU);
        let noise = sigma * (-2.0 * radius.ln()).sqrt() * turn.cos();
        let bytes = (*counted as f64 + noise).max(0.0) as u64;
        inward.extend([bytes / 10; 10]);
    }
    WireSeries::new(Vec::new(), inward)
}

fn epochs(trace: &Trace) -> usize {
    usize::try_from(trace.length.as_nanos() / EPOCH.as_nanos()).expect("a stream is short")
}

/// Which of four rates, as if a queue had decided it: everything that depends on the film goes into it, once.
fn stepped(trace: &Trace, epochs: u32) -> WireSeries {
    let bytes: u64 = trace.arrivals.iter().map(|arrival| arrival.bytes).sum();
    let class = 1 + bytes / 250_000 % 4;
    WireSeries::new(Vec::new(), vec![class * 100_000; usize::try_from(epochs).expect("few epochs") * 10])
}

#[expect(clippy::print_stdout, reason = "the figures are what the run is for; a test shows them when it fails")]
fn report(what: &str, attacker: &str, found: &Accuracy, promised: &str) {
    println!("| {what} | {attacker} | {found} | {promised} |");
}

fn unshaped_falls_and_constant_is_chance(size: &Size) -> Outcome {
    let worlds: [(&str, &dyn World, u64, Duration, &Attacker); 2] = [
        ("films", &size.films, size.film_sessions, film_bin(), &size.film_network),
        ("pages", &size.pages, size.page_sessions, page_bin(), &size.page_network),
    ];
    for (name, world, sessions, bin, network) in worlds {
        let unshaped = Dataset::collect(world, sessions, |trace, _| WireSeries::unshaped(trace, bin))?;
        let shaped = Dataset::collect(world, sessions, |trace, number| constant(trace, number, bin))?;
        for (attacker, called) in [(&size.forest, "forest"), (network, "network")] {
            let found = attacker.attack(&unshaped, SEED);
            report(&format!("{name}, unshaped"), called, &found, ">= 0.95");
            assert!(found.share() >= UNSHAPED_MIN, "{name}, {called}: {found}; the test shows nothing");
            // One of twenty results of pure guessing lies outside its interval; the seed is fixed.
            let found = attacker.attack(&shaped, SEED);
            report(&format!("{name}, constant"), called, &found, &format!("chance {:.3}", found.chance()));
            assert!(found.is_chance(), "{name}, {called}: {found}");
        }
    }
    Ok(())
}

/// Attacks both neighbours and returns what the better attacker found.
fn tell_neighbours(
    size: &Size,
    mu: f64,
    differing: u32,
    planted: f64,
) -> Result<Accuracy, adversary::attacks::DatasetError> {
    let neighbours = Neighbours { epoch: EPOCH, epochs: 16, differing, delta: DELTA, others: OTHERS };
    let sigma = DELTA as f64 / mu * planted;
    let dataset =
        Dataset::collect(&neighbours, size.released_sessions, |trace, number| released(trace, number, sigma))?;
    let promised = released_max(mu, differing);
    let mut best = Accuracy { right: 0, guesses: 0, classes: 2 };
    for (attacker, called) in [(&size.forest, "forest"), (&size.released_network, "network")] {
        let found = attacker.attack(&dataset, SEED);
        let what = format!("dp, mu {mu}, {differing} epochs of 16, noise x {planted}");
        report(&what, called, &found, &format!("<= {promised:.3}"));
        best = if found.share() > best.share() { found } else { best };
    }
    Ok(best)
}

fn releases_keep_their_promise(size: &Size) -> Outcome {
    // The gate of every pair is crossed by a kept promise in 2.5 of 100 cases; the seed is fixed.
    for (mu, differing) in [(0.2367, 4), (1.0, 1), (1.0, 4), (2.0, 4)] {
        let found = tell_neighbours(size, mu, differing, 1.0)?;
        assert!(!found.exceeds(released_max(mu, differing)), "mu {mu}, {differing} epochs: {found}");
    }
    Ok(())
}

/// The gate can fail: half of the noise is more than the promise allows, and an attacker shows it.
fn halved_noise_breaks_it(size: &Size) -> Outcome {
    let found = tell_neighbours(size, 1.0, 4, 0.5)?;
    assert!(found.exceeds(released_max(1.0, 4)), "{found}");
    Ok(())
}

fn one_rate_of_four_tells_two_bits(size: &Size) -> Outcome {
    let dataset = Dataset::collect(&size.films, size.film_sessions, |trace, _| stepped(trace, 1))?;
    let found = size.forest.attack(&dataset, SEED);
    let promised = leaked_max(2.0, found.classes);
    report("films, one rate of four", "forest", &found, &format!("<= {promised:.3}"));
    assert!(!found.exceeds(promised) && !found.is_chance(), "{found}, {promised}");
    Ok(())
}

#[test]
fn unshaped_sessions_are_told_and_constant_ones_are_not() -> Outcome {
    unshaped_falls_and_constant_is_chance(&small())
}

#[test]
fn neighbours_are_told_no_better_than_promised() -> Outcome {
    releases_keep_their_promise(&small())
}

#[test]
fn too_little_noise_is_found_out() -> Outcome {
    halved_noise_breaks_it(&small())
}

#[test]
fn a_rate_class_tells_no_more_than_its_bits() -> Outcome {
    one_rate_of_four_tells_two_bits(&small())
}

/// Everything above at full size, with a table of the figures.
#[test]
#[ignore = "takes minutes; `cargo xtask long attacks` runs it"]
fn at_full_size() -> Outcome {
    let size = full();
    unshaped_falls_and_constant_is_chance(&size)?;
    releases_keep_their_promise(&size)?;
    halved_noise_breaks_it(&size)?;
    one_rate_of_four_tells_two_bits(&size)
}
