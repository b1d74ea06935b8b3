//! Directory streams, from a listener of the entry to the service behind the exit.

use super::harness::{PATIENCE, Pair, Setup, connect, echo_server, pattern, ping};
use egress::DIRECTORY_FLOWS_MAX;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

fn path(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("hushwire-directory-{name}-{}.sock", std::process::id()));
    let _ = std::fs::remove_file(&path);
    path
}

/// A service that gives back what it is told, once it was told that a stranger speaks.
fn echo_service(path: &Path) {
    let listener = UnixListener::bind(path).expect("a path in a fresh folder");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            std::thread::spawn(move || {
                let (mut piece, mut first) = ([0; 4096], [0; 5]);
                stream.read_exact(&mut first).expect("the first frame");
                assert_eq!(first, [0, 0, 0, 1, 11]);
                while let Ok(count) = stream.read(&mut piece)
                    && count > 0
                    && stream.write_all(&piece[..count]).is_ok()
                {}
                let _ = stream.shutdown(Shutdown::Write);
            });
        }
    });
}

fn stream(listener: &Path) -> UnixStream {
    let stream = UnixStream::connect(listener).expect("the entry listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    stream
}

/// What becomes of a stream that is refused: it ends without a byte.
fn is_refused(mut stream: UnixStream) -> bool {
    let read = stream.read(&mut [0; 16]);
    matches!(read, Ok(0)) || read.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset)
}

#[test]
fn directory_streams_reach_the_service_past_a_policy_that_refuses_everything() {
    let (listener, service) = (path("listener"), path("service"));
    echo_service(&service);
    let echo = echo_server();
    let pair = Pair::start(Setup {
        policy: Vec::new(),
        forward: Some(echo),
        directory_listener: Some(listener.clone()),
        directory: Some(service.clone()),
        ..Setup::default()
    });
    let (mut one, mut two) = (stream(&listener), stream(&listener));
    ping(&mut one, b"first");
    ping(&mut two, b"second, beside it");
    pair.exit.wait_status("two streams", |status| status["directory_flows"] == 2);
    pair.entry.wait_status("one client", |status| status["clients"] == 1);
    let whole = pattern(3, 3 << 20);
    let (mut writer, sent) = (one.try_clone().expect("a descriptor"), whole.clone());
    let writing = std::thread::spawn(move || {
        writer.write_all(&sent).expect("room in the end");
        writer.shutdown(Shutdown::Write).expect("a connection");
    });
    let mut back = Vec::new();
    one.read_to_end(&mut back).expect("bytes to the end");
    writing.join().expect("the writer finishes");
    assert!(back == whole, "{} bytes", back.len());
    ping(&mut two, b"still there");
    // The same exit lets nobody out.
    assert_eq!(connect(pair.forward.expect("a forward")).read(&mut [0; 1]).unwrap_or_default(), 0);
    drop(two);
    pair.exit.wait_status("no stream", |status| status["directory_flows"] == 0);
    std::fs::remove_file(listener).expect("its file");
    std::fs::remove_file(service).expect("its file");
}

#[test]
fn a_node_without_a_service_refuses_and_so_does_one_whose_service_is_gone() {
    let listener = path("none");
    let pair = Pair::start(Setup { directory_listener: Some(listener.clone()), ..Setup::default() });
    assert!(is_refused(stream(&listener)));
    pair.entry.wait_status("the reason", |status| status["ended"]["not_offered"] == 1);
    pair.exit.wait_status("the reason", |status| status["ended"]["not_offered"] == 1);
    drop(pair);
    std::fs::remove_file(listener).expect("its file");

    let listener = path("gone");
    let gone = Some(path("gone-service"));
    let pair = Pair::start(Setup { directory_listener: Some(listener.clone()), directory: gone, ..Setup::default() });
    assert!(is_refused(stream(&listener)));
    pair.entry.wait_status("the reason", |status| status["ended"]["unreachable"] == 1);
    std::fs::remove_file(listener).expect("its file");
}

#[test]
fn directory_streams_are_bounded() {
    let (listener, service) = (path("many"), path("many-service"));
    echo_service(&service);
    let pair = Pair::start(Setup {
        max_flows: 2 * DIRECTORY_FLOWS_MAX as u16,
        queue_size: 16 << 10,
        limits: ingress::Limits { flows_per_client: Some(2 * DIRECTORY_FLOWS_MAX as u16), ..Default::default() },
        directory_listener: Some(listener.clone()),
        directory: Some(service.clone()),
        ..Setup::default()
    });
    let mut open: Vec<UnixStream> = (0..DIRECTORY_FLOWS_MAX).map(|_| stream(&listener)).collect();
    open.iter_mut().for_each(|stream| ping(stream, b"one of many"));
    assert!(is_refused(stream(&listener)));
    pair.exit.wait_status("the reason", |status| status["ended"]["too_many_flows"] == 1);
    open.pop();
    pair.exit.wait_status("a free place", |status| status["directory_flows"] == DIRECTORY_FLOWS_MAX as u64 - 1);
    ping(&mut stream(&listener), b"there is room again");
    std::fs::remove_file(listener).expect("its file");
    std::fs::remove_file(service).expect("its file");
}
