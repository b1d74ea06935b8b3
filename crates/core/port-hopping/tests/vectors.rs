//! The test vectors of docs/spec/hops.md: the page and the code agree.

use identity::HopKey;
use port_hopping::HopSecret;
use port_hopping::keyed::{FlowId, Knock, KnockKeys, PairCounts, Purpose, Schedule, Window};
use port_hopping::ports::PortSet;
use rand_chacha::rand_core::TryRng;
use std::convert::Infallible;
use std::time::Duration;

const PAGE: &str = include_str!("../../../../docs/spec/hops.md");

/// A generator of zeros: nonces are zero, lengths the shortest.
struct Zeros;

impl TryRng for Zeros {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(0)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(0)
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        bytes.fill(0);
        Ok(())
    }
}

fn counting<const N: usize>() -> [u8; N] {
    std::array::from_fn(|place| u8::try_from(place).expect("at most 32 bytes"))
}

fn ports() -> PortSet {
    "20000-50000".parse().expect("ports")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A row of the page's table: `| name | value |`.
fn on_page(name: &str, value: &str) {
    assert!(PAGE.contains(&format!("| {name} | `{value}` |")), "the page has no row `| {name} | `{value}` |`");
}

#[test]
fn places_are_those_of_the_page() {
    let secret = HopSecret::of_link(&counting());
    let tries = [0, 1, 2].map(|attempt| secret.port(&ports(), 1, attempt).to_string());
    on_page("ports of step 1, tries 0 to 2", &tries.join(" "));
    let address = secret.address("2001:db8::/64".parse().expect("a prefix"), 1, 0);
    on_page("address of step 1, try 0, in 2001:db8::/64", &address.to_string());
}

#[test]
fn windows_are_those_of_the_page() {
    let schedule = Schedule::new(&HopKey::from_bytes(counting()), ports());
    let found: Vec<String> = schedule.ports_of(Window(60_000_000)).iter().map(u16::to_string).collect();
    on_page("ports of window 60000000", &found.join(" "));
    on_page("the hop key as text", &HopKey::from_bytes(counting()).reveal());
}

#[test]
fn knocks_are_those_of_the_page() {
    let mut keys = KnockKeys::new(&HopKey::from_bytes(counting()));
    let time = Window(60_000_000).begin() + Duration::from_millis(1_500);
    let knock = keys.seal_knock(time, Knock { flow: FlowId(counting()), purpose: Purpose::Take }, &mut Zeros);
    on_page("knock", &hex(&knock.datagram));
    let (_, window, nonce) = keys.open_knock(time, &knock.datagram).expect("its own knock");
    let counts = PairCounts { received: 0x0102_0304_0506, sent: 0xa1a2_a3a4_a5a6 };
    let answer = keys.seal_answer(time, (window, nonce), knock.datagram.len(), counts, &mut Zeros);
    on_page("answer", &hex(&answer));
    assert_eq!(keys.open_answer(&knock, &answer).map(|answer| answer.counts), Some(counts));
    let asks = keys.seal_knock(time, Knock { flow: FlowId(counting()), purpose: Purpose::Count(258) }, &mut Zeros);
    on_page("knock for counts", &hex(&asks.datagram));
}
