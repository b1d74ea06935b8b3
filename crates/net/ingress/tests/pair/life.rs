//! The life of the processes: new queues, stop, death, a neighbour that breaks the protocol.

use super::harness::{Pair, Setup, echo_server, listen, ping, process, queues, server};
use flow_queue::Geometry;
use ingress::{Boot, Limits, Listener, RunError, Service, SocketKind};
use os_net::process_channel::{FromProcess, ToProcess};
use shaped_node::queues::FlowQueues;
use std::io::Read;
use std::net::SocketAddr;
use wire::flow::{Destination, FlowKind, Syn};
use wire::local::{LocalMessage, QueueRef};

#[test]
fn new_queues_reset_old_flows_and_serve_new_ones() {
    let echo = echo_server();
    let mut pair = Pair::start(Setup { max_flows: 4, ..Setup::default() });
    let mut old: Vec<_> = (0..4).map(|_| pair.socks(echo)).collect();
    old.iter_mut().for_each(|stream| ping(stream, b"old"));
    for generation in 2..5 {
        pair.restart_tunnel(generation);
        for stream in &mut old {
            let ended = stream.read(&mut [0; 1]).map_err(|error| error.kind());
            assert_eq!(ended, Err(std::io::ErrorKind::ConnectionReset));
        }
        old = (0..4).map(|_| pair.socks(echo)).collect();
        old.iter_mut().for_each(|stream| ping(stream, b"new"));
    }
}

#[test]
fn a_closed_channel_ends_the_process_and_its_connections() {
    let echo = echo_server();
    let pair = Pair::start(Setup::default());
    let mut stream = pair.socks(echo);
    ping(&mut stream, b"alive");
    assert!(pair.entry.end().is_ok());
    assert!(matches!(stream.read(&mut [0; 1]), Ok(0) | Err(_)));
    assert!(pair.exit.end().is_ok());
}

#[test]
fn stop_lets_flows_finish_and_takes_no_new_ones() {
    let patient_server = server(|mut stream| {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).expect("bytes to the end");
        std::io::Write::write_all(&mut stream, &all).expect("an answer");
    });
    let pair = Pair::start(Setup::default());
    let mut stream = pair.socks(patient_server);
    // Longer than any step is waited for.
    pair.entry.send(&ToProcess::Stop { deadline_ms: 120_000 }, &[]);
    std::io::Write::write_all(&mut stream, b"last words").expect("an open flow");
    // The listener closes when the process has read its order.
    while let Ok(mut refused) = std::net::TcpStream::connect(pair.proxy) {
        assert!(matches!(refused.read(&mut [0; 1]), Ok(0) | Err(_)), "a new connection was served");
    }
    stream.shutdown(std::net::Shutdown::Write).expect("an open flow");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer to its end");
    assert_eq!(answer, b"last words");
    drop(stream);
    let Pair { mut entry, .. } = pair;
    let channel = entry.channel.take();
    assert!(entry.end().is_ok(), "it ends by itself, with its channel still open");
    drop(channel);
}

#[test]
fn stop_resets_what_does_not_finish() {
    let echo = echo_server();
    let pair = Pair::start(Setup::default());
    let mut stream = pair.socks(echo);
    ping(&mut stream, b"alive");
    pair.exit.send(&ToProcess::Stop { deadline_ms: 700 }, &[]);
    pair.entry.send(&ToProcess::Stop { deadline_ms: 700 }, &[]);
    let ended = stream.read(&mut [0; 1]).map_err(|error| error.kind());
    assert_eq!(ended, Err(std::io::ErrorKind::ConnectionReset));
}

#[test]
fn a_neighbour_that_breaks_the_protocol_ends_the_process_with_a_sentence() {
    let geometry = Geometry::new(4, 4096, 1).expect("in range");
    let (mut fds, mut shaped) = queues(&geometry, false);
    let (listener, _) = listen();
    fds.push(listener.into());
    let service = Service::Proxy { logins: Vec::new(), login_required: false };
    let listeners = vec![Listener { socket: SocketKind::Tcp, service }];
    let boot = Boot { queues: geometry, listeners, limits: Limits::default(), services: false };
    let entry = process(move |channel| ingress::run(boot, channel, fds));
    entry.wait_for("ready", |message| (message == FromProcess::Ready).then_some(()));
    // Only the other side opens flows here.
    let destination = Destination::from(SocketAddr::from(([127, 0, 0, 1], 80)));
    let syn = Syn { kind: FlowKind::Stream, client: 1, destination };
    shaped.send_message(&LocalMessage::Syn(QueueRef { index: 0, use_count: 1 }, syn)).expect("there is room");
    shaped.flush();
    let sentence = entry.wait_for("fault", |message| match message {
        FromProcess::Fault { sentence } => Some(sentence),
        _ => None,
    });
    assert!(sentence.contains("queues between the node's processes are broken"), "{sentence}");
    assert!(matches!(entry.end(), Err(RunError::Board(_))));
}

#[test]
fn a_wrong_number_of_descriptors_is_said() {
    let geometry = Geometry::new(4, 4096, 1).expect("in range");
    let (fds, _shaped) = queues(&geometry, true);
    let mut boot = egress::Boot::new(geometry);
    boot.policy = vec!["allow nonsense nonsense".to_owned()];
    let exit = process(move |channel| egress::run(boot, channel, fds));
    assert!(matches!(exit.end(), Err(RunError::Policy(_))));
    let (mut fds, _shaped) = queues(&geometry, false);
    fds.truncate(3);
    let boot = Boot { queues: geometry, listeners: Vec::new(), limits: Limits::default(), services: false };
    let entry = process(move |channel| ingress::run(boot, channel, fds));
    assert!(matches!(entry.end(), Err(RunError::Queues(_))));
}
