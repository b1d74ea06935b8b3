//! Two programs that meet: one has a service, the other goes to it, over real relays and a directory that keeps what it is told.

use crate::directory::{path, serve};
use crate::rig::{Net, SOON};
use crate::{MEGABYTE, SECOND, echo, parameters, run, start, until};
use relay_directory::{CommandOutcome, FrameReader, ServiceAnswer, ServiceRecord, ServiceRequest, Standing, frame};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tunnel_manager::{
    AccessSecret, ClientError, Closed, ConnectError, Isolation, IsolationToken, NodeId, OnionError, OnionParameters,
    OnionService, OnionServiceConfig, ResetReason, SOUGHT_OF_CLIENT_MAX, SeekRefused, ServiceAddress, ServiceFailure,
    ServiceSecret, StartError, TunnelError, TunnelMgr, TunnelMgrConfig, TunnelStream,
};

/// Where the service of these tests has an echo, and where it takes streams and drops them.
const ECHO: u16 = 7;
const DROPPED: u16 = 8;

type Records = Arc<Mutex<BTreeMap<[u8; 32], ServiceRecord>>>;

/// Relays enough for two legs to a service beside its own circuits, and a directory node.
struct World {
    net: Net,
    socket: PathBuf,
    records: Records,
}

impl World {
    fn new(name: &str) -> Self {
        let socket = path(name);
        let net = Net::with_directories(10, 1, &[Some(socket.clone())]);
        Self { net, socket, records: Records::default() }
    }

    /// Lets the directory answer.
    fn serve(&self) {
        let records = Arc::clone(&self.records);
        serve(&self.socket, move |stream| answer(stream, Arc::clone(&records)));
    }

    /// A service whose record is out. Its streams are served in a task.
    async fn service(&self, manager: &TunnelMgr, config: OnionServiceConfig) -> OnionService {
        let mut service = OnionService::start(manager, config).expect("a service");
        service.wait_until_published().await.expect("it runs");
        let names: BTreeSet<[u8; 32]> = self.records.lock().expect("no panic").keys().copied().collect();
        assert!(!names.is_empty() && !names.contains(&service.address().0), "no record lies under the address");
        service
    }

    fn config(&self, seed: u8) -> OnionServiceConfig {
        let secret = ServiceSecret::from_seed([seed; 32]);
        let config = OnionServiceConfig::new(self.net.document.clone(), secret, ECHO).expect("good rules");
        OnionServiceConfig { ports: vec![ECHO, DROPPED], points: 2, ..config }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.socket);
    }
}

async fn answer(mut stream: UnixStream, records: Records) -> std::io::Result<()> {
    let (mut reader, mut buffer) = (FrameReader::requests(), vec![0; 16 * 1024]);
    loop {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        let mut rest = &buffer[..count];
        while !rest.is_empty() {
            let taken = reader.handle_bytes(rest).expect("frames");
            rest = &rest[taken..];
            let Some(request) = reader.poll_frame() else { continue };
            let answer = match ServiceRequest::decode(&request).expect("a request") {
                ServiceRequest::Standing => {
                    let time = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("after 1970");
                    let published = network_document::EditionName { index: 1, hash: [0; 32] };
                    let time_ms = time.as_millis() as u64;
                    ServiceAnswer::Standing(Standing { time_ms, waiting: 0, signatures: 1, published, members: 1 })
                }
                ServiceRequest::Publish(record) => {
                    records.lock().expect("no panic").insert(record.key, record);
                    ServiceAnswer::Submit(CommandOutcome::new(0, ""))
                }
                ServiceRequest::Record { key } => {
                    ServiceAnswer::Record(records.lock().expect("no panic").get(&key).cloned())
                }
                other => panic!("another question: {other:?}"),
            };
            stream.write_all(&frame(&answer.encode())).await?;
        }
    }
}

/// Sends back what comes, on streams to the one port, and drops those to the other, until the service stops.
async fn serve_streams(service: &mut OnionService) -> Closed {
    loop {
        match service.accept().await {
            Ok((ECHO, stream)) => drop(tokio::spawn(send_back(stream))),
            Ok((port, stream)) => {
                assert_eq!(port, DROPPED);
                drop(stream);
            }
            Err(why) => return why,
        }
    }
}

async fn send_back(stream: TunnelStream) -> std::io::Result<()> {
    let (mut reader, mut writer) = tokio::io::split(stream);
    tokio::io::copy(&mut reader, &mut writer).await?;
    writer.shutdown().await
}

fn soon(isolation: Isolation) -> OnionParameters {
    OnionParameters { isolation, deadline: SOON, ..OnionParameters::default() }
}

fn address(seed: u8) -> ServiceAddress {
    ServiceAddress(ServiceSecret::from_seed([seed; 32]).public_key())
}

/// Goes on with a test while a service serves.
async fn beside<T>(service: &mut OnionService, test: impl Future<Output = T>) -> T {
    tokio::select! {
        outcome = test => outcome,
        why = serve_streams(service) => panic!("the service ended: {why}"),
    }
}

#[test]
fn streams_go_both_ways_between_two_programs() {
    let world = World::new("meets");
    run(async {
        world.serve();
        let (own, manager) = (start(&world.net, 0), start(&world.net, 0));
        let mut service = world.service(&own, world.config(1)).await;
        let visit = async {
            let tunnel = manager.get_onion(address(1), soon(Isolation::Shared)).await.expect("it is reached");
            let (one, two) = tokio::join!(tunnel.connect(ECHO), tunnel.connect(ECHO));
            let (one, two) = (one.expect("a stream"), two.expect("another"));
            let (one, two) = tokio::join!(echo(one, 2 * MEGABYTE), echo(two, MEGABYTE));
            one.expect("all of it");
            two.expect("all of it");
            let paths = tunnel.paths().await.expect("it is up");
            let relays: BTreeSet<NodeId> = paths.values().flatten().copied().collect();
            assert!(paths.values().all(|path| path.len() == 3), "{paths:?}");
            assert_eq!(relays.len(), 3 * paths.len(), "legs have no relay in common, and the service is not named");
            let figures = tunnel.figures().await.expect("it is up");
            let cells: u64 = figures.legs.values().map(|leg| leg.data_cells).sum();
            assert!(cells > 2_400, "{figures:?}");
            // A port that it does not have, and one where streams are dropped as soon as they are taken.
            assert_eq!(tunnel.connect(9).await.err(), Some(ConnectError::Refused(ResetReason::Refused)));
            let mut dropped = tunnel.connect(DROPPED).await.expect("it is taken first");
            assert_eq!(dropped.read(&mut [0; 1]).await.unwrap_or_default(), 0);
            let shown = format!("{tunnel:?} {manager:?}");
            assert!(!shown.contains(&address(1).to_string()[..12]), "{shown}");
            tunnel
        };
        let tunnel = beside(&mut service, visit).await;
        let whole = async {
            loop {
                let figures = service.figures().await.expect("it runs");
                assert!(figures.tunnels == 1 && figures.is_published, "{figures:?}");
                if figures.points == 2 {
                    break;
                }
                tokio::time::sleep(SECOND / 20).await;
            }
        };
        tokio::time::timeout(SOON, whole).await.expect("both points");
        // The service ends: whoever is there is told.
        service.stop().await;
        assert_eq!(tunnel.wait_for_close().await, Closed::Lost);
        assert_eq!(service.accept().await.err(), Some(Closed::Stopped));
        assert_eq!(tunnel.connect(ECHO).await.err(), Some(ConnectError::Tunnel(Closed::Lost)));
        // Its record is still there; nobody answers, and its introduction points may have heard of it.
        let deadline = 5 * SECOND;
        let gone = manager.get_onion(address(1), OnionParameters { deadline, ..soon(Isolation::Alone) }).await;
        let is_silent = gone == Err(OnionError::Deadline(deadline));
        let unanswered = |why: &OnionError| why.to_string().contains("introductions was answered");
        assert!(is_silent || gone.as_ref().is_err_and(unanswered), "{gone:?}");
        until(&manager, "nothing is sought any more", |summary| summary.seeking == 0).await;
    });
}

#[test]
fn a_tunnel_to_a_service_is_its_groups_until_it_is_retired() {
    let world = World::new("groups");
    run(async {
        world.serve();
        let (own, manager) = (start(&world.net, 0), start(&world.net, 0));
        let mut service = world.service(&own, world.config(2)).await;
        let visit = async {
            let get = |isolation| manager.get_onion(address(2), soon(isolation));
            let (one, two) = tokio::join!(get(Isolation::Shared), get(Isolation::Shared));
            let (shared, alone) = (one.expect("it is reached"), get(Isolation::Alone).await.expect("it is reached"));
            assert_eq!(shared, two.expect("it is reached"), "sought once for both");
            let own_key =
                OnionParameters { access: Some(AccessSecret::from_bytes([3; 32])), ..soon(Isolation::Shared) };
            let keyed = manager.get_onion(address(2), own_key).await.expect("it lets in everybody");
            assert!(shared != alone && keyed != shared && keyed != alone);
            until(&manager, "three tunnels, and none to the directory", |summary| {
                (summary.services, summary.in_use, summary.building, summary.seeking) == (3, 0, 0, 0)
            })
            .await;
            // One that is retired finishes its streams and takes no new ones; who asks then gets another.
            let stream = shared.connect(ECHO).await.expect("a stream");
            manager.retire_tunnel(&shared).await;
            assert_eq!(shared.connect(ECHO).await.err(), Some(ConnectError::Tunnel(Closed::Retired)));
            echo(stream, MEGABYTE).await.expect("all of it");
            assert_ne!(get(Isolation::Shared).await.expect("another"), shared);
            // Nobody can come back for this one.
            drop(alone);
            until(&manager, "it is retired", |summary| summary.services == 2).await;
            manager.stop().await;
            assert_eq!(keyed.wait_for_close().await, Closed::Stopped);
        };
        beside(&mut service, visit).await;
        assert_eq!(own.summary().await.expect("it runs").services, 0, "that manager goes to no service");
    });
}

#[test]
fn who_is_not_let_in_is_told_and_who_does_not_exist_as_well() {
    let world = World::new("refusals");
    run(async {
        world.serve();
        let (own, manager) = (start(&world.net, 0), start(&world.net, 1));
        let secret = AccessSecret::from_bytes([9; 32]);
        let config = OnionServiceConfig { clients: vec![secret.access_key()], ..world.config(3) };
        let mut service = world.service(&own, config).await;
        let visit = async {
            let get = |access| manager.get_onion(address(3), OnionParameters { access, ..soon(Isolation::Shared) });
            let refused = Err(OnionError::NotReached(ServiceFailure::Introduction(ClientError::Authorisation)));
            let wrong = get(Some(AccessSecret::from_bytes([8; 32])));
            let (none, wrong, right) = tokio::join!(get(None), wrong, get(Some(secret)));
            assert_eq!((&none, &wrong), (&refused, &refused));
            assert!(none.is_err_and(|error| error.to_string().contains("needs authorisation")));
            let tunnel = right.expect("it is on the list");
            echo(tunnel.connect(ECHO).await.expect("a stream"), 1000).await.expect("all of it");
            let unknown = manager.get_onion(address(4), soon(Isolation::Shared)).await;
            assert_eq!(unknown, Err(OnionError::NotReached(ServiceFailure::Introduction(ClientError::NoRecord))));
            // An exit is never asked for such a name, and the pool has no other way to a service.
            let flows = manager.get(parameters(Isolation::Shared)).await.expect("a tunnel");
            let name = wire::flow::HostName::new(&address(3).to_string()).expect("a name");
            let to = tunnel_manager::Destination { host: wire::flow::Host::Name(name), port: ECHO };
            assert_eq!(flows.connect(to).await.err(), Some(ConnectError::Refused(ResetReason::NotOffered)));
        };
        beside(&mut service, visit).await;
        for ports in [vec![], vec![1, 1], (0..100).collect()] {
            let config = OnionServiceConfig { ports, ..world.config(3) };
            assert!(matches!(OnionService::start(&own, config), Err(StartError::Ports)));
        }
    });
    // Without a directory node there is nobody to ask.
    let net = Net::start(4, 1);
    run(async {
        let manager = start(&net, 0);
        let begun = Instant::now();
        let refused = manager.get_onion(address(1), soon(Isolation::Shared)).await;
        let Err(OnionError::Tunnel(TunnelError::NoPath(refusal))) = refused else { panic!("{refused:?}") };
        assert!(refusal.to_string().contains("a relay with the role `directory`"), "{refusal}");
        assert!(begun.elapsed() < SOON, "nobody waits for a deadline");
        manager.stop().await;
        let stopped = manager.get_onion(address(1), soon(Isolation::Shared)).await;
        assert_eq!(stopped, Err(OnionError::Tunnel(TunnelError::Stopped)));
    });
}

/// A directory that says nothing keeps many services sought: one group has half of them at most, and what nobody waits for any more is
/// not sought.
#[test]
fn one_group_seeks_half_of_what_can_be_sought() {
    let world = World::new("bounds");
    run(async {
        serve(&world.socket, |stream| async move {
            let _stream = stream;
            std::future::pending().await
        });
        let manager = start(&world.net, 0);
        let mut waiting = tokio::task::JoinSet::new();
        let groups = [Isolation::Shared, Isolation::By(IsolationToken::new())];
        for (place, group) in groups.into_iter().enumerate() {
            for number in 0..SOUGHT_OF_CLIENT_MAX {
                let manager = manager.clone();
                waiting.spawn(async move { manager.get_onion(address(number as u8 + 10), soon(group)).await });
            }
            let sought = (place + 1) * SOUGHT_OF_CLIENT_MAX;
            until(&manager, "all are sought", |summary| summary.seeking == sought).await;
            let further = manager.get_onion(address(50), soon(group)).await;
            let bound = if place == 0 { SeekRefused::ClientFull } else { SeekRefused::Full };
            assert_eq!(further, Err(OnionError::NotSought(bound)));
        }
        // One that is sought already is waited for by another as well, until that one's own deadline.
        let deadline = Duration::from_millis(10);
        let brief = OnionParameters { deadline, ..soon(Isolation::Shared) };
        assert_eq!(manager.get_onion(address(10), brief).await, Err(OnionError::Deadline(deadline)));
        assert_eq!(manager.summary().await.expect("it runs").seeking, 2 * SOUGHT_OF_CLIENT_MAX, "the first waits on");
        waiting.shutdown().await;
        until(&manager, "nobody waits", |summary| summary.seeking == 0).await;
    });
}

/// Who asked for a tunnel and went as it came has left nobody who would come back for it.
#[test]
fn a_tunnel_whose_asker_has_gone_is_not_kept() {
    let world = World::new("gone");
    run(async {
        world.serve();
        let (own, manager) = (start(&world.net, 0), start(&world.net, 0));
        let mut service = world.service(&own, world.config(5)).await;
        let visit = async {
            let mut asked = Box::pin(manager.get_onion(address(5), soon(Isolation::Shared)));
            tokio::select! {
                biased;
                got = &mut asked => panic!("at once: {got:?}"),
                () = std::future::ready(()) => {}
            }
            until(&manager, "it is there", |summary| summary.services == 1).await;
            drop(asked);
            until(&manager, "it is retired", |summary| summary.services == 0).await;
            // Whoever asks now gets one of its own, which is kept for others.
            drop(manager.get_onion(address(5), soon(Isolation::Shared)).await.expect("it is reached"));
            tokio::time::sleep(SECOND / 2).await;
            assert_eq!(manager.summary().await.expect("it runs").services, 1);
        };
        beside(&mut service, visit).await;
    });
}

/// The runtime of a program with a service ends: nobody is left to wait for anything, and its clients hear of it all the same.
#[test]
fn a_service_whose_program_ends_says_so() {
    let world = World::new("ends");
    let (config, document) = (world.config(6), world.net.document.clone());
    let ((hand_over, handed), (end, ended)) = (tokio::sync::oneshot::channel(), tokio::sync::oneshot::channel::<()>());
    let program = std::thread::spawn(move || {
        run(async {
            let own = TunnelMgrConfig { ready: 0, ..TunnelMgrConfig::new(document).expect("good rules") };
            let own = TunnelMgr::start(own).expect("a manager");
            let mut service = OnionService::start(&own, config).expect("a service");
            service.wait_until_published().await.expect("it runs");
            hand_over.send(service).expect("the test waits for it");
            ended.await.expect("a word");
        });
    });
    run(async {
        world.serve();
        let manager = start(&world.net, 0);
        let mut service = handed.await.expect("it is there");
        let visit = manager.get_onion(address(6), soon(Isolation::Shared));
        let tunnel = beside(&mut service, visit).await.expect("it is reached");
        let begun = Instant::now();
        end.send(()).expect("it waits");
        assert_eq!(tunnel.wait_for_close().await, Closed::Lost);
        let took = begun.elapsed();
        assert!(took < 20 * SECOND, "it said so, and was not waited for: {took:?}");
    });
    program.join().expect("no panic");
}
