//! The fuzz bodies: run by libFuzzer and, over the committed corpora, by `cargo test`.

use crate::descriptor::{Label, unsigned};
use crate::introduction::Payload;
use crate::{
    CONTENT_LEN, Day, DayKey, Descriptor, INTRODUCTION_LEN, IntroductionRefusal, OpenError, POINTS_MAX, PointId,
    PointOrder, RENDEZVOUS_MAX, ServiceAddress, ServiceConfig, ServiceCore, WORK_BITS_MAX,
};
use identity::{NodeId, NodeSecret};
use network_document::NetworkId;
use std::cell::RefCell;
use std::time::Instant;
use zeroize::Zeroizing;

const NETWORK: NetworkId = NetworkId([1; 32]);
const NOON_MS: u64 = 20_000 * crate::DAY_MS + crate::DAY_MS / 2;

/// Any text is an address or refused; what is read is printed alike.
///
/// # Panics
/// When a promise is broken: that is the finding.
pub fn service_address(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(address) = text.parse::<ServiceAddress>() {
        assert!(address.to_string().eq_ignore_ascii_case(text), "an address is printed as it was read");
    }
}

/// Any bytes are the inside of a record, or its content, or refused. What is read is written and reads the same; nothing opens that
/// was not sealed by somebody who knows the address.
///
/// # Panics
/// When a promise is broken: that is the finding.
pub fn service_record(input: &[u8]) {
    if let Ok(descriptor) = Descriptor::decode(input, Zeroizing::new([2; 32])) {
        assert!((1..=POINTS_MAX).contains(&descriptor.points.len()) && descriptor.work_bits <= WORK_BITS_MAX);
        let again = Descriptor::decode(&descriptor.encode(), descriptor.cookie.clone());
        assert_eq!(again.as_ref(), Ok(&descriptor), "a record is written as it was read");
    }
    let secret = NodeSecret::from_seed([3; 32]);
    let day = DayKey::new(NETWORK, ServiceAddress([4; 32]), Day::at(NOON_MS), secret.node_id().0);
    let mut record = unsigned(&day, Label { revision: 1, expires_ms: NOON_MS + 1 }, input.to_vec());
    record.signature = secret.sign(&record.message(NETWORK));
    let opened = Descriptor::open(NETWORK, &day, &record, NOON_MS, None);
    let expected = if input.len() == CONTENT_LEN { OpenError::Other } else { OpenError::Malformed };
    assert_eq!(opened, Err(expected), "nobody sealed it");
}

/// Any bytes are the inside of an introduction, or one for a service, or refused. What is read is written and reads the same; nothing is
/// accepted that nobody sealed, and nothing of it is kept.
///
/// # Panics
/// When a promise is broken: that is the finding.
pub fn service_introduction(input: &[u8]) {
    if let Some(Ok(payload)) = input.first_chunk().map(Payload::decode) {
        assert!((1..=RENDEZVOUS_MAX).contains(&payload.relays.len()), "bounded");
        let again = Payload::decode(&payload.encode()).map(|again| (again.features, again.relays));
        assert_eq!(again, Ok((payload.features, payload.relays)), "it is written as it was read");
    }
    SERVICE.with_borrow_mut(|service| {
        let (core, point, now) = service.get_or_insert_with(core);
        let mut introduction = input.to_vec();
        let refused = core.handle_introduction(*now, *point, &introduction);
        if introduction.len() == INTRODUCTION_LEN {
            assert_eq!(refused, Err(IntroductionRefusal::Keys), "the name of a key is a hash of it");
            introduction[..8].copy_from_slice(&core.key_tags()[0]);
            let refused = core.handle_introduction(*now, *point, &introduction);
            assert_eq!(refused, Err(IntroductionRefusal::Sealed), "nobody sealed it");
        } else {
            assert_eq!(refused, Err(IntroductionRefusal::Length));
        }
        assert!(core.poll_introduced().is_none() && core.figures().accepted == 0);
    });
}

thread_local!(static SERVICE: RefCell<Option<(ServiceCore, PointId, Instant)>> = const { RefCell::new(None) });

/// A service with a day and an introduction point that takes as many as come.
#[expect(clippy::disallowed_methods, reason = "an origin for virtual time")]
fn core() -> (ServiceCore, PointId, Instant) {
    let now = Instant::now();
    let config = ServiceConfig { introductions_per_second: u32::MAX, ..ServiceConfig::new(NETWORK) };
    let mut core = ServiceCore::new(now, config, [5; 32]).expect("a configuration");
    core.handle_directory_time(now, NOON_MS);
    while let Some(day) = core.poll_day_key(now) {
        core.handle_day_key(now, DayKey::new(NETWORK, ServiceAddress([4; 32]), day, [6; 32]));
    }
    let Some(PointOrder::Open { point, .. }) = core.poll_point(now) else { panic!("it has no point yet") };
    core.handle_point_open(now, point, NodeId([7; 32]));
    (core, point, now)
}
