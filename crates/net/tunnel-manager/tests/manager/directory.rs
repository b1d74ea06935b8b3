//! Directory tunnels over real relays, to a service behind the unix socket of a directory node.

use crate::rig::{Net, SOON};
use crate::{MEGABYTE, SECOND, echo, parameters, run, start, until};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tunnel_manager::{
    BuildError, Closed, ConnectError, DirParameters, Isolation, ResetReason, TunnelError, TunnelMgr, TunnelMgrConfig,
    TunnelParameters,
};
use tunnel_plan::{Cause, PathRules, Target};

pub(crate) fn path(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("hushwire-manager-{name}-{}.sock", std::process::id()));
    let _ = std::fs::remove_file(&path);
    path
}

/// Serves each connection in a task of the runtime. Each begins by saying that it is a stranger's.
pub(crate) fn serve<F>(path: &Path, serve: impl Fn(UnixStream) -> F + Send + 'static)
where
    F: Future<Output = std::io::Result<()>> + Send + 'static,
{
    let listener = UnixListener::bind(path).expect("a path in a fresh folder");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut first = [0; 5];
            if stream.read_exact(&mut first).await.is_ok() {
                assert_eq!(first, [0, 0, 0, 1, 11]);
                tokio::spawn(serve(stream));
            }
        }
    });
}

async fn echo_service(stream: UnixStream) -> std::io::Result<()> {
    let (mut reader, mut writer) = stream.into_split();
    tokio::io::copy(&mut reader, &mut writer).await?;
    writer.shutdown().await
}

/// Says how its directory stands, an hour ahead of this machine, whatever it is asked.
async fn fast_clock(mut stream: UnixStream) -> std::io::Result<()> {
    let mut request = [0; 5];
    stream.read_exact(&mut request).await?;
    assert_eq!(request, [0, 0, 0, 1, 6]);
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("after 1970");
    let ahead = u64::try_from((now + Duration::from_secs(3_600)).as_millis()).expect("this century");
    let mut answer = vec![0, 0, 0, 59, 6];
    answer.extend_from_slice(&ahead.to_be_bytes());
    answer.resize(4 + 59, 0);
    stream.write_all(&answer).await
}

fn directory(hops: u8) -> DirParameters {
    DirParameters { hops, deadline: SOON, ..DirParameters::default() }
}

#[test]
fn directory_streams_go_two_at_a_time_over_a_tunnel_of_their_own() {
    let service = path("service");
    let net = Net::with_directories(5, 1, &[Some(service.clone())]);
    run(async {
        serve(&service, echo_service);
        let manager = start(&net, 1);
        let flows = manager.get(parameters(Isolation::Shared)).await.expect("a tunnel");
        for hops in 1..=3 {
            let tunnel = manager.get_dir(directory(hops)).await.expect("a directory tunnel");
            let paths = tunnel.paths().await.expect("it is up");
            let path = paths.values().next().expect("its leg");
            assert_eq!((paths.len(), path.len(), path.last()), (1, usize::from(hops), Some(&net.directory(0))));
            let (one, two) = (tunnel.begin_dir_stream().await, tunnel.begin_dir_stream().await);
            let (one, two) = (one.expect("a stream"), two.expect("another"));
            let (one, two) = tokio::join!(echo(one, MEGABYTE), echo(two, MEGABYTE));
            one.expect("all of it");
            two.expect("all of it");
            let figures = tunnel.figures().await.expect("it is up");
            let cells: u64 = figures.legs.values().map(|leg| leg.data_cells).sum();
            assert!(cells > 1_600, "both went through it: {figures:?}");
        }
        let figures = flows.figures().await.expect("it is up");
        assert!(
            figures.legs.values().map(|leg| leg.data_cells).sum::<u64>() < 500,
            "and through no other: {figures:?}"
        );
        let (one, other) = (manager.get_dir(directory(2)).await.expect("one"), manager.get_dir(directory(2)).await);
        let other = other.expect("another");
        assert_ne!(one, other, "each request has its own");
        // Who drops it while a stream is open lets that finish; then it ends.
        let stream = one.begin_dir_stream().await.expect("a stream");
        let transfer = tokio::spawn(echo(stream, MEGABYTE));
        drop(one);
        transfer.await.expect("no panic").expect("all of it");
        drop(other);
        until(&manager, "only that of the flows is in use", |summary| summary.in_use == 1).await;
    });
    std::fs::remove_file(service).expect("its file");
}

#[test]
fn a_node_without_a_service_refuses_by_name_and_a_network_without_directory_nodes_at_once() {
    let net = Net::with_directories(4, 1, &[None]);
    run(async {
        let manager = start(&net, 1);
        let tunnel = manager.get_dir(directory(3)).await.expect("a directory tunnel");
        let refused = tunnel.begin_dir_stream().await.err();
        assert_eq!(refused, Some(ConnectError::Refused(ResetReason::NotOffered)));
        assert_eq!(tunnel.first_hop_clock_skew().await, None);
        let rules = PathRules::new(3, 1).expect("a tunnel").to(Target::Directory);
        let launched = manager.launch(TunnelParameters { rules: Some(rules), ..parameters(Isolation::Alone) }).await;
        assert_eq!(launched, Err(TunnelError::Target), "no tunnel of the other type leads there");
        assert!(matches!(manager.get_dir(directory(4)).await, Err(BuildError::Rules(_))));
        let kept = TunnelMgrConfig { rules, ..TunnelMgrConfig::new(net.document.clone()).expect("rules") };
        assert!(matches!(TunnelMgr::start(kept), Err(tunnel_manager::StartError::Target)));
        manager.stop().await;
        assert_eq!(tunnel.wait_for_close().await, Closed::Stopped);
        assert_eq!(tunnel.begin_dir_stream().await.err(), Some(ConnectError::Tunnel(Closed::Stopped)));
    });
    let net = Net::start(4, 1);
    run(async {
        let manager = start(&net, 1);
        let begun = Instant::now();
        let Err(BuildError::Tunnel(TunnelError::NoPath(refusal))) = manager.get_dir(directory(3)).await else {
            panic!("there is no directory node")
        };
        assert!(refusal.to_string().contains("a relay with the role `directory`"), "{refusal}");
        assert!(begun.elapsed() < SOON, "nobody waits for a deadline");
    });
}

#[test]
fn a_directory_node_that_is_gone_is_left_for_another() {
    let service = path("second");
    let mut net = Net::with_directories(4, 1, &[None, Some(service.clone())]);
    net.stop_directory(0);
    run(async {
        serve(&service, echo_service);
        let manager = start(&net, 1);
        for hops in [1, 3] {
            let tunnel = manager.get_dir(DirParameters { deadline: 2 * SOON, ..directory(hops) }).await;
            let stream = tunnel.expect("the other one").begin_dir_stream().await.expect("a stream");
            echo(stream, 1000).await.expect("all of it");
        }
    });
    std::fs::remove_file(service).expect("its file");
}

#[test]
fn an_invitation_leads_to_the_directory_over_one_hop_and_nowhere_else() {
    let service = path("invited");
    let mut net = Net::with_directories(0, 1, &[Some(service.clone()), None]);
    net.stop_directory(1);
    run(async {
        serve(&service, echo_service);
        let kept = Arc::new(Mutex::new(0));
        let count = Arc::clone(&kept);
        let config = TunnelMgrConfig {
            keep_guards: Some(Box::new(move |_| *count.lock().expect("no panic") += 1)),
            ..TunnelMgrConfig::new(net.contacts(&[0, 1])).expect("good rules")
        };
        let manager = TunnelMgr::start(config).expect("a manager");
        // One of the two contacts is dead.
        let parameters_dir = DirParameters { deadline: 2 * SOON, ..directory(1) };
        let tunnel = manager.get_dir(parameters_dir).await.expect("a tunnel under the lasting key");
        echo(tunnel.begin_dir_stream().await.expect("a stream"), MEGABYTE).await.expect("all of it");
        for hops in [2, 3] {
            let refused = manager.get_dir(directory(hops)).await.err();
            let Some(BuildError::Tunnel(TunnelError::NoPath(refusal))) = refused else { panic!("{refused:?}") };
            assert_eq!(refusal.cause, Cause::OnlyContacts);
        }
        let rules = Some(PathRules::new(1, 1).expect("a tunnel"));
        let alone = TunnelParameters { rules, ..parameters(Isolation::Alone) };
        for refused in [manager.get(parameters(Isolation::Shared)).await, manager.launch(alone).await] {
            let Err(TunnelError::NoPath(refusal)) = refused else { panic!("{refused:?}") };
            assert_eq!(refusal.cause, Cause::OnlyContacts);
        }
        assert_eq!(*kept.lock().expect("no panic"), 0, "contacts do not become guards");
    });
    std::fs::remove_file(service).expect("its file");
}

/// A relay's mirror comes for each edition, and many relays may have one address.
#[test]
fn managers_that_come_and_go_from_one_address_leave_no_places_taken() {
    /// More than a directory node has places for one address.
    const VISITS: usize = 18;
    let service = path("visits");
    let net = Net::with_directories(1, 1, &[Some(service.clone())]);
    run(async {
        serve(&service, echo_service);
        for visit in 0..VISITS {
            let config = TunnelMgrConfig::new(net.contacts(&[0])).expect("good rules");
            let manager = TunnelMgr::start(TunnelMgrConfig { ready: 0, ..config }).expect("a manager");
            let tunnel = manager.get_dir(directory(1)).await;
            let tunnel = tunnel.unwrap_or_else(|error| panic!("visit {visit}: {error}"));
            echo(tunnel.begin_dir_stream().await.expect("a stream"), 1_000).await.expect("all of it");
            drop(tunnel);
            // Half of them are only dropped.
            if visit % 2 == 0 {
                manager.stop().await;
            } else {
                drop(manager);
                tokio::time::sleep(SECOND / 4).await;
            }
        }
    });
    std::fs::remove_file(service).expect("its file");
}

#[test]
fn a_wrong_clock_is_told_over_the_first_hop() {
    let service = path("clock");
    let net = Net::with_directories(1, 1, &[Some(service.clone())]);
    run(async {
        serve(&service, fast_clock);
        let manager =
            TunnelMgr::start(TunnelMgrConfig::new(net.contacts(&[0])).expect("good rules")).expect("a manager");
        let tunnel = manager.get_dir(directory(1)).await.expect("a directory tunnel");
        let skew = tunnel.first_hop_clock_skew().await.expect("an answer");
        assert!(skew.exceeds(Duration::from_secs(3_500)) && !skew.exceeds(Duration::from_secs(3_700)), "{skew:?}");
        assert!(skew.ahead_ms < 0, "this machine is behind: {skew:?}");
    });
    std::fs::remove_file(service).expect("its file");
}
