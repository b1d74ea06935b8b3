use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::time::{Duration, Instant};

use super::*;

type Outcome = Result<(), Box<dyn std::error::Error>>;

const LOOPBACK: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

fn socket(host: IpAddr, options: DatagramOptions) -> io::Result<(DatagramSocket, SocketAddr)> {
    let socket = DatagramSocket::bind(SocketAddr::new(host, 0), options)?;
    let address = socket.local_addr()?;
    Ok((socket, address))
}

/// Receives until `count` datagrams came, or for ten seconds.
fn collect(socket: &DatagramSocket, count: usize) -> io::Result<Vec<(Vec<u8>, u8)>> {
    let mut inbox = Inbox::new();
    let mut datagrams = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(10);
    while datagrams.len() < count && Instant::now() < deadline {
        match socket.receive(&mut inbox) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::yield_now(),
            Err(error) => return Err(error),
        }
        for arrived in inbox.iter() {
            datagrams.extend(arrived.train.iter().map(|bytes| (bytes.to_vec(), arrived.train.traffic_class())));
        }
    }
    Ok(datagrams)
}

fn departing(to: SocketAddr, train: Train<'_>) -> Departing<'_> {
    Departing { to: Some(to), from: None, train }
}

#[test]
fn every_size_passes_uncut_with_and_without_offload() -> Outcome {
    let sizes = [0, 1, 1200, 1452, 1472, 9000, 65_507];
    for host in LOOPBACK {
        for offload in [true, false] {
            let options = DatagramOptions { offload, ..DatagramOptions::default() };
            let ((one, _), (other, to)) = (socket(host, options)?, socket(host, options)?);
            let bodies: Vec<Vec<u8>> =
                sizes.iter().map(|&size| (0..size).map(|at| (at % 251) as u8).collect()).collect();
            let trains: Vec<Departing<'_>> = bodies.iter().map(|body| departing(to, Train::new(body, 0, 0))).collect();
            let sent = one.send(&trains);
            assert_eq!(sent, Sent { trains: sizes.len(), datagrams: 0, ended: Ended::Done });
            let came: Vec<Vec<u8>> = collect(&other, sizes.len())?.into_iter().map(|(bytes, _)| bytes).collect();
            assert_eq!(came, bodies);
        }
    }
    Ok(())
}

#[test]
fn trains_pass_whole_and_a_socket_without_segmentation_sends_their_pieces() -> Outcome {
    let bytes: Vec<u8> = (0..40).flat_map(|number| vec![number; 1000]).chain([99; 300]).collect();
    let expected: Vec<Vec<u8>> = bytes.chunks(1000).map(<[u8]>::to_vec).collect();
    for host in LOOPBACK {
        for (sends, receives) in [(true, true), (true, false), (false, true), (false, false)] {
            let options = |offload| DatagramOptions { offload, ..DatagramOptions::default() };
            let ((one, _), (other, to)) = (socket(host, options(sends))?, socket(host, options(receives))?);
            let train = departing(to, Train::new(&bytes, 1000, 0));
            assert_eq!(one.send(&[train, train]).ended, Ended::Done);
            let came: Vec<Vec<u8>> = collect(&other, 82)?.into_iter().map(|(bytes, _)| bytes).collect();
            assert_eq!(came, [expected.clone(), expected.clone()].concat());
        }
    }
    Ok(())
}

#[test]
fn the_traffic_class_is_kept_also_on_connected_sockets_and_on_one_that_takes_both_families() -> Outcome {
    let all = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
    let options = DatagramOptions { local_addresses: true, ..DatagramOptions::default() };
    let both = DatagramSocket::bind(all, options)?;
    let port = both.local_addr()?.port();
    let mut inbox = Inbox::new();
    for host in LOOPBACK {
        let (one, from) = socket(host, DatagramOptions::default())?;
        one.connect(SocketAddr::new(host, port))?;
        let train = Train::new(&[1, 2, 3, 4], 2, 0xb9);
        assert_eq!(one.send(&[Departing { to: None, from: None, train }]).ended, Ended::Done);
        while both.receive(&mut inbox).is_err() {}
        let arrived = inbox.train(0).ok_or("a train came")?;
        assert_eq!((arrived.train.traffic_class(), arrived.train.datagrams()), (0xb9, 2));
        assert_eq!(arrived.to.map(|to| to.to_canonical()), Some(host));
        assert_eq!(SocketAddr::new(arrived.from.ip().to_canonical(), arrived.from.port()), from);
        // The answer leaves from the address that was asked.
        let answer = Departing { to: Some(arrived.from), from: arrived.to, train: arrived.train };
        assert_eq!(both.send(&[answer]).ended, Ended::Done);
        assert_eq!(collect(&one, 2)?, [(vec![1, 2], 0xb9), (vec![3, 4], 0xb9)]);
    }
    Ok(())
}

#[test]
fn answers_leave_from_the_address_that_was_asked() -> Outcome {
    let options = DatagramOptions { local_addresses: true, ..DatagramOptions::default() };
    let server = DatagramSocket::bind((Ipv4Addr::UNSPECIFIED, 0).into(), options)?;
    let to = SocketAddr::from(([127, 3, 2, 1], server.local_addr()?.port()));
    let client = UdpSocket::bind("127.0.0.1:0")?;
    client.set_read_timeout(Some(Duration::from_secs(30)))?;
    client.send_to(b"hello", to)?;
    let mut inbox = Inbox::new();
    while server.receive(&mut inbox).is_err() {}
    let arrived = inbox.train(0).ok_or("a train came")?;
    server.send(&[Departing { to: Some(arrived.from), from: arrived.to, train: arrived.train }]);
    assert_eq!(client.recv_from(&mut [0; 9])?, (5, to));
    Ok(())
}

#[test]
fn a_refused_datagram_is_named_and_those_before_it_are_sent() -> Outcome {
    let ((one, _), (other, to)) =
        (socket(LOOPBACK[0], DatagramOptions::default())?, socket(LOOPBACK[0], DatagramOptions::default())?);
    let nowhere = SocketAddr::from((Ipv6Addr::LOCALHOST, to.port()));
    let good = departing(to, Train::new(b"good", 0, 0));
    let sent = one.send(&[good, departing(nowhere, Train::new(b"bad", 0, 0)), good]);
    assert_eq!(sent, Sent { trains: 1, datagrams: 0, ended: Ended::Refused(Errno::AFNOSUPPORT) });
    let too_long = vec![0; 65_508];
    let sent = one.send(&[departing(to, Train::new(&too_long, 0, 0))]);
    assert_eq!(sent.ended, Ended::Refused(Errno::MSGSIZE));
    assert_eq!(collect(&other, 1)?.len(), 1);
    Ok(())
}

#[test]
fn a_closed_port_is_reported_once_and_the_socket_lives_on() -> Outcome {
    let (one, _) = socket(LOOPBACK[0], DatagramOptions::default())?;
    let (other, to) = socket(LOOPBACK[0], DatagramOptions::default())?;
    one.connect(to)?;
    drop(other);
    let train = [Departing { to: None, from: None, train: Train::new(b"x", 0, 0) }];
    assert_eq!(one.send(&train).ended, Ended::Done);
    let refused = one.receive(&mut Inbox::new()).map_err(|error| error.kind());
    assert_eq!(refused, Err(io::ErrorKind::ConnectionRefused));
    assert_eq!(one.send(&train).ended, Ended::Done);
    Ok(())
}

#[test]
fn a_train_is_walked_and_cut_at_its_datagrams() {
    let train = Train::new(&[1, 1, 2, 2, 3], 2, 7);
    assert_eq!(train.datagrams(), 3);
    assert_eq!(train.iter().collect::<Vec<_>>(), [&[1, 1][..], &[2, 2], &[3]]);
    assert_eq!(train.without_first(2).map(|rest| rest.bytes()), Some(&[3][..]));
    assert_eq!(train.without_first(3), None);
    let empty = Train::new(&[], 0, 0);
    assert_eq!((empty.datagrams(), empty.iter().count()), (1, 1));
    assert_eq!(empty.without_first(1), None);
}

#[test]
fn buffers_hold_at_least_what_was_asked_for_or_the_systems_cap() -> Outcome {
    let (one, _) = socket(LOOPBACK[0], DatagramOptions::default())?;
    let cap: usize = std::fs::read_to_string("/proc/sys/net/core/rmem_max")?.trim().parse()?;
    let (receive, _) = one.buffer_bytes()?;
    assert!(receive >= cap.min(DATAGRAM_BUFFER_BYTES), "{receive}");
    Ok(())
}
