//! Bytes come out as they went in, in both directions, to the last one.

use super::harness::{Pair, Setup, connect, echo_server, patient, pattern, ping, server, socks_name, socks_request};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::mpsc;

#[test]
fn every_way_in_reaches_the_server() {
    let echo = echo_server();
    let path = std::env::temp_dir().join(format!("hushwire-pair-{}.sock", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let pair = Pair::start(Setup { forward: Some(echo), unix: Some(path.clone()), ..Setup::default() });
    ping(&mut connect(pair.forward.expect("a forward")), b"forward");
    ping(&mut pair.socks(echo), b"socks with an address");
    let mut by_name = pair.connect();
    assert_eq!(socks_request(&mut by_name, 1, &socks_name("localhost", echo.port())), 0);
    ping(&mut by_name, b"socks with a name");
    let mut http = pair.connect();
    write!(http, "CONNECT {echo} HTTP/1.1\r\nHost: {echo}\r\n\r\nearly").expect("a request");
    let mut answer = [0; 39];
    http.read_exact(&mut answer).expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 200 Connection established\r\n\r\n");
    let mut early = [0; 5];
    http.read_exact(&mut early).expect("the bytes behind the request");
    assert_eq!(&early, b"early");
    ping(&mut http, b"http");
    let mut unix = UnixStream::connect(&path).expect("a unix socket");
    unix.set_read_timeout(Some(super::harness::PATIENCE)).expect("a socket");
    let mut address = vec![1, 127, 0, 0, 1];
    address.extend(echo.port().to_be_bytes());
    assert_eq!(socks_request(&mut unix, 1, &address), 0);
    ping(&mut unix, b"unix");
    std::fs::remove_file(&path).expect("the socket's file");
}

#[test]
fn ten_megabytes_both_ways_are_the_same_bytes() {
    const LENGTH: usize = 10 << 20;
    let from_server = pattern(2, LENGTH);
    let sent = from_server.clone();
    let (received, receive) = mpsc::channel();
    let server = server(move |mut stream| {
        let (mut writer, sent) = (stream.try_clone().expect("a descriptor"), sent.clone());
        let writing = std::thread::spawn(move || {
            writer.write_all(&sent).expect("room in the end");
            writer.shutdown(Shutdown::Write).expect("a connection");
        });
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).expect("bytes to the end");
        received.send(bytes).expect("the test waits");
        writing.join().expect("the writer finishes");
    });
    let pair = Pair::start(Setup::default());
    let mut stream = pair.socks(server);
    let from_application = pattern(1, LENGTH);
    let (mut writer, sent) = (stream.try_clone().expect("a descriptor"), from_application.clone());
    let writing = std::thread::spawn(move || {
        writer.write_all(&sent).expect("room in the end");
        writer.shutdown(Shutdown::Write).expect("a connection");
    });
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("bytes to the end");
    writing.join().expect("the writer finishes");
    assert!(bytes == from_server, "the application received other bytes");
    assert!(receive.recv().expect("the server finishes") == from_application, "the server received other bytes");
}

#[test]
fn half_closes_pass_in_both_directions() {
    let after_end = server(|mut stream| {
        let mut question = Vec::new();
        stream.read_to_end(&mut question).expect("a question to its end");
        stream.write_all(&question).expect("an answer");
    });
    let before_end = server(|mut stream| {
        stream.write_all(b"farewell").expect("the only words");
        stream.shutdown(Shutdown::Write).expect("a connection");
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).expect("what comes after");
        assert_eq!(rest, b"still here");
    });
    let pair = Pair::start(Setup::default());
    let mut stream = pair.socks(after_end);
    stream.write_all(b"question").expect("a question");
    stream.shutdown(Shutdown::Write).expect("a connection");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer to its end");
    assert_eq!(answer, b"question");
    let mut stream = pair.socks(before_end);
    let mut words = Vec::new();
    stream.read_to_end(&mut words).expect("words to their end");
    assert_eq!(words, b"farewell");
    stream.write_all(b"still here").expect("the other half is open");
    drop(stream);
    pair.entry.wait_status("two finished flows", |body| body["ended"]["finished"] == 2 && body["flows_open"] == 0);
}

#[test]
fn a_reset_passes_in_both_directions() {
    let (gone, went) = mpsc::channel();
    let resets = server(|mut stream| {
        let mut byte = [0; 1];
        stream.read_exact(&mut byte).expect("a byte");
        reset(stream);
    });
    let watches = server(move |mut stream| {
        stream.write_all(b"x").expect("a byte");
        let ended = stream.read(&mut [0; 1]).map_err(|error| error.kind());
        gone.send(ended).expect("the test waits");
    });
    let pair = Pair::start(Setup::default());
    let mut stream = pair.socks(resets);
    stream.write_all(b"x").expect("a byte");
    let ended = stream.read(&mut [0; 1]).map_err(|error| error.kind());
    assert_eq!(ended, Err(std::io::ErrorKind::ConnectionReset));
    let mut stream = pair.socks(watches);
    stream.read_exact(&mut [0; 1]).expect("a byte");
    reset(stream);
    assert_eq!(went.recv().expect("the server watches"), Err(std::io::ErrorKind::ConnectionReset));
}

fn reset(stream: TcpStream) {
    rustix::net::sockopt::set_socket_linger(&stream, Some(std::time::Duration::ZERO)).expect("a socket");
}

#[test]
fn a_slow_reader_holds_back_only_itself() {
    let flood = server(|mut stream| {
        let bytes = pattern(3, 1 << 20);
        // Until the reader goes away.
        while stream.write_all(&bytes).is_ok() {}
    });
    let echo = echo_server();
    let pair = Pair::start(Setup::default());
    let slow: Vec<_> = (0..16).map(|_| pair.socks(flood)).collect();
    // Every ring and socket buffer of the slow ones fills up while the others go on.
    let mut quick = pair.socks(echo);
    for round in 0..200u32 {
        ping(&mut quick, &round.to_be_bytes());
    }
    let mut bulk = pair.socks(echo);
    let bytes = pattern(4, 2 << 20);
    let (mut writer, sent) = (bulk.try_clone().expect("a descriptor"), bytes.clone());
    let writing = std::thread::spawn(move || writer.write_all(&sent).expect("room in the end"));
    let mut back = vec![0; bytes.len()];
    bulk.read_exact(&mut back).expect("all bytes");
    writing.join().expect("the writer finishes");
    assert!(back == bytes, "other bytes came back");
    // And a slow one gets what it was promised once it reads.
    let expected = pattern(3, 1 << 20);
    let mut first = vec![0; expected.len()];
    let mut reader = patient(slow.into_iter().next().expect("sixteen of them"));
    reader.read_exact(&mut first).expect("its bytes");
    assert!(first == expected, "a slow reader received other bytes");
}

#[test]
fn two_hundred_flows_at_once() {
    let echo = echo_server();
    let pair = Pair::start(Setup { max_flows: 256, ..Setup::default() });
    let mut flows: Vec<_> = (0..200).map(|_| pair.socks(echo)).collect();
    for (number, stream) in flows.iter_mut().enumerate() {
        stream.write_all(&pattern(number as u64, 10_000)).expect("room for a little");
        stream.shutdown(Shutdown::Write).expect("a connection");
    }
    for (number, stream) in flows.iter_mut().enumerate() {
        let mut back = Vec::new();
        stream.read_to_end(&mut back).expect("bytes to the end");
        assert!(back == pattern(number as u64, 10_000), "flow {number} received other bytes");
    }
    drop(flows);
    pair.entry.wait_status("all flows closed", |body| body["flows_open"] == 0 && body["ended"]["finished"] == 200);
    pair.exit.wait_status("all flows closed", |body| body["flows_open"] == 0 && body["ended"]["finished"] == 200);
}
