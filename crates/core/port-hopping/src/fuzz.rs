//! The fuzz bodies: run by libFuzzer and, over the committed corpora, by `cargo test`.

use crate::Pair;
use crate::hosts::{Endpoints, HostSet, HostsError};
use crate::interval::Interval;
use crate::keyed::{Datagram, FlowId, Knock, KnockKeys, Purpose, Server};
use crate::piece::Piece;
use crate::ports::{PortSet, PortSetError};
use identity::HopKey;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use std::time::{Duration, Instant};

/// Feeds a keyed server with datagrams cut from `input`, among them good knocks that are replayed and bent.
///
/// Each piece is `control 1 | length 1 | bytes`. Bit 0 of the control byte: the bytes are laid over a good knock, two
/// bytes a change (place, mask), none for an unharmed one; else they are the datagram. Bits 1 and 2 choose the sender,
/// bit 3 sends it twice, bit 7 makes the knock one that asks for counts, the rest is time.
///
/// # Panics
/// When a stranger is answered or forwarded, a replay is taken, or an answer is longer than its knock: that is the finding.
pub fn hop_datagram(input: &[u8], start: Instant) {
    let key = HopKey::from_bytes([5; 32]);
    let (mut server, mut keys) = (Server::new(&key, Duration::from_secs(60), [6; 32]), KnockKeys::new(&key));
    let (mut rng, mut rest) = (ChaCha20Rng::seed_from_u64(7), input);
    let (mut now, mut unix) = (start, Duration::from_secs(1_800_000_000));
    let mut number = 0;
    while let [control, length, tail @ ..] = rest {
        let (piece, behind) = tail.split_at(usize::from(*length).min(tail.len()));
        rest = behind;
        let pair = Pair {
            local: ([192, 0, 2, 1], 5).into(),
            remote: ([198, 51, 100, 1], 1 + u16::from(control >> 1 & 3)).into(),
        };
        number += 1;
        let purpose = if control & 128 == 0 { Purpose::Try } else { Purpose::Count(number) };
        let knock = Knock { flow: FlowId([control >> 1 & 3; 8]), purpose };
        let mut datagram = piece.to_vec();
        let mut good = false;
        if control & 1 == 1 {
            datagram = keys.seal_knock(unix, knock, &mut rng).datagram;
            let untouched = datagram.clone();
            for change in piece.chunks_exact(2) {
                let place = usize::from(change[0]) % datagram.len();
                datagram[place] ^= change[1];
            }
            good = datagram == untouched;
        }
        let known = server.admission().flow_of(now, &pair);
        let told = server.handle_datagram(now, unix, pair, &datagram);
        let asks = good && matches!(purpose, Purpose::Count(_));
        // Who has not knocked is told no counts, and then the knock is as if it had never come.
        check(&told, known, good && !(asks && known.is_none()), datagram.len());
        if control & 8 != 0 && good {
            let again = server.handle_datagram(now, unix, pair, &datagram);
            assert!(!matches!(again, Datagram::Answer { .. }), "a replay was taken");
        }
        let passed = Duration::from_secs(u64::from(control >> 4 & 7) * 6);
        (now, unix) = (now + passed, unix + passed);
        while server.admission_mut().poll_ended_flow(now).is_some() {}
        assert!(server.admission().len() <= 4, "one pair a sender");
    }
}

fn check(told: &Datagram, known: Option<FlowId>, good: bool, length: usize) {
    match told {
        Datagram::Answer { answer, .. } => {
            assert!(good, "something else than a knock was answered");
            assert!(answer.len() <= length, "an answer is longer than its knock");
        }
        Datagram::Forward(flow) => assert!(known == Some(*flow) && !good, "a stranger's packet was forwarded"),
        Datagram::Silent => assert!(known.is_none() && !good, "a packet of a known pair was dropped"),
    }
}

/// Any text as ports, hosts, hosts with ports, and interval: read or refused; what is read is written and read again; what is
/// refused names a piece that is there.
///
/// # Panics
/// When a parser panics or a round trip fails: that is the finding.
pub fn hop_text(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    match text.parse::<PortSet>() {
        Ok(ports) => {
            assert_eq!(ports.to_string().parse().as_ref(), Ok(&ports));
            assert_eq!(ports.nth(ports.len() - 1), Some(ports.highest()));
        }
        Err(error) => check_port_error(text, &error),
    }
    if let Ok(interval) = text.parse::<Interval>() {
        assert_eq!(interval.to_string().parse(), Ok(interval));
    }
    match text.parse::<HostSet>() {
        Ok(hosts) => assert_eq!(hosts.to_string().parse().as_ref(), Ok(&hosts)),
        Err(error) => check_host_error(text, &error),
    }
    match text.parse::<Endpoints>() {
        Ok(endpoints) => assert_eq!(endpoints.to_string().parse().as_ref(), Ok(&endpoints)),
        Err(error) => check_host_error(text, &error),
    }
}

fn check_port_error(text: &str, error: &PortSetError) {
    use PortSetError as Error;
    match error {
        Error::EmptyPiece(piece) | Error::NotAPort(piece) | Error::PortZero(piece) => check_piece(text, piece),
        Error::UpsideDown { piece, .. } => check_piece(text, piece),
        Error::Empty | Error::TooManyPieces => {}
    }
}

fn check_host_error(text: &str, error: &HostsError) {
    match error {
        HostsError::EmptyPiece(piece) | HostsError::NotAHost(piece) | HostsError::Prefix { piece, .. } => {
            check_piece(text, piece);
        }
        HostsError::Ports(error) => check_port_error(text, error),
        HostsError::Empty | HostsError::TooMany | HostsError::NoPorts | HostsError::NoBrackets => {}
    }
}

fn check_piece(text: &str, piece: &Piece) {
    assert!(text.get(piece.span.clone()).is_some(), "{piece} is in the text");
}
