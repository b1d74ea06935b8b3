//! Throttling of single UDP flows by the relay of an emulated line, and the settings it shares with the rules of nftables.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

/// Bytes that a throttled flow may send at once, here and in nftables.
pub const BURST_BYTES: u64 = 1 << 16;
/// A flow that was silent for so long is a fresh one when it speaks again, here and in nftables.
pub const FLOW_FORGOTTEN_AFTER: Duration = Duration::from_secs(60);
/// Flows known at once; when so many are active, more go through unthrottled, as with a full set of nftables.
const FLOWS_MAX: usize = 16_384;
/// Number of UDP in an IP header.
const UDP: u8 = 17;

/// When a flow is no longer let alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begins {
    /// So long after its first packet.
    AfterTime(Duration),
    /// After so many bytes of IP packets.
    AfterBytes(u64),
}

/// What happens to every UDP flow: five-tuples, each direction for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowThrottle {
    /// When it begins.
    pub begins: Begins,
    /// What the flow has from then on, counted in whole IP packets; what is more is dropped.
    pub bits_per_second: u64,
}

impl FlowThrottle {
    /// A throttle that begins so long after a flow's first packet.
    pub fn after_time(time: Duration, bits_per_second: u64) -> Self {
        Self { begins: Begins::AfterTime(time), bits_per_second }
    }

    /// A throttle that begins after so many bytes.
    pub fn after_bytes(bytes: u64, bits_per_second: u64) -> Self {
        Self { begins: Begins::AfterBytes(bytes), bits_per_second }
    }
}

/// Source and destination of a UDP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tuple {
    source: (IpAddr, u16),
    destination: (IpAddr, u16),
}

impl Tuple {
    /// That of an IP packet, if it carries UDP directly behind its header and is not a later fragment.
    pub fn of(packet: &[u8]) -> Option<Self> {
        let (source, destination, ports) = match packet.first()? >> 4 {
            4 => {
                let is_later_fragment = packet.get(6)? & 0x1f != 0 || *packet.get(7)? != 0;
                if *packet.get(9)? != UDP || is_later_fragment {
                    return None;
                }
                let ports = usize::from(packet[0] & 0xf) * 4;
                (IpAddr::from(bytes::<4>(packet, 12)?), IpAddr::from(bytes::<4>(packet, 16)?), ports)
            }
            6 if *packet.get(6)? == UDP => {
                (IpAddr::from(bytes::<16>(packet, 8)?), IpAddr::from(bytes::<16>(packet, 24)?), 40)
            }
            _ => return None,
        };
        let port = |at| bytes::<2>(packet, at).map(u16::from_be_bytes);
        Some(Self { source: (source, port(ports)?), destination: (destination, port(ports + 2)?) })
    }
}

fn bytes<const LENGTH: usize>(packet: &[u8], at: usize) -> Option<[u8; LENGTH]> {
    packet.get(at..at + LENGTH)?.try_into().ok()
}

/// The flows that a throttle watches. Times are those of one clock and never decrease.
#[derive(Debug)]
pub struct Throttle {
    plan: FlowThrottle,
    flows: BTreeMap<Tuple, Flow>,
}

#[derive(Debug)]
struct Flow {
    first: Duration,
    newest: Duration,
    bytes: u64,
    /// Since when it is throttled, as the time up to which its tokens are counted, and its tokens in bits times 1e9.
    bucket: Option<Bucket>,
}

#[derive(Debug)]
struct Bucket {
    filled_at: Duration,
    bit_nanoseconds: u128,
}

const NANOSECONDS: u128 = 1_000_000_000;

impl Throttle {
    /// Without any flow yet.
    pub fn new(plan: FlowThrottle) -> Self {
        Self { plan, flows: BTreeMap::new() }
    }

    /// Whether a packet of a flow passes at `now`.
    pub fn admit(&mut self, now: Duration, tuple: Tuple, length: usize) -> bool {
        if self.flows.len() >= FLOWS_MAX && !self.flows.contains_key(&tuple) {
            self.flows.retain(|_, flow| now - flow.newest < FLOW_FORGOTTEN_AFTER);
            if self.flows.len() >= FLOWS_MAX {
                return true;
            }
        }
        let fresh = Flow { first: now, newest: now, bytes: 0, bucket: None };
        let flow = self.flows.entry(tuple).or_insert(fresh);
        if now.saturating_sub(flow.newest) >= FLOW_FORGOTTEN_AFTER {
            *flow = Flow { first: now, newest: now, bytes: 0, bucket: None };
        }
        flow.newest = now;
        flow.bytes += length as u64;
        let begun = match self.plan.begins {
            Begins::AfterTime(time) => now - flow.first >= time,
            Begins::AfterBytes(bytes) => flow.bytes > bytes,
        };
        !begun || flow.take_tokens(now, self.plan.bits_per_second, length)
    }
}

impl Flow {
    fn take_tokens(&mut self, now: Duration, bits_per_second: u64, length: usize) -> bool {
        let full = u128::from(BURST_BYTES) * 8 * NANOSECONDS;
        let bucket = self.bucket.get_or_insert(Bucket { filled_at: now, bit_nanoseconds: full });
        let earned = (now - bucket.filled_at).as_nanos() * u128::from(bits_per_second);
        bucket.filled_at = now;
        bucket.bit_nanoseconds = (bucket.bit_nanoseconds + earned).min(full);
        let price = length as u128 * 8 * NANOSECONDS;
        let passes = bucket.bit_nanoseconds >= price;
        if passes {
            bucket.bit_nanoseconds -= price;
        }
        passes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);
    const LENGTH: usize = 1250;

    fn tuple(source_port: u16) -> Tuple {
        let address = IpAddr::from([10, 0, 0, 1]);
        Tuple { source: (address, source_port), destination: (address, 9) }
    }

    /// Bytes that pass in each second of 10 Mbit/s.
    fn passed(throttle: &mut Throttle, tuple: Tuple, seconds: u32) -> Vec<u64> {
        let in_second = |throttle: &mut Throttle, second: u32| {
            let times = (0..1000).map(|number| MILLISECOND * (second * 1000 + number));
            times.filter(|now| throttle.admit(*now, tuple, LENGTH)).count() as u64 * LENGTH as u64
        };
        (0..seconds).map(|second| in_second(throttle, second)).collect()
    }

    #[test]
    fn a_flow_is_let_alone_for_its_time_and_slow_afterwards() {
        let mut throttle = Throttle::new(FlowThrottle::after_time(2000 * MILLISECOND, 1_000_000));
        let seconds = passed(&mut throttle, tuple(1), 4);
        assert_eq!(seconds[..2], [1_250_000; 2]);
        assert!((188_750..=191_250).contains(&seconds[2]), "the rate and one burst: {seconds:?}");
        assert!((123_750..=126_250).contains(&seconds[3]), "the rate: {seconds:?}");
        assert_eq!(passed(&mut throttle, tuple(2), 1), [1_250_000], "another flow is not concerned");
    }

    #[test]
    fn a_flow_has_its_bytes_and_is_slow_afterwards() {
        let mut throttle = Throttle::new(FlowThrottle::after_bytes(1_250_000, 1_000_000));
        let seconds = passed(&mut throttle, tuple(1), 3);
        assert_eq!(seconds[0], 1_250_000);
        assert!((123_750..=126_250).contains(&seconds[2]), "{seconds:?}");
    }

    #[test]
    fn a_silent_flow_is_forgotten() {
        let mut throttle = Throttle::new(FlowThrottle::after_bytes(1000, 0));
        assert!(throttle.admit(Duration::ZERO, tuple(1), 1000));
        let emptied = (0..100).filter(|_| throttle.admit(MILLISECOND, tuple(1), 1000)).count();
        assert_eq!(emptied, 65, "the burst");
        assert!(!throttle.admit(FLOW_FORGOTTEN_AFTER, tuple(1), 1000));
        assert!(throttle.admit(FLOW_FORGOTTEN_AFTER * 2, tuple(1), 1000));
    }

    #[test]
    fn a_full_table_lets_more_flows_through_and_forgets_silent_ones() {
        let mut throttle = Throttle::new(FlowThrottle::after_bytes(0, 0));
        for port in 0..FLOWS_MAX {
            let port = u16::try_from(port).expect("the table has fewer flows than there are ports");
            throttle.admit(Duration::ZERO, tuple(port), 1);
        }
        let many = (0..100).filter(|_| throttle.admit(MILLISECOND, tuple(u16::MAX), 1 << 16)).count();
        assert_eq!((many, throttle.flows.len()), (100, FLOWS_MAX));
        throttle.admit(FLOW_FORGOTTEN_AFTER, tuple(u16::MAX), 1);
        assert_eq!(throttle.flows.len(), 1);
    }

    #[test]
    fn tuples_are_read_from_both_families_and_from_nothing_else() {
        let mut four = vec![0x45, 0, 0, 28, 0, 0, 0x40, 0, 64, UDP, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 0x12, 0x34, 0, 53];
        let read = Tuple::of(&four).expect("it is a UDP packet");
        assert_eq!(read.source, (IpAddr::from([10, 0, 0, 1]), 0x1234));
        assert_eq!(read.destination, (IpAddr::from([10, 0, 0, 2]), 53));
        for cut in 0..four.len() {
            assert_eq!(Tuple::of(&four[..cut]), None);
        }
        four[7] = 1;
        assert_eq!(Tuple::of(&four), None, "a later fragment has no ports");
        let mut six = vec![0; 48];
        (six[0], six[6], six[23], six[39], six[41], six[43]) = (0x60, UDP, 1, 2, 7, 8);
        let read = Tuple::of(&six).expect("it is a UDP packet");
        assert_eq!((read.source.1, read.destination.1), (7, 8));
        six[6] = 6;
        assert_eq!(Tuple::of(&six), None, "TCP");
    }
}
