//! A tunnel manager over real relays and exits in threads, on loopback sockets.

mod directory;
mod onion;
mod rig;

use rig::{Net, REFUSED_PORT, SOON};
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tunnel_manager::{
    ClientTunnel, Closed, ConnectError, DocumentError, DocumentRefused, FlowControl, Isolation, IsolationToken, NodeId,
    Purpose, READY_MAX, ResetReason, StreamError, TunnelError, TunnelMgr, TunnelMgrConfig, TunnelParameters,
    TunnelStream,
};

const MEGABYTE: usize = 1_000_000;
const PORTION: usize = 50_000;
const SECOND: Duration = Duration::from_secs(1);

fn server() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 80], 7))
}

fn byte_at(place: usize) -> u8 {
    (place % 251) as u8 ^ (place >> 12) as u8
}

fn parameters(isolation: Isolation) -> TunnelParameters {
    TunnelParameters { isolation, deadline: SOON, ..TunnelParameters::default() }
}

/// Runs a test in a runtime of its own, for five minutes at most.
fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime
        .block_on(async { tokio::time::timeout(300 * SECOND, test).await.expect("it takes longer than five minutes") })
}

/// A manager with so many tunnels ready.
fn start(net: &Net, ready: u8) -> TunnelMgr {
    let config = TunnelMgrConfig { ready, ..TunnelMgrConfig::new(net.document.clone()).expect("good rules") };
    TunnelMgr::start(config).expect("a manager")
}

/// Sends so many bytes to the echo and reads them back, then ends in good order.
async fn echo(stream: TunnelStream, bytes: usize) -> std::io::Result<()> {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let write = async {
        let mut place = 0;
        while place < bytes {
            let until = bytes.min(place + PORTION);
            let portion: Vec<u8> = (place..until).map(byte_at).collect();
            writer.write_all(&portion).await?;
            place = until;
        }
        writer.shutdown().await
    };
    let read = async {
        let (mut place, mut portion) = (0, vec![0; PORTION]);
        loop {
            let count = reader.read(&mut portion).await?;
            if count == 0 {
                return std::io::Result::Ok(place);
            }
            for byte in &portion[..count] {
                assert_eq!(*byte, byte_at(place), "wrong at {place}");
                place += 1;
            }
        }
    };
    let (written, read) = tokio::join!(write, read);
    written?;
    assert_eq!(read?, bytes, "it ended too soon");
    Ok(())
}

async fn exit_of(tunnel: &ClientTunnel) -> NodeId {
    let paths = tunnel.paths().await.expect("it is up");
    *paths.values().next().and_then(|path| path.last()).expect("a path")
}

/// Waits until a condition of the manager holds.
async fn until(manager: &TunnelMgr, what: &str, holds: impl Fn(&tunnel_manager::Summary) -> bool) {
    let end = Instant::now() + SOON;
    while !holds(&manager.summary().await.expect("it runs")) {
        assert!(Instant::now() < end, "{what}: {:?}", manager.summary().await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[test]
fn twenty_megabytes_go_both_ways_over_two_legs() {
    let net = Net::start(5, 1);
    run(async {
        let manager = start(&net, 1);
        let tunnel = manager.get(parameters(Isolation::Shared)).await.expect("a tunnel");
        let stream = tunnel.connect(server()).await.expect("the echo");
        echo(stream, 20 * MEGABYTE).await.expect("all of it");
        let paths = tunnel.paths().await.expect("it is up");
        assert_eq!(paths.len(), 2);
        let relays: std::collections::BTreeSet<NodeId> = paths.values().flat_map(|path| &path[..2]).copied().collect();
        assert!(paths.values().all(|path| path.len() == 3) && relays.len() == 4, "{paths:?}");
        let figures = tunnel.figures().await.expect("it is up");
        assert_eq!(figures.legs.keys().collect::<Vec<_>>(), paths.keys().collect::<Vec<_>>());
        assert!(figures.legs.values().all(|leg| leg.is_linked && leg.data_cells > 1_000), "{figures:?}");
        assert!(figures.rtt.is_some() && figures.switches > 10, "{figures:?}");
        // What may end in a log names no relay.
        let shown = format!("{tunnel:?} {tunnel} {manager:?}");
        assert!(relays.iter().all(|relay| !shown.contains(&relay.to_string()[..12])), "{shown}");
    });
}

#[test]
fn streams_of_different_isolation_never_share_a_tunnel() {
    let net = Net::start(5, 2);
    run(async {
        let manager = start(&net, 2);
        let (red, blue) = (Isolation::By(IsolationToken::new()), Isolation::By(IsolationToken::new()));
        let one = manager.get(parameters(red)).await.expect("a tunnel");
        let other = manager.get(parameters(blue)).await.expect("a tunnel");
        assert_ne!(one, other);
        assert_eq!(manager.get(parameters(red)).await.expect("its own"), one);
        let shared = manager.get(parameters(Isolation::Shared)).await.expect("a tunnel");
        let own = TunnelParameters { purpose: Purpose::Own, ..parameters(Isolation::Shared) };
        let own = manager.get(own).await.expect("a tunnel");
        let alone = manager.get(parameters(Isolation::Alone)).await.expect("a tunnel");
        let all = [&one, &other, &shared, &own, &alone];
        for (place, tunnel) in all.iter().enumerate() {
            assert!(!all[..place].contains(tunnel), "{tunnel} twice");
        }
        let transfers =
            all.map(|tunnel| async move { echo(tunnel.connect(server()).await.expect("the echo"), MEGABYTE).await });
        for transfer in transfers {
            transfer.await.expect("all of it");
        }
        for tunnel in all {
            let cells: u64 = tunnel.figures().await.expect("up").legs.values().map(|leg| leg.data_cells).sum();
            assert!((800..4_000).contains(&cells), "{tunnel} carried what is its own: {cells}");
        }
        // Nobody can come back for this one.
        until(&manager, "five are in use", |summary| summary.in_use == 5).await;
        drop(alone);
        until(&manager, "it is retired", |summary| summary.in_use == 4).await;
    });
}

#[test]
fn a_tunnel_that_is_retired_finishes_its_streams_and_takes_no_new_ones() {
    let net = Net::start(5, 1);
    run(async {
        let manager = start(&net, 1);
        let tunnel = manager.get(parameters(Isolation::Shared)).await.expect("a tunnel");
        let stream = tunnel.connect(server()).await.expect("the echo");
        let transfer = tokio::spawn(echo(stream, 10 * MEGABYTE));
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(!transfer.is_finished(), "it is too fast for this test");
        manager.retire_tunnel(&tunnel).await;
        assert_eq!(tunnel.connect(server()).await.err(), Some(ConnectError::Tunnel(Closed::Retired)));
        let next = manager.get(parameters(Isolation::Shared)).await.expect("another");
        assert_ne!(next, tunnel);
        transfer.await.expect("no panic").expect("all of it");
        assert!(matches!(tunnel.closed(), None | Some(Closed::Retired)), "its last words may be on their way");
        assert_eq!(tunnel.wait_for_close().await, Closed::Retired);
        assert_eq!(tunnel.paths().await.err(), Some(Closed::Retired));
        echo(next.connect(server()).await.expect("the echo"), MEGABYTE).await.expect("all of it");
    });
}

#[test]
fn a_transfer_survives_that_the_guard_of_a_leg_is_killed() {
    let net = Net::start(6, 1);
    run(async {
        let manager = start(&net, 1);
        let tunnel = manager.get(parameters(Isolation::Shared)).await.expect("a tunnel");
        let stream = tunnel.connect(server()).await.expect("the echo");
        let transfer = tokio::spawn(echo(stream, 20 * MEGABYTE));
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(!transfer.is_finished(), "it is too fast for this test");
        let guard = tunnel.paths().await.expect("it is up").into_values().next().expect("a leg")[0];
        net.kill(guard);
        transfer.await.expect("no panic").expect("all of it");
        assert_eq!(tunnel.closed(), None);
        let end = Instant::now() + SOON;
        loop {
            let paths = tunnel.paths().await.expect("it is up");
            let linked = tunnel.figures().await.expect("it is up").legs.values().filter(|leg| leg.is_linked).count();
            if linked == 2 && paths.values().all(|path| path[0] != guard) {
                break;
            }
            assert!(Instant::now() < end, "the leg is not replaced: {paths:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
}

#[test]
fn the_end_of_an_exit_ends_its_tunnels_and_others_are_made() {
    let net = Net::start(5, 1);
    run(async {
        let manager = start(&net, 1);
        let tunnel = manager.get(parameters(Isolation::Shared)).await.expect("a tunnel");
        let mut stream = tunnel.connect(server()).await.expect("the echo");
        let exit = exit_of(&tunnel).await;
        let restart = move || {
            let mut net = net;
            net.restart_exit(exit);
            net
        };
        let _net = tokio::task::spawn_blocking(restart).await.expect("no panic");
        assert_eq!(tunnel.wait_for_close().await, Closed::Lost);
        let error = stream.read(&mut [0; 16]).await.expect_err("it is lost");
        let reason = error.get_ref().and_then(|inner| inner.downcast_ref::<StreamError>());
        assert_eq!(reason, Some(&StreamError::Reset(ResetReason::TunnelLost)), "{error}");
        assert_eq!(tunnel.connect(server()).await.err(), Some(ConnectError::Tunnel(Closed::Lost)));
        let next = manager.get(parameters(Isolation::Shared)).await.expect("another");
        echo(next.connect(server()).await.expect("the echo"), MEGABYTE).await.expect("all of it");
    });
}

#[test]
fn an_empty_pool_is_waited_for_until_the_deadline() {
    let net = Net::start(5, 1);
    run(async {
        let manager = start(&net, 1);
        assert_eq!(manager.try_get(parameters(Isolation::Shared)).await, Ok(None), "nothing is up yet");
        until(&manager, "one is ready", |summary| summary.ready == 1).await;
        let first = manager.try_get(parameters(Isolation::Alone)).await.expect("no refusal").expect("it was ready");
        let deadline = Duration::from_millis(1);
        let hasty = TunnelParameters { deadline, ..parameters(Isolation::Alone) };
        assert_eq!(manager.get(hasty).await, Err(TunnelError::Deadline(deadline)));
        assert_eq!(manager.try_get(parameters(Isolation::Alone)).await, Ok(None));
        let second = manager.get(parameters(Isolation::Alone)).await.expect("the next one");
        assert_ne!(first, second);
    });
}

#[test]
fn what_is_not_kept_is_launched_or_refused_with_its_reason() {
    let net = Net::start(5, 1);
    run(async {
        let manager = start(&net, 1);
        let short = manager.builder().hops(2).legs(1).isolation(Isolation::Alone).deadline(SOON);
        let asked = short.parameters().expect("good rules");
        assert_eq!(manager.get(asked).await, Err(TunnelError::NotKept));
        let tunnel = short.build().await.expect("it is built");
        let paths = tunnel.paths().await.expect("it is up");
        assert_eq!(paths.values().map(Vec::len).collect::<Vec<_>>(), [2]);
        echo(tunnel.connect(server()).await.expect("the echo"), MEGABYTE).await.expect("all of it");
        let many = manager.builder().legs(3).parameters().expect("good rules");
        assert_eq!(manager.launch(many).await, Err(TunnelError::Legs { asked: 3, kept: 2 }));
        assert!(manager.builder().hops(1).legs(2).parameters().is_err());

        // One that is launched for a group takes the place of what it had.
        let shared = manager.get(parameters(Isolation::Shared)).await.expect("a tunnel");
        let fresh = manager.launch(parameters(Isolation::Shared)).await.expect("a tunnel");
        assert_ne!(shared, fresh);
        assert_eq!(manager.get(parameters(Isolation::Shared)).await.expect("a tunnel"), fresh);
    });
}

#[test]
fn a_network_that_is_too_small_is_refused_at_once() {
    let net = Net::start(2, 1);
    run(async {
        let manager = start(&net, 1);
        let begun = Instant::now();
        for refused in
            [manager.get(parameters(Isolation::Shared)).await, manager.launch(parameters(Isolation::Shared)).await]
        {
            let Err(TunnelError::NoPath(refusal)) = refused else { panic!("{refused:?}") };
            assert!(refusal.to_string().contains("middles are needed"), "{refusal}");
        }
        assert!(begun.elapsed() < SOON, "nobody waits for a deadline");
        assert!(manager.summary().await.expect("it runs").refusal.is_some());
        // The explicit option that relaxes it.
        let relaxed = manager.builder().relaxed(tunnel_manager::Relaxation::SharedMiddles).deadline(SOON);
        let tunnel = relaxed.build().await.expect("with shared middles there is one");
        echo(tunnel.connect(server()).await.expect("the echo"), MEGABYTE).await.expect("all of it");
    });
}

#[test]
fn a_control_ends_a_stream_from_elsewhere() {
    let net = Net::start(5, 1);
    run(async {
        let manager = start(&net, 1);
        let tunnel = manager.get(parameters(Isolation::Shared)).await.expect("a tunnel");
        let mut stream = tunnel.connect(server()).await.expect("the echo");
        let control: FlowControl = stream.control();
        stream.write_all(b"hello").await.expect("room");
        let mut answer = [0; 5];
        stream.read_exact(&mut answer).await.expect("the echo");
        assert_eq!((&answer, control.bytes_in_flight(), control.is_over()), (b"hello", 0, false));
        control.half_close();
        assert_eq!(stream.read(&mut answer).await.expect("an end"), 0);
        assert!(control.is_over());
        assert!(stream.write_all(b"more").await.is_err());

        let mut stream = tunnel.connect(server()).await.expect("the echo");
        let control = stream.control();
        let reader = async {
            let error = stream.read(&mut answer).await.expect_err("it is reset");
            error.get_ref().and_then(|inner| inner.downcast_ref::<StreamError>()).copied()
        };
        let reset = async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            control.reset();
        };
        assert_eq!(tokio::join!(reader, reset).0, Some(StreamError::ResetHere));
        let refused = SocketAddr::from(([192, 0, 2, 80], REFUSED_PORT));
        assert_eq!(tunnel.connect(refused).await.err(), Some(ConnectError::Refused(ResetReason::Refused)));
        drop(stream);
        until(&manager, "all queue pairs are free", |summary| summary.streams == 0).await;
    });
}

/// A stream whose reader does nothing holds back itself and nobody else, in bounded memory.
#[test]
fn a_stream_that_is_not_read_holds_back_only_itself() {
    let net = Net::start(5, 1);
    run(async {
        let manager = start(&net, 1);
        let tunnel = manager.get(parameters(Isolation::Shared)).await.expect("a tunnel");
        let mut stuck = tunnel.connect(server()).await.expect("the echo");
        let control = stuck.control();
        let endless = tokio::time::timeout(2 * SECOND, async {
            loop {
                stuck.write_all(&[7; PORTION]).await.expect("it is not reset");
            }
        });
        let other = async { echo(tunnel.connect(server()).await.expect("the echo"), 5 * MEGABYTE).await };
        let (endless, other) = tokio::join!(endless, other);
        assert!(endless.is_err(), "it waits for room");
        other.expect("all of it");
        assert!(control.bytes_in_flight() <= 256 * 1024);
    });
}

#[test]
fn guards_are_kept_and_a_manager_that_stops_says_so() {
    let net = Net::start(8, 1);
    run(async {
        let kept = Arc::new(Mutex::new(None::<String>));
        let mut seen = Vec::new();
        for _ in 0..3 {
            let keep = Arc::clone(&kept);
            let config = TunnelMgrConfig {
                guards: kept.lock().expect("no panic").clone(),
                keep_guards: Some(Box::new(move |text: &str| {
                    *keep.lock().expect("no panic") = Some(text.to_owned());
                })),
                ..TunnelMgrConfig::new(net.document.clone()).expect("good rules")
            };
            let manager = TunnelMgr::start(config).expect("a manager");
            let tunnel = manager.get(parameters(Isolation::Shared)).await.expect("a tunnel");
            let mut stream = tunnel.connect(server()).await.expect("the echo");
            // The tunnel is up with its first leg.
            let mut paths = tunnel.paths().await.expect("it is up");
            while paths.len() < 2 {
                tokio::time::sleep(Duration::from_millis(10)).await;
                paths = tunnel.paths().await.expect("it is up");
            }
            let mut guards: Vec<NodeId> = paths.values().map(|path| path[0]).collect();
            guards.sort();
            seen.push(guards);
            manager.stop().await;
            assert_eq!(tunnel.wait_for_close().await, Closed::Stopped);
            assert!(stream.read(&mut [0; 16]).await.is_err());
            assert_eq!(manager.get(parameters(Isolation::Shared)).await, Err(TunnelError::Stopped));
        }
        assert!(seen.iter().all(|guards| *guards == seen[0]), "{seen:?}");
        let broken = TunnelMgrConfig {
            guards: Some("nonsense".to_owned()),
            ..TunnelMgrConfig::new(net.document.clone()).expect("good rules")
        };
        assert!(TunnelMgr::start(broken).is_err());
        let many =
            TunnelMgrConfig { ready: READY_MAX + 1, ..TunnelMgrConfig::new(net.document.clone()).expect("good rules") };
        let refused = TunnelMgr::start(many).expect_err("too many").to_string();
        assert_eq!(refused, "the number of ready tunnels must be 0 to 8");
    });
}

/// Streams notice nothing of a later document, and one that is not later is refused.
#[test]
fn a_later_document_is_gone_by_under_a_stream() {
    run(async {
        let net = Net::start(5, 1);
        let manager = start(&net, 1);
        let tunnel = manager.get(parameters(Isolation::Shared)).await.expect("a tunnel");
        let stream = tunnel.connect(server()).await.expect("a stream");
        let renewed = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let later = net.renew();
            manager.set_document(later.clone()).await.expect("a later one");
            let refused = DocumentError::Refused(DocumentRefused::NotLater);
            assert_eq!(manager.set_document(later).await, Err(refused));
            assert_eq!(manager.set_document(net.document.clone()).await, Err(refused));
        };
        let (echoed, ()) = tokio::join!(echo(stream, 8 * MEGABYTE), renewed);
        echoed.expect("nothing was lost");
        assert_eq!(tunnel.closed(), None);
        manager.stop().await;
        assert_eq!(manager.set_document(net.document.clone()).await, Err(DocumentError::Stopped));
    });
}
