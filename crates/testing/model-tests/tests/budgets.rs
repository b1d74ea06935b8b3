//! A budget that is spent, on virtual time: leave comes from the real books with limits, and when it ends the rate is the
//! configured one, in every mode that needs leave.

use model_tests::noise::NoiseOf;
use model_tests::pair::{Pair, Setting};
use shaped_node::{Mode, PacingConfig, ReleaseStatus};
use shaping::ledger::{
    Allowance, BitsSpent, Bounds, Cost, Direction, Kind, Ledger, LimitName, Limits, Refusal, Request, Scope,
};
use shaping::{QueueParameters, QueueSettings, RateClass, SlotLength, SteppedParameters, UP_EDGE_S};
use std::time::Duration;
use wire::grant::Grant;
use wire::packet::PacketSize;

/// How often the entry's books are asked.
const LOOK: Duration = Duration::from_secs(30);

fn class(bits_per_second: u64) -> RateClass {
    RateClass::at_least(bits_per_second).unwrap_or(RateClass::SLOWEST)
}

fn releases(pair: &Pair) -> [ReleaseStatus; 2] {
    [&pair.entry, &pair.exit].map(|host| host.node.status().links[0].releases.expect("its rate follows releases"))
}

fn rates(pair: &Pair) -> [u64; 2] {
    [&pair.entry, &pair.exit].map(|host| host.node.status().links[0].rate_bits_per_second)
}

/// Packets from the entry in the last whole ten seconds.
fn sent_lately(pair: &Pair) -> u64 {
    let since = pair.elapsed().saturating_sub(Duration::from_secs(10));
    let seen = pair.observed().into_iter();
    seen.filter(|it| it.direction == adversary::Direction::Outward && it.at >= since).count() as u64
}

/// The books of an entry in mode `stepped` with two classes, and what they last refused.
struct Books {
    ledger: Ledger,
    limits: Limits,
    refused: [Option<Refusal>; 2],
}

impl Books {
    /// Pays as the entry's budget thread does: for the next minute, in both directions.
    fn pay(&mut self, pair: &mut Pair, unix_s: u64) {
        for direction in Direction::ALL {
            if self.ledger.paid_until_s(direction) >= unix_s + LOOK.as_secs() {
                continue;
            }
            let (epoch_s, cost_each) = (UP_EDGE_S as u32, Cost::choice(2));
            let request = Request { direction, epoch_s, until_s: unix_s + 60, cost_each };
            match self.ledger.reserve(unix_s, request, &self.limits) {
                Ok(reservation) => {
                    let leave = reservation.leave;
                    self.ledger = reservation.after;
                    let grant = Grant { first_epoch: leave.first_epoch, releases: leave.releases, cost_each: 2 };
                    match direction {
                        Direction::Up => pair.entry.node.grant_own(grant),
                        Direction::Down => assert!(pair.entry.node.grant_other(grant), "the session is up"),
                    }
                }
                Err(refusal) => self.refused[direction as usize] = Some(refusal),
            }
        }
    }
}

#[test]
fn a_stepped_pair_that_has_spent_its_bits_goes_back_to_the_configured_rate() {
    let (slow, fast) = (RateClass::SLOWEST, class(350_000));
    let parameters = SteppedParameters::new(&[slow, fast], fast).expect("two classes");
    let pacing = PacingConfig::Stepped(parameters);
    let mut pair = Pair::new(Setting { mode: Mode::Stepped, class: fast, pacing, ..Setting::constant() });
    let in_all = |bits| Bounds {
        in_all: Allowance { mu_squared: None, bits: Some(BitsSpent::whole(bits)) },
        ..Bounds::default()
    };
    // One choice is a bit: the exit has one, and of the three together two are left for the entry.
    let limits = Limits { down: in_all(1), together: in_all(3), ..Limits::none(Duration::from_secs(86_400)) };
    let mut books = Books { ledger: Ledger::new(), limits, refused: [None; 2] };
    assert!(pair.run_while(Duration::from_secs(2), |pair| pair.entry.node.status().links[0].session_up));
    let run = |pair: &mut Pair, books: &mut Books, until_s: u64| {
        while pair.elapsed() + LOOK <= Duration::from_secs(until_s) {
            let unix_s = pair.unix_s();
            books.pay(pair, unix_s);
            let next = pair.elapsed() + LOOK;
            pair.run_until(next);
        }
        pair.run_until(Duration::from_secs(until_s));
    };
    run(&mut pair, &mut books, 310);
    assert_eq!(rates(&pair), [slow.bits_per_second(); 2], "nothing to do, so the slower class");
    run(&mut pair, &mut books, 1_210);
    let [up, down] = releases(&pair);
    assert_eq!((up.released, down.released), (2, 1), "{up:?} {down:?}");
    assert!(up.spent && down.spent, "{up:?} {down:?}");
    assert_eq!(rates(&pair), [fast.bits_per_second(); 2], "the configured rate");
    let expected = pair.entry.node.status().links[0].cells_per_second * 10;
    assert!(sent_lately(&pair).abs_diff(expected) <= expected / 100, "{} of {expected}", sent_lately(&pair));
    let bits = books.ledger.spent_together(0, books.limits.window).in_all.bits;
    assert_eq!(bits, BitsSpent::whole(3), "no more than the limit");
    for (refused, scope) in books.refused.into_iter().zip([Scope::Together, Scope::One(Direction::Down)]) {
        let limit = LimitName { scope, kind: Kind::Bits };
        assert_eq!(refused, Some(Refusal::Lifetime { limit }));
    }
}

#[test]
fn a_queue_pair_without_budget_sends_at_the_configured_rate() {
    let settings = QueueSettings { sensitivity: 5_000, max_decision_size: 10_000, ..QueueSettings::default() };
    let packet = PacketSize::DEFAULT.session_packet();
    let parameters = QueueParameters::new(settings, SlotLength::DEFAULT, packet).expect("settings that fit");
    let cost_each = parameters.cost_each().expect("a small cost").raw();
    let pacing = PacingConfig::Queue { parameters, cost_each };
    // Noise far below every queue: each decision is the smallest.
    let noise = NoiseOf::Script(vec![-1 << 40]);
    let mut pair = Pair::new(Setting { mode: Mode::Queue, pacing, noise, ..Setting::constant() });
    pair.run_until(Duration::from_secs(1));
    pair.pay(4);
    pair.run_until(Duration::from_secs(15));
    // A cell for each decision, every 50 ms.
    assert_eq!(sent_lately(&pair), 200, "decisions of nothing");
    pair.run_until(Duration::from_secs(95));
    assert!(releases(&pair).iter().all(|status| status.spent));
    let expected = pair.entry.node.status().links[0].cells_per_second * 10;
    assert!(
        expected > 1_000 && sent_lately(&pair).abs_diff(expected) <= expected / 100,
        "{} of {expected}",
        sent_lately(&pair)
    );
    pair.pay(4);
    pair.run_until(Duration::from_secs(110));
    assert_eq!(sent_lately(&pair), 200, "budget that comes back is used");
}
