use super::*;
use rand_chacha::rand_core::SeedableRng;

const MS: Duration = Duration::from_millis(1);

fn id(number: u8) -> LegId {
    LegId::new(number).expect("below 16")
}

fn leg(number: u8, rtt_ms: u32, rate: f64, room: u64) -> Candidate {
    let free_in = if room > 0 { Duration::ZERO } else { 2 * MS };
    Candidate { leg: id(number), rtt: rtt_ms * MS, queued: Duration::ZERO, rate, room, free_in }
}

/// The share of leg 0 in the first 50 KB of many bursts, when it is faster than leg 1 by `advantage_ms`.
fn share_of_start(class: Duration, advantage_ms: u32) -> f64 {
    let mut rng = ChaCha20Rng::seed_from_u64(7);
    let mut choice = Choice::new(Scheduler::CompletionTime, class);
    let mut now = crate::origin();
    let (mut on_first, mut all) = (0, 0);
    for _ in 0..600 {
        now += START_AFTER;
        for _ in 0..START_CELLS {
            let legs = [leg(0, 20, 2000.0, 60), leg(1, 20 + advantage_ms, 2000.0, 40)];
            let chosen = choice.choose(now, &legs, 40, &mut rng).expect("both have room");
            choice.note_sent(now, chosen);
            on_first += u64::from(chosen == id(0));
            all += 1;
        }
    }
    f64::from(u32::try_from(on_first).expect("few")) / f64::from(all)
}

#[test]
fn a_guard_cannot_buy_the_start_of_a_page() {
    for advantage_ms in [0, 64, 128, 512] {
        let share = share_of_start(START_CLASS, advantage_ms);
        assert!((0.45..=0.55).contains(&share), "{share} at {advantage_ms} ms");
    }
    assert!(share_of_start(Duration::ZERO, 64) > 0.99, "without classes it can: the test sees what it looks for");
}

#[test]
fn the_first_cells_of_a_burst_go_on_all_legs_that_differ() {
    let mut rng = ChaCha20Rng::seed_from_u64(4);
    let now = crate::origin();
    let mut copied = |legs: &[Candidate], class: Duration| {
        let mut choice = Choice::new(Scheduler::CompletionTime, class);
        let mut copies = Vec::new();
        for _ in 0..2 * COPIED_CELLS {
            let chosen = choice.choose(now, legs, 40, &mut rng).expect("there is room");
            assert_eq!(choice.next_copy(), None, "nothing was sent that could be copied");
            choice.note_sent(now, chosen);
            let others: Vec<LegId> = std::iter::from_fn(|| choice.next_copy()).collect();
            assert!(!others.contains(&chosen));
            copies.push(others.len() as u64);
        }
        assert!(copies[COPIED_CELLS as usize..].iter().all(|others| *others == 0), "{copies:?}");
        copies[..COPIED_CELLS as usize].iter().sum::<u64>()
    };
    let unlike = [leg(0, 20, 2000.0, 60), leg(1, 30, 2000.0, 40), leg(2, 40, 2000.0, 40)];
    assert_eq!(copied(&unlike, START_CLASS), 2 * COPIED_CELLS);
    assert_eq!(copied(&unlike, 15 * MS), COPIED_CELLS, "the third is of another class");
    assert_eq!(copied(&unlike, Duration::ZERO), 0);
    assert_eq!(copied(&[leg(0, 20, 2000.0, 60), leg(1, 25, 2000.0, 40)], START_CLASS), 0, "alike");
    assert_eq!(copied(&unlike[..1], START_CLASS), 0, "alone");
}

#[test]
fn a_drawn_leg_is_waited_for_and_after_the_start_it_is_not() {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let now = crate::origin();
    let mut choice = Choice::new(Scheduler::CompletionTime, START_CLASS);
    let both = [leg(0, 20, 2000.0, 9), leg(1, 30, 2000.0, 9)];
    let drawn = choice.choose(now, &both, 99, &mut rng).expect("both have room");
    let mut blocked = both;
    for leg in &mut blocked {
        leg.room = if leg.leg == drawn { 0 } else { 9 };
    }
    assert_eq!(choice.choose(now, &blocked, 99, &mut rng), None);
    for _ in 0..START_CELLS {
        choice.note_sent(now, drawn);
    }
    assert!(choice.choose(now, &blocked, 99, &mut rng).is_some());
}

#[test]
fn a_slow_leg_is_used_when_the_fast_one_needs_longer_for_all_that_waits() {
    let legs = [leg(0, 140, 1800.0, 0), leg(1, 260, 900.0, 10)];
    assert_eq!(soonest(&legs, 10), None, "10 cells are there sooner on the fast leg");
    assert_eq!(soonest(&legs, 200), Some(id(1)));
    let legs = [leg(0, 140, 1800.0, 5), leg(1, 260, 900.0, 10)];
    assert_eq!(soonest(&legs, 200), Some(id(0)), "the fast one has room");
    assert_eq!(soonest(&[leg(0, 140, 1800.0, 0)], 200), None);
    let full = Candidate { queued: 70 * MS, ..leg(0, 140, 1800.0, 5) };
    assert_eq!(soonest(&[full, leg(1, 260, 900.0, 10)], 0), Some(id(1)), "130 ms beside 140");
}

#[test]
fn cells_go_in_runs_as_long_as_that_delays_them_hardly() {
    let mut rng = ChaCha20Rng::seed_from_u64(2);
    let now = crate::origin();
    let mut runs = |other_ms: u32| {
        let mut choice = Choice::new(Scheduler::CompletionTime, START_CLASS);
        (0..START_CELLS).for_each(|_| choice.note_sent(now, id(0)));
        let mut sent: Vec<(LegId, u32)> = Vec::new();
        let mut under_way = [0_u32; 2];
        for _ in 0..160 {
            // What is under way delays what comes after it: 10,000 cells a second on each.
            let legs = [(0, 20), (1, 20 + other_ms)].map(|(number, rtt)| Candidate {
                queued: under_way[usize::from(number)] * MS / 10,
                ..leg(number, rtt, 10_000.0, 99)
            });
            let chosen = choice.choose(now, &legs, 999, &mut rng).expect("both have room");
            choice.note_sent(now, chosen);
            under_way[usize::from(chosen.number())] += 1;
            match sent.last_mut().filter(|(last, _)| *last == chosen) {
                Some((_, cells)) => *cells += 1,
                None => sent.push((chosen, 1)),
            }
        }
        (sent.iter().map(|(_, cells)| *cells).max(), sent.len(), under_way)
    };
    let (longest, count, [one, other]) = runs(0);
    assert!(longest <= Some(2 * RUN_CELLS) && count <= 20, "{longest:?} in {count} runs");
    assert!(one.abs_diff(other) <= 2 * RUN_CELLS, "{one} and {other}");
    let (_, _, [one, other]) = runs(10);
    // A lead of 5 ms is 50 cells; a millisecond more is what runs may cost.
    assert!((35..=65).contains(&(one - other)), "{one} and {other}");
}

#[test]
fn weights_are_the_room() {
    let mut rng = ChaCha20Rng::seed_from_u64(3);
    let legs = [leg(0, 20, 1.0, 30), leg(1, 200, 1.0, 10), leg(2, 1, 1.0, 0)];
    let mut counts = [0; 3];
    for _ in 0..4_000 {
        let chosen = by_room(&legs, &mut rng).expect("there is room");
        counts[usize::from(chosen.number())] += 1;
    }
    assert!((2_900..3_100).contains(&counts[0]) && counts[2] == 0, "{counts:?}");
    assert_eq!(by_room(&[leg(0, 1, 1.0, 0)], &mut rng), None);
}

#[test]
fn wishes_for_latency_or_little_memory_wait_for_the_fast_leg() {
    let patient = [DesiredUx::MinLatency, DesiredUx::LowMemoryLatency, DesiredUx::LowMemoryThroughput];
    assert!(patient.into_iter().all(is_patient));
    assert!(![DesiredUx::NoOpinion, DesiredUx::HighThroughput].into_iter().any(is_patient));
}
