//! Applications that say garbage to the proxy port, too much, or nothing.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::Context;
use lab::pair::{Mode, PairConfig, Role};

use super::rig::{GoodPair, Noise, Outcome, PATIENCE, take_turn, wait_until};

/// Bytes that a refusal may be answered with.
const ANSWER_MAX: usize = 1024;
/// Seconds that a connection has for its request here.
const REQUEST_WITHIN_S: u64 = 2;

/// What a client says, how the answer begins, and how the refusal is counted.
struct Case {
    name: &'static str,
    says: Vec<u8>,
    answer: &'static [u8],
    reason: &'static str,
}

fn case(name: &'static str, says: impl Into<Vec<u8>>, answer: &'static [u8], reason: &'static str) -> Case {
    Case { name, says: says.into(), answer, reason }
}

/// A SOCKS5 greeting without login, and a request for a name of this many bytes.
fn socks_name(length: u8) -> Vec<u8> {
    let name = vec![b'a'; length.into()];
    [&[5, 1, 0, 5, 1, 0, 3, length][..], &name, &[0, 80]].concat()
}

fn connect_to(name_bytes: usize) -> Vec<u8> {
    let name = "a".repeat(name_bytes);
    format!("CONNECT {name}:80 HTTP/1.1\r\nHost: {name}:80\r\n\r\n").into_bytes()
}

fn cases() -> Vec<Case> {
    let hello = [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &Noise::new(5).packet(500)].concat();
    let bad = b"HTTP/1.1 4";
    vec![
        case("noise", [&[0xff][..], &Noise::new(6).packet(3000)].concat(), b"", "client: unknown protocol"),
        case("a TLS hello", hello, b"", "client: unknown protocol"),
        case("SOCKS4", [4, 1, 0, 80, 127, 0, 0, 1, 0], b"", "client: wrong version"),
        case("SOCKS5 without methods", [5, 0], &[5, 0xff], "client: no login"),
        case("SOCKS5 with an unknown method", [5, 1, 0x55], &[5, 0xff], "client: no login"),
        case(
            "SOCKS5, then version 4",
            [5, 1, 0, 4, 1, 0, 1, 127, 0, 0, 1, 0, 80],
            &[5, 0, 5],
            "client: malformed request",
        ),
        case("SOCKS5 BIND", [5, 1, 0, 5, 2, 0, 1, 127, 0, 0, 1, 0, 80], &[5, 0, 5, 7], "client: command not served"),
        case(
            "SOCKS5 to an unknown kind of address",
            [5, 1, 0, 5, 1, 0, 9, 1, 1],
            &[5, 0, 5, 8],
            "client: not a destination",
        ),
        case("SOCKS5 to port 0", [5, 1, 0, 5, 1, 0, 1, 127, 0, 0, 1, 0, 0], &[5, 0, 5], "client: not a destination"),
        case("SOCKS5 to no name", socks_name(0), &[5, 0, 5], "client: not a destination"),
        case(
            "HTTP without CONNECT",
            "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            b"HTTP/1.1 405",
            "client: command not served",
        ),
        case("HTTP that is none", "CONNECT\r\n\r\n", bad, "client: malformed request"),
        case(
            "HTTP with noise in its head",
            b"CONNECT \x00\xff\xfe:1 HTTP/1.1\r\n\r\n".to_vec(),
            bad,
            "client: not a destination",
        ),
        case("HTTP to a name of 256 bytes", connect_to(256), bad, "client: not a destination"),
        case("HTTP to a name of 70,000 bytes", connect_to(70_000), bad, "client: request too long"),
    ]
}

#[test]
fn garbage_is_refused_counted_and_answered_in_its_own_protocol() -> Outcome {
    let _turn = take_turn();
    let config = PairConfig::new(Mode::constant("2 Mbit/s"));
    let good = GoodPair::with_request_timeout(config, 2 * PATIENCE.as_secs())?;
    let mut expected = BTreeMap::new();
    for Case { name, says, answer, reason } in cases() {
        let begin = Instant::now();
        let answered = say_and_listen(&good, &says)?;
        assert!(answered.starts_with(answer) && answered.len() <= ANSWER_MAX, "{name}: {answered:?}");
        // The end comes at once, not with the time-out.
        assert!(begin.elapsed() < PATIENCE, "{name}: {:?}", begin.elapsed());
        good.fetch().context(name)?;
        *expected.entry(reason.to_owned()).or_insert(0) += 1;
    }
    let refused = || -> anyhow::Result<BTreeMap<String, u64>> {
        let mut drops = good.pair.status(Role::Entry)?.counters.drops;
        drops.retain(|name, _| name.starts_with("client: "));
        Ok(drops)
    };
    wait_until("each refusal is counted", || Ok(refused()? == expected)).with_context(|| {
        format!("{:?} instead of {expected:?}; the log:\n{}", refused(), good.log(Role::Entry).unwrap_or_default())
    })?;
    // The longest name that SOCKS5 can say is a question for the exit, which finds no such host.
    let answered = say_and_listen(&good, &socks_name(255))?;
    assert!(answered.starts_with(&[5, 0, 5, 4]), "{answered:?}");
    good.wait_for_log(Role::Entry, "refused or dropped since the last such line: client: ")?;
    good.fetch()
}

fn say_and_listen(good: &GoodPair, says: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(good.pair.proxy())?;
    stream.set_read_timeout(Some(PATIENCE))?;
    // A proxy that has heard enough may close while the rest is on its way.
    let _ = stream.write_all(says);
    let mut answer = Vec::new();
    let mut piece = [0; 512];
    loop {
        match stream.read(&mut piece) {
            Ok(0) => return Ok(answer),
            Ok(length) => answer.extend_from_slice(&piece[..length]),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return Ok(answer),
            Err(error) => return Err(error.into()),
        }
    }
}

#[test]
fn silent_and_slow_clients_are_ended_in_time() -> Outcome {
    let _turn = take_turn();
    let config = PairConfig::new(Mode::constant("2 Mbit/s"));
    let good = GoodPair::with_request_timeout(config, REQUEST_WITHIN_S)?;
    let before = good.count(Role::Entry, "client: request timed out")?;
    let begin = Instant::now();
    let connect = || TcpStream::connect(good.pair.proxy());
    let mut silent = [connect()?, connect()?, connect()?];
    silent[1].write_all(&[5])?;
    silent[2].write_all(b"CONNECT exam")?;
    // One byte at a time of a request without end.
    let mut slow = connect()?;
    let mut bytes = 0;
    while slow.write_all(b"C").is_ok() {
        bytes += 1;
        std::thread::sleep(Duration::from_millis(100));
        assert!(begin.elapsed() < PATIENCE, "a slow client is served for ever");
        if bytes % 10 == 0 {
            good.fetch()?;
        }
    }
    for stream in &mut silent {
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut answer = Vec::new();
        // A reset ends it as well as an end of file.
        let _ = stream.read_to_end(&mut answer);
        assert_eq!(answer, b"", "a time-out has no answer");
    }
    let least = Duration::from_secs(REQUEST_WITHIN_S);
    assert!(begin.elapsed() >= least, "ended too early: {:?}", begin.elapsed());
    good.wait_for(Role::Entry, "client: request timed out", before + 4)?;
    good.fetch()
}
