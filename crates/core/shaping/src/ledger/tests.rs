use super::*;
use crate::accountant::{Epsilon, FailureProbability, gaussian};
use proptest::prelude::*;

const EPOCH_S: u32 = 5;
const DAY: Duration = Duration::from_secs(24 * HOUR_S);

fn unlimited() -> Limits {
    Limits::none(DAY)
}

/// A limit of mu squared on one of the four.
fn units(limit: u128) -> Allowance {
    Allowance { mu_squared: Some(MuSquared::from_raw(limit)), bits: None }
}

fn cost(units: u128) -> Cost {
    Cost::noisy(MuSquared::from_raw(units))
}

fn request(direction: Direction, until_s: u64, units: u128) -> Request {
    Request { direction, epoch_s: EPOCH_S, until_s, cost_each: cost(units) }
}

fn reserve(ledger: &mut Ledger, now_s: u64, request: Request, limits: &Limits) -> Result<Leave, Refusal> {
    let reservation = ledger.reserve(now_s, request, limits)?;
    *ledger = reservation.after;
    Ok(reservation.leave)
}

#[test]
fn time_is_paid_once_and_never_after_it() {
    let mut ledger = Ledger::new();
    let minute = request(Direction::Up, 1_060, 7);
    assert_eq!(reserve(&mut ledger, 1_002, minute, &unlimited()), Ok(Leave { first_epoch: 200, releases: 13 }));
    assert_eq!(ledger.paid_until_s(Direction::Up), 1_065);
    assert_eq!(reserve(&mut ledger, 1_010, minute, &unlimited()), Err(Refusal::Paid));
    let later = request(Direction::Up, 1_074, 7);
    assert_eq!(reserve(&mut ledger, 1_010, later, &unlimited()), Ok(Leave { first_epoch: 213, releases: 2 }));
    let after_sleep = request(Direction::Up, 5_000, 7);
    assert_eq!(reserve(&mut ledger, 5_000, after_sleep, &unlimited()), Ok(Leave { first_epoch: 1_000, releases: 1 }));
    assert_eq!(ledger.spent(5_000, Direction::Up, DAY).in_all, cost(16 * 7));
    assert_eq!(ledger.spent(5_000, Direction::Down, DAY), Spent::default(), "the other direction has its own account");
    assert_eq!(ledger.spent_together(5_000, DAY).in_window, cost(16 * 7));
}

#[test]
fn another_length_of_epochs_pays_no_time_twice() {
    let mut ledger = Ledger::new();
    assert!(reserve(&mut ledger, 1_000, request(Direction::Up, 1_012, 1), &unlimited()).is_ok());
    let slower = Request { epoch_s: 300, ..request(Direction::Up, 1_300, 1) };
    let leave = reserve(&mut ledger, 1_000, slower, &unlimited());
    assert_eq!(leave, Ok(Leave { first_epoch: 4, releases: 1 }), "the epoch that begins after what is paid");
}

#[test]
fn limits_give_what_fits_and_then_say_when_there_is_room() {
    let together = Bounds { in_window: units(100), in_all: Allowance::default() };
    let limits = Limits { together, ..Limits::none(Duration::from_secs(2 * HOUR_S)) };
    let limit = LimitName { scope: Scope::Together, kind: Kind::MuSquared };
    let mut ledger = Ledger::new();
    let start = 10 * HOUR_S + 20;
    let leave = reserve(&mut ledger, start, request(Direction::Up, start + 60, 7), &limits);
    assert_eq!(leave.map(|leave| leave.releases), Ok(13), "91 of 100 units");
    let leave = reserve(&mut ledger, start, request(Direction::Down, start + 60, 7), &limits);
    assert_eq!(leave.map(|leave| leave.releases), Ok(1), "98 of 100, both directions together");
    let full = ledger.reserve(start + 60, request(Direction::Down, start + 120, 7), &limits).map(|it| it.leave);
    let free_at_s = 13 * HOUR_S;
    assert_eq!(full, Err(Refusal::Window { limit, free_at_s }));
    let before = ledger.reserve(free_at_s - 1, request(Direction::Down, free_at_s + 60, 7), &limits).map(|it| it.leave);
    assert_eq!(before, Err(Refusal::Window { limit, free_at_s }));
    let then = ledger.reserve(free_at_s, request(Direction::Down, free_at_s + 60, 7), &limits);
    assert_eq!(then.map(|it| it.leave.releases), Ok(13));

    let limits = Limits { together: Bounds { in_all: units(98), ..Bounds::default() }, ..limits };
    let ever = ledger.reserve(1_000 * HOUR_S, request(Direction::Up, 1_000 * HOUR_S, 7), &limits).map(|it| it.leave);
    assert_eq!(ever, Err(Refusal::Lifetime { limit }), "a lifetime does not move on");
}

#[test]
fn a_clock_that_goes_back_frees_nothing() {
    let mut ledger = Ledger::new();
    let now = 100 * HOUR_S;
    assert!(reserve(&mut ledger, now, request(Direction::Up, now + 60, 7), &unlimited()).is_ok());
    let spent = ledger.spent(now, Direction::Up, DAY);
    assert_eq!(ledger.spent(0, Direction::Up, DAY), spent);
    let books_s = now + 65;
    assert_eq!(reserve(&mut ledger, 0, request(Direction::Up, 60, 7), &unlimited()), Err(Refusal::Behind { books_s }));
    let other = request(Direction::Down, 60, 7);
    assert_eq!(
        reserve(&mut ledger, 0, other, &unlimited()),
        Err(Refusal::Behind { books_s: now }),
        "nor the other way"
    );
    let mut again = restarted(&ledger).expect("the books are sound");
    assert_eq!(
        reserve(&mut again, 0, other, &unlimited()),
        Err(Refusal::Behind { books_s: now }),
        "nor after a restart"
    );
    let small_step = request(Direction::Down, now - 200, 7);
    assert_eq!(reserve(&mut ledger, now - 260, small_step, &unlimited()), Err(Refusal::Paid), "it will be there soon");
}

/// The books as they are read after a restart.
fn restarted(ledger: &Ledger) -> Result<Ledger, RecordError> {
    let accounts = Direction::ALL.map(|direction| (direction, ledger.account_record(direction)));
    let hours = Direction::ALL.into_iter().flat_map(|direction| {
        ledger.hours(direction).map(move |hour| (direction, hour, ledger.hour_record(direction, hour)))
    });
    Ledger::from_records(accounts, hours)
}

#[test]
fn releases_count_where_they_happen_and_not_where_they_are_paid() {
    let mut ledger = Ledger::new();
    let paid_at = 11 * HOUR_S - 10;
    let window = Duration::from_secs(HOUR_S);
    assert!(reserve(&mut ledger, paid_at, request(Direction::Up, paid_at + 60, 7), &unlimited()).is_ok());
    let in_window = |now_s| ledger.spent(now_s, Direction::Up, window).in_window;
    assert_eq!(in_window(12 * HOUR_S + 45), cost(13 * 7), "an hour ago the last ones were not yet out");
    assert_eq!(in_window(13 * HOUR_S), Cost::default());
}

#[test]
fn a_reservation_reaches_a_bounded_time_ahead() {
    let mut ledger = Ledger::new();
    let ever = Request { epoch_s: 1_000_000, ..request(Direction::Up, u64::MAX, 7) };
    assert_eq!(reserve(&mut ledger, 0, ever, &unlimited()).map(|leave| leave.releases), Ok(1));
    let late = Request { epoch_s: 1, ..request(Direction::Down, u64::MAX, 7) };
    assert_eq!(reserve(&mut ledger, u64::MAX, late, &unlimited()), Err(Refusal::Paid), "the end of time");
}

#[test]
fn a_day_of_releases_costs_what_the_accountant_says() {
    let (epsilon, delta) = (Epsilon::new(1.0).expect("in range"), FailureProbability::DEFAULT);
    let each = Cost::noisy(MuSquared::budget(gaussian::mu(epsilon, delta)));
    let mut ledger = Ledger::new();
    let hour = Request { direction: Direction::Up, epoch_s: 5, until_s: 3_599, cost_each: each };
    assert_eq!(reserve(&mut ledger, 0, hour, &unlimited()).map(|leave| leave.releases), Ok(720));
    let spent = ledger.spent(3_599, Direction::Up, DAY).composition_in_window().epsilon(delta);
    assert_eq!(format!("{:.2}", spent.value()), "49.62", "facts of the accountant's table: an hour at epsilon 1");
}

#[test]
fn a_choice_costs_bits() {
    let mut ledger = Ledger::new();
    let day = Request { direction: Direction::Up, epoch_s: 300, until_s: 86_399, cost_each: Cost::choice(4) };
    for direction in Direction::ALL {
        assert_eq!(reserve(&mut ledger, 0, Request { direction, ..day }, &unlimited()).map(|it| it.releases), Ok(288));
    }
    let bits = ledger.spent_together(0, DAY).in_all.bits.to_bits().value();
    assert_eq!(bits, 1_152.0, "four classes, both directions, a day");
}

#[test]
fn a_direction_has_limits_of_its_own_in_bits_too() {
    let bits = |bits| Allowance { mu_squared: None, bits: Some(BitsSpent::whole(bits)) };
    let hour = |direction| Request { direction, epoch_s: 300, until_s: 3_599, cost_each: Cost::choice(4) };
    let up = Bounds { in_all: bits(11), in_window: bits(7) };
    let limits = Limits { up, together: Bounds { in_all: bits(20), ..Bounds::default() }, ..unlimited() };
    let mut ledger = Ledger::new();
    let leave = |ledger: &mut Ledger, direction, now_s| {
        let wanted = Request { until_s: now_s + 3_599, ..hour(direction) };
        reserve(ledger, now_s, wanted, &limits).map(|leave| leave.releases)
    };
    let refused = |scope| LimitName { scope, kind: Kind::Bits };
    assert_eq!(leave(&mut ledger, Direction::Up, 0), Ok(3), "6 of 7 bits in the window");
    let free_at_s = 25 * HOUR_S;
    let limit = refused(Scope::One(Direction::Up));
    assert_eq!(leave(&mut ledger, Direction::Up, 900), Err(Refusal::Window { limit, free_at_s }));
    assert_eq!(
        leave(&mut ledger, Direction::Down, 900),
        Ok(7),
        "14 more of 20 together; its own direction has no limit"
    );
    let limit = refused(Scope::Together);
    assert_eq!(leave(&mut ledger, Direction::Down, 7_200), Err(Refusal::Lifetime { limit }));
    assert_eq!(limit.to_string(), "bits of both directions together");
    let more = Limits { together: Bounds::default(), ..limits };
    let wanted = Request { until_s: free_at_s + 3_599, ..hour(Direction::Up) };
    assert_eq!(reserve(&mut ledger, free_at_s, wanted, &more).map(|it| it.releases), Ok(2), "10 of 11 bits in all");
    let limit = refused(Scope::One(Direction::Up));
    let wanted = Request { until_s: 60 * HOUR_S, ..wanted };
    assert_eq!(reserve(&mut ledger, 60 * HOUR_S, wanted, &more), Err(Refusal::Lifetime { limit }));
}

#[test]
fn of_several_full_windows_the_one_is_named_that_has_room_last() {
    let mut ledger = Ledger::new();
    let later = 5 * HOUR_S;
    assert!(reserve(&mut ledger, 0, request(Direction::Down, 60, 7), &unlimited()).is_ok());
    assert!(reserve(&mut ledger, later, request(Direction::Up, later + 60, 7), &unlimited()).is_ok());
    let full = Bounds { in_window: units(90), in_all: Allowance::default() };
    let limits = Limits { up: full, together: full, ..unlimited() };
    let refused = reserve(&mut ledger, later, request(Direction::Up, later + 120, 7), &limits);
    let limit = LimitName { scope: Scope::One(Direction::Up), kind: Kind::MuSquared };
    assert_eq!(refused, Err(Refusal::Window { limit, free_at_s: 30 * HOUR_S }));
}

proptest! {
    /// Whatever is asked at whatever times: every epoch is paid at most once, the lifetime is the sum of what was handed
    /// out, no window is below what was handed out in it, limits hold, and records give the same books again.
    #[test]
    fn books_are_never_short(
        steps in proptest::collection::vec((0u64..40_000, any::<bool>(), 0u64..4_000, 1u128..50), 1..80),
        limit in proptest::option::of(100u128..5_000),
        up_bits in proptest::option::of(100u128..5_000),
    ) {
        let together = Allowance { mu_squared: limit.map(MuSquared::from_raw), bits: None };
        let up = Allowance { mu_squared: None, bits: up_bits.map(BitsSpent) };
        let in_all = |in_all| Bounds { in_all, ..Bounds::default() };
        let limits = Limits { together: in_all(together), up: in_all(up), ..unlimited() };
        let mut ledger = Ledger::new();
        let mut paid = std::collections::BTreeSet::new();
        let both = |units: u128| Cost { bits: BitsSpent(2 * units), ..cost(units) };
        let mut sum = 0;
        for (now, up, ahead, units) in steps {
            let direction = if up { Direction::Up } else { Direction::Down };
            let wanted = Request { cost_each: both(units), ..request(direction, now + ahead, units) };
            let Ok(leave) = reserve(&mut ledger, now, wanted, &limits) else { continue };
            for epoch in leave.first_epoch..leave.first_epoch + u64::from(leave.releases) {
                prop_assert!(paid.insert((direction, epoch)), "{:?} {} twice", direction, epoch);
            }
            sum += units * u128::from(leave.releases);
        }
        let spent = ledger.spent_together(0, WINDOW_MAX);
        prop_assert_eq!(spent.in_all, both(sum));
        prop_assert_eq!(spent.in_window, both(sum), "all of it lies within the longest window");
        prop_assert!(limit.is_none_or(|limit| sum <= limit));
        let spent_up = ledger.spent(0, Direction::Up, WINDOW_MAX).in_all;
        prop_assert!(up_bits.is_none_or(|limit| spent_up.bits.0 <= limit));
        prop_assert_eq!(restarted(&ledger), Ok(ledger));
    }

    /// However the clock steps and restarts come: at any reading of the clock a window holds at least the releases that
    /// happened within it, and those to come.
    #[test]
    fn windows_are_never_short(
        steps in proptest::collection::vec((-9_000i64..9_000, any::<bool>(), any::<bool>(), any::<bool>(), 0u64..900), 1..60),
        window_s in 1u64..4 * HOUR_S,
        look_s in 0u64..200_000,
    ) {
        let (mut ledger, mut now) = (Ledger::new(), 100_000u64);
        let mut releases = Vec::new();
        for (step, up, is_long, restarts, ahead) in steps {
            now = now.saturating_add_signed(step);
            if restarts {
                ledger = restarted(&ledger).map_err(|error| TestCaseError::fail(error.to_string()))?;
            }
            let direction = if up { Direction::Up } else { Direction::Down };
            let epoch_s = if is_long { 300 } else { EPOCH_S };
            let wanted = Request { epoch_s, ..request(direction, now + ahead, 1) };
            let Ok(leave) = reserve(&mut ledger, now, wanted, &unlimited()) else { continue };
            // A release happens at the end of its epoch.
            releases.extend((1..=u64::from(leave.releases)).map(|n| (leave.first_epoch + n) * u64::from(epoch_s)));
        }
        for clock in [now, look_s, ledger.now_s, ledger.now_s + look_s] {
            let within = releases.iter().filter(|release| **release + window_s > clock).count();
            let says = ledger.spent_together(clock, Duration::from_secs(window_s)).in_window;
            prop_assert!(says.mu_squared.raw() >= within as u128, "at {}: {:?}, of {}", clock, says, within);
        }
    }
}

#[test]
fn hours_that_say_more_than_the_account_are_refused() {
    let account = AccountRecord { paid_until_s: 9, seen_s: 8, spent: cost(5) };
    let hours = [(Direction::Up, 1, HourRecord { spent: cost(6) })];
    assert_eq!(Ledger::from_records([(Direction::Up, account)], hours), Err(RecordError::Inconsistent));
}
