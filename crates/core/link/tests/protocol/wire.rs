//! What an observer sees: one size, and bytes that look random, whatever the kind of packet.

use crate::net::{Fate, Net, config, peer, start};
use link::{Accept, Endpoint, Received};
use std::net::SocketAddr;
use std::time::Duration;

/// Standard deviations that no count may stray from its mean: a chance of 3e-12 for each of at most 11,000 counts, so
/// a sound run fails once in thirty million.
const SIGMAS: f64 = 7.0;

/// Every bit of every position is one half of the time, over all packets; every byte value is as frequent as any.
fn looks_random(packets: &[Vec<u8>]) {
    assert!(packets.len() >= 1000);
    let (count, size) = (packets.len() as f64, packets[0].len());
    let mut ones = vec![[0u32; 8]; size];
    let mut values = [0u64; 256];
    for packet in packets {
        assert_eq!(packet.len(), size);
        for (place, byte) in packet.iter().enumerate() {
            values[usize::from(*byte)] += 1;
            for (bit, ones) in ones[place].iter_mut().enumerate() {
                *ones += u32::from(byte >> bit & 1);
            }
        }
    }
    for (place, bits) in ones.iter().enumerate() {
        for ones in bits {
            let stray = (f64::from(*ones) - count / 2.0).abs() / (count / 4.0).sqrt();
            assert!(stray < SIGMAS, "byte {place}: {ones} ones of {count}");
        }
        let first = packets[0][place];
        assert!(packets.iter().any(|packet| packet[place] != first), "byte {place} stands still");
    }
    let expected = count * size as f64 / 256.0;
    let chi_squared: f64 = values.iter().map(|seen| (*seen as f64 - expected).powi(2) / expected).sum();
    // 255 degrees of freedom: mean 255, deviation 22.6. Nine deviations leave less than 1e-11.
    assert!(chi_squared < 255.0 + 9.0 * 22.6, "byte values: {chi_squared}");
}

#[test]
fn first_messages_look_random() {
    let (mut net, link) = Net::pair(|_| {});
    let mut packets = Vec::new();
    while packets.len() < 1000 {
        net.now.instant += Duration::from_secs(5);
        let mut packet = Vec::new();
        let (now, entry) = (net.now, &mut net.nodes[0].endpoint);
        entry.poll_own_packet(now, link, &mut packet).expect("a back-off of five seconds at most");
        packets.push(packet);
    }
    assert_eq!(packets[0].len(), 1350);
    looks_random(&packets);
}

/// Answers of a relay to one client after the other: message 2, or above 500 a second cookie replies.
fn answers(spacing: Duration, kind: Received) -> Vec<Vec<u8>> {
    let mut settings = config(2);
    settings.accept = Accept::Anyone;
    settings.links_per_source = 5000;
    let (mut relay, mut now) = (Endpoint::new(settings.clone(), [2; 32]), start());
    let to = SocketAddr::from(([192, 0, 2, 2], 1));
    let mut packets = Vec::new();
    for number in 0..u16::MAX {
        now.instant += spacing;
        let mut seed = [0; 32];
        seed[..2].copy_from_slice(&number.to_be_bytes());
        let mut client = Endpoint::new(config(1), seed);
        let link = client.dial(now, &peer(&settings), to, [0; 7]).expect("room");
        let mut out = Vec::new();
        client.poll_own_packet(now, link, &mut out).expect("message 1");
        let received = relay.handle_packet(now, SocketAddr::from(([192, 0, 2, 3], number)), false, &mut out);
        let mut answer = Vec::new();
        if relay.poll_door_packet(now, &mut answer).is_some() && received == kind {
            packets.push(answer);
        }
        if packets.len() == 1000 {
            break;
        }
    }
    packets
}

#[test]
fn answers_look_random() {
    looks_random(&answers(Duration::from_millis(3), Received::Handled));
}

#[test]
fn cookie_replies_look_random() {
    let kind = Received::Dropped(link::DropReason::CookieNeeded);
    looks_random(&answers(Duration::from_micros(1), kind));
}

#[test]
fn cells_look_random_to_everybody_without_the_door_key() {
    let (mut net, _) = Net::pair(|_| {});
    net.recording = Some(Vec::new());
    net.run(Duration::from_secs(12));
    let packets = net.recording.take().unwrap_or_default();
    for from in [net.nodes[0].address, net.nodes[1].address] {
        let of: Vec<_> =
            packets.iter().filter(|packet| packet.from == from).map(|packet| packet.bytes.clone()).collect();
        assert!(of.len() > 2000);
        looks_random(&of);
    }
}

#[test]
fn a_life_with_everything_in_it_has_one_size_and_no_repeated_head() {
    for size in [1340, 1350, 1452] {
        let (mut net, _) = Net::pair(|config| {
            config.rekey_after = Duration::from_secs(2);
            config.packet_size = wire::packet::PacketSize::new(size).expect("in range");
        });
        net.recording = Some(Vec::new());
        net.run(Duration::from_secs(6));
        net.nodes[0].address = crate::net::address(9, 9);
        net.run(Duration::from_secs(3));
        net.set_filter(|_| Fate::Lose);
        net.run(Duration::from_secs(3));
        net.clear_filter();
        net.restart(1, 40);
        net.run(Duration::from_secs(4));
        net.restart(0, 41);
        net.dial(0, 1);
        net.run(Duration::from_secs(4));
        assert!(net.is_up(0) && net.is_up(1), "P = {size}");
        let packets = net.recording.take().unwrap_or_default();
        assert!(packets.iter().all(|packet| packet.bytes.len() == size as usize));
        let mut heads: Vec<_> = packets.iter().map(|packet| packet.bytes[..8].to_vec()).collect();
        heads.sort();
        heads.dedup();
        assert_eq!(heads.len(), packets.len(), "no two packets begin alike");
    }
}
