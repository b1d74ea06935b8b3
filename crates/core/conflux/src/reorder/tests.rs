use super::*;
use proptest::prelude::*;

const TIMEOUT: Duration = Duration::from_millis(200);

fn packet(number: u64) -> Vec<u8> {
    number.to_be_bytes().to_vec()
}

fn number(packet: &[u8]) -> u64 {
    u64::from_be_bytes(packet.try_into().expect("eight bytes"))
}

fn drain(buffer: &mut Reorder, now: Instant, past: u64) -> Vec<u64> {
    std::iter::from_fn(|| buffer.pop(now, past, TIMEOUT)).map(|packet| number(&packet)).collect()
}

fn feed(buffer: &mut Reorder, now: Instant, numbers: impl IntoIterator<Item = u64>) {
    for number in numbers {
        buffer.insert(now, number, &packet(number));
    }
}

#[test]
fn a_gap_waits_for_the_leg_that_is_behind() {
    let now = crate::origin();
    let mut buffer = Reorder::new();
    feed(&mut buffer, now, [1, 3, 4]);
    assert_eq!(drain(&mut buffer, now, 0), [1]);
    assert_eq!(buffer.waited_since(), Some(now));
    assert_eq!(drain(&mut buffer, now, 1), [0; 0], "some leg may still bring 2");
    assert_eq!(drain(&mut buffer, now, 2), [3, 4], "every leg is past 2");
    assert_eq!((buffer.figures.skipped, buffer.bytes()), (1, 0));
    feed(&mut buffer, now, [2]);
    assert_eq!(drain(&mut buffer, now, 2), [2], "late, but given");
    feed(&mut buffer, now, [2, 3, 4]);
    assert_eq!(drain(&mut buffer, now, 9), [0; 0], "never twice");
    assert_eq!((buffer.figures.late, buffer.figures.duplicates), (1, 3));
}

#[test]
fn a_gap_is_skipped_after_the_time_out_and_each_gap_has_its_own() {
    let start = crate::origin();
    let later = start + TIMEOUT / 2;
    let mut buffer = Reorder::new();
    feed(&mut buffer, start, [2]);
    feed(&mut buffer, later, [4]);
    assert_eq!(drain(&mut buffer, start + TIMEOUT - Duration::from_nanos(1), 0), [0; 0]);
    assert_eq!(drain(&mut buffer, start + TIMEOUT, 0), [2], "the gap before 4 is younger");
    assert_eq!(buffer.waited_since(), Some(later));
    assert_eq!(drain(&mut buffer, later + TIMEOUT, 0), [4]);
    assert_eq!(buffer.waited_since(), None);
}

#[test]
fn late_cells_are_given_up_to_a_hundred_behind() {
    let now = crate::origin();
    let mut buffer = Reorder::new();
    feed(&mut buffer, now, [1000]);
    assert_eq!(drain(&mut buffer, now, u64::MAX), [1000]);
    feed(&mut buffer, now, [900, 899]);
    assert_eq!(drain(&mut buffer, now, u64::MAX), [900]);
    assert_eq!((buffer.figures.late, buffer.figures.too_late), (1, 1));
}

#[test]
fn a_full_buffer_skips_the_gap_and_stays_in_its_bound() {
    let now = crate::origin();
    let mut buffer = Reorder::new();
    let body = vec![7; 1222];
    let mut given = 0;
    for number in 2..20_000 {
        buffer.insert(now, number, &body);
        assert!(buffer.bytes() <= REORDER_BYTES_MAX);
        while buffer.pop(now, 0, TIMEOUT).is_some() {
            given += 1;
        }
    }
    assert_eq!(given, 19_998, "nothing but number 1 is missing");
    assert_eq!((buffer.figures.skipped_full, buffer.figures.dropped_full), (1, 0));
    // A caller that fetches nothing loses packets, and the bound holds.
    for number in 20_001..30_000 {
        buffer.insert(now, number, &body);
    }
    assert!(buffer.bytes() <= REORDER_BYTES_MAX && buffer.figures.dropped_full > 5_000);
}

proptest! {
    /// Any order of arrival, any progress of legs, any pace: nothing twice, nothing made up, in order but for late ones,
    /// and never kept longer than the time-out once something behind it came.
    #[test]
    fn the_rules_hold(events in proptest::collection::vec((1u64..400, 0u64..400, 0u64..60), 1..300)) {
        let mut now = crate::origin();
        let mut buffer = Reorder::new();
        let (mut given, mut newest) = (std::collections::BTreeSet::new(), 0);
        let mut put = std::collections::BTreeSet::new();
        let mut past_max = 0;
        for (fed, past, wait) in events {
            now += Duration::from_millis(wait);
            past_max = past_max.max(past);
            buffer.insert(now, fed, &packet(fed));
            put.insert(fed);
            for number in drain(&mut buffer, now, past_max) {
                prop_assert!(put.contains(&number) && given.insert(number), "{} twice or made up", number);
                prop_assert!(number + LATE_CELLS_MAX >= newest, "{} is too late", number);
                newest = newest.max(number);
            }
            prop_assert!(buffer.waited_since().is_none_or(|since| since + TIMEOUT > now));
        }
        let rest = drain(&mut buffer, now + TIMEOUT, past_max);
        prop_assert!(rest.is_sorted() && buffer.bytes() == 0);
    }
}

#[test]
fn with_less_room_gaps_are_skipped_until_the_rest_fits() {
    let now = crate::origin();
    let mut buffer = Reorder::new();
    for number in (2..=20).step_by(2) {
        buffer.insert(now, number, &[7; 2_000]);
    }
    assert_eq!(buffer.pop(now, 0, TIMEOUT), None, "each gap is waited for");
    buffer.set_max(0);
    assert!(buffer.has_too_much());
    let given = std::iter::from_fn(|| buffer.pop(now, 0, TIMEOUT)).count();
    assert_eq!((given, buffer.bytes()), (7, 3 * (2_000 + ENTRY_OVERHEAD)), "a few packets are always held");
    assert!(!buffer.has_too_much());
    buffer.set_max(usize::MAX);
    buffer.insert(now, 22, &[7; 2_000]);
    assert_eq!(buffer.pop(now, 0, TIMEOUT), None, "there is room again");
    assert_eq!(buffer.pop(now, 15, TIMEOUT).map(|packet| packet.len()), Some(2_000), "16 comes next");
}
