use super::*;

const SYN: u8 = 0x02;
const SYN_ACK: u8 = 0x12;
const ACK: u8 = 0x10;

/// A packet of `payload` bytes between two hosts of 192.0.2.0/24, from the network layer on.
fn ipv4(from: (u8, u16), to: (u8, u16), flags: Option<u8>, payload: usize) -> Vec<u8> {
    let mut head = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, if flags.is_some() { 6 } else { 17 }, 0, 0];
    head.extend([192, 0, 2, from.0, 192, 0, 2, to.0]);
    head.extend(from.1.to_be_bytes());
    head.extend(to.1.to_be_bytes());
    match flags {
        Some(flags) => head.extend([0, 0, 0, 0, 0, 0, 0, 0, 0x50, flags, 0, 0, 0, 0, 0, 0]),
        None => {
            head.extend((8 + payload as u16).to_be_bytes());
            head.extend([0, 0]);
        }
    }
    head.resize(head.len() + payload, 0xaa);
    let length = head.len() as u16;
    head[2..4].copy_from_slice(&length.to_be_bytes());
    head
}

/// A TCP packet of an IPv6 host in a network, behind a hop-by-hop header.
fn ipv6(network: u8, host: u8, port: u16, payload: u16) -> Vec<u8> {
    let mut head = vec![0x60, 0, 0, 0];
    head.extend((8 + 20 + payload).to_be_bytes());
    head.extend([0, 64]);
    head.extend([0x20, 1, 0x0d, 0xb8, 0, 0, 0, network, 0, 0, 0, 0, 0, 0, 0, host]);
    head.extend([0x20, 1, 0x0d, 0xb8, 0, 0, 0, 255, 0, 0, 0, 0, 0, 0, 0, 1]);
    head.extend([6, 0, 1, 4, 0, 0, 0, 0]);
    head.extend(port.to_be_bytes());
    head.extend([0x01, 0xbb, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, ACK, 0, 0, 0, 0, 0, 0]);
    head.resize(head.len() + usize::from(payload), 0);
    head
}

fn ethernet(packet: &[u8], tags: &[u16]) -> Vec<u8> {
    let mut frame = vec![0; 12];
    for tag in tags {
        frame.extend(tag.to_be_bytes());
        frame.extend([0, 5]);
    }
    frame.extend(if packet[0] >> 4 == 4 { [8, 0] } else { [0x86, 0xdd] });
    frame.extend(packet);
    frame
}

/// A file with packets at these microseconds; `big` and `nanoseconds` choose among the four formats.
fn file(link_type: u32, packets: &[(u32, Vec<u8>)], big: bool, nanoseconds: bool) -> Vec<u8> {
    let word = |value: u32| if big { value.to_be_bytes() } else { value.to_le_bytes() };
    let magic = if nanoseconds { 0xa1b2_3c4d } else { 0xa1b2_c3d4 };
    let mut file = Vec::new();
    for value in [magic, 0x0002_0004, 0, 0, 65_535, link_type] {
        file.extend(word(value));
    }
    for (at, packet) in packets {
        let fraction = at % 1_000_000 * if nanoseconds { 1_000 } else { 1 };
        for value in [1_700_000_000 + at / 1_000_000, fraction, packet.len() as u32, packet.len() as u32] {
            file.extend(word(value));
        }
        file.extend(packet);
    }
    file
}

/// A TCP connection of host 1 to port 443 of host 2, seen from its SYN on, and a DNS query.
fn connection() -> Vec<(u32, Vec<u8>)> {
    let (client, server) = ((1, 50_000), (2, 443));
    vec![
        (0, ipv4(client, server, Some(SYN), 0)),
        (20_000, ipv4(server, client, Some(SYN_ACK), 0)),
        (40_000, ipv4(client, server, Some(ACK), 517)),
        (60_000, ipv4(server, client, Some(ACK), 1_400)),
        (60_999, ipv4(server, client, Some(ACK), 600)),
        (61_000, ipv4(server, client, Some(ACK), 100)),
        (1_500_000, ipv4((1, 40_000), (3, 53), None, 33)),
    ]
}

fn transfer(microseconds: u64, direction: Direction, bytes: u64) -> Transfer {
    Transfer { at: Duration::from_micros(microseconds), client: Client(0), direction, bytes }
}

#[test]
fn all_formats_read_the_same() -> Result<(), PcapError> {
    let framed: Vec<_> = connection().into_iter().map(|(at, packet)| (at, ethernet(&packet, &[]))).collect();
    let tagged: Vec<_> =
        connection().into_iter().map(|(at, packet)| (at, ethernet(&packet, &[0x88a8, 0x8100]))).collect();
    let capture = parse_pcap(&file(1, &framed, false, false))?;
    let expected = [
        transfer(40_000, Direction::Up, 517),
        transfer(60_000, Direction::Down, 2_000),
        transfer(61_000, Direction::Down, 100),
        transfer(1_500_000, Direction::Up, 33),
    ];
    assert_eq!(capture.trace.transfers(), expected);
    let total = |transport, up_bytes, down_bytes| FlowTotal { client: Client(0), transport, up_bytes, down_bytes };
    assert_eq!(capture.flows, [total(Transport::Tcp, 517, 2_100), total(Transport::Udp, 33, 0)]);
    assert_eq!((capture.skipped_packets, capture.is_cut), (0, false));
    for (big, nanoseconds) in [(false, true), (true, false), (true, true)] {
        assert_eq!(parse_pcap(&file(1, &framed, big, nanoseconds))?, capture);
        assert_eq!(parse_pcap(&file(1, &tagged, big, nanoseconds))?, capture);
        assert_eq!(parse_pcap(&file(101, &connection(), big, nanoseconds))?, capture);
    }
    Ok(())
}

#[test]
fn headers_alone_are_enough() -> Result<(), PcapError> {
    let mut whole = file(101, &connection()[2..3], false, false);
    let expected = parse_pcap(&whole)?;
    // 40 bytes of head stay of the packet; the length on the network is as before.
    whole.truncate(24 + 16 + 40);
    whole[24 + 8..24 + 12].copy_from_slice(&40_u32.to_le_bytes());
    assert_eq!(parse_pcap(&whole)?, expected);
    assert_eq!(expected.flows[0].up_bytes, 517);
    Ok(())
}

#[test]
fn a_network_of_ipv6_is_one_client() -> Result<(), PcapError> {
    let packets = [(0, ipv6(1, 7, 4_000, 100)), (1, ipv6(1, 8, 4_000, 10)), (2, ipv6(2, 7, 4_000, 1))];
    let capture = parse_pcap(&file(229, &packets, true, false))?;
    let clients: Vec<_> = capture.flows.iter().map(|flow| (flow.client, flow.up_bytes)).collect();
    assert_eq!(clients, [(Client(0), 100), (Client(0), 10), (Client(1), 1)]);
    Ok(())
}

#[test]
fn the_known_port_is_the_servers_whoever_speaks_first() -> Result<(), PcapError> {
    let (client, server) = ((9, 50_000), (2, 443));
    let seen_late = [(0, ipv4(server, client, Some(ACK), 1_000)), (5_000, ipv4(client, server, Some(ACK), 10))];
    let flow = parse_pcap(&file(101, &seen_late, false, false))?.flows[0];
    assert_eq!((flow.up_bytes, flow.down_bytes), (10, 1_000));
    for ports in [(6_000, 5_000), (53, 53)] {
        let among_equals =
            [(0, ipv4((9, ports.0), (1, ports.1), None, 7)), (1, ipv4((1, ports.1), (9, ports.0), None, 5))];
        let flow = parse_pcap(&file(101, &among_equals, false, false))?.flows[0];
        assert_eq!((flow.up_bytes, flow.down_bytes), (7, 5), "{ports:?}");
    }
    Ok(())
}

#[test]
fn what_is_no_segment_is_counted_and_a_cut_file_is_read_up_to_the_cut() -> Result<(), PcapError> {
    let mut fragment = ipv4((1, 1), (2, 2), Some(ACK), 50);
    fragment[7] = 1;
    let mut icmp = ipv4((1, 1), (2, 2), Some(ACK), 50);
    icmp[9] = 1;
    let mut packets = connection();
    packets.extend([(2, fragment), (3, icmp), (4, vec![0x45]), (5, Vec::new())]);
    let mut bytes = file(101, &packets, false, false);
    let capture = parse_pcap(&bytes)?;
    assert_eq!((capture.skipped_packets, capture.is_cut), (4, false));
    bytes.extend([1, 2, 3]);
    assert_eq!(parse_pcap(&bytes)?, Capture { is_cut: true, ..capture });
    Ok(())
}

#[test]
fn what_is_no_capture_is_refused_by_name() {
    assert_eq!(parse_pcap(b""), Err(CaptureError::NotACapture.into()));
    assert_eq!(parse_pcap(b"GET / HTTP/1.1\r\n\r\n"), Err(CaptureError::NotACapture.into()));
    assert_eq!(parse_pcap(&[0x0a, 0x0d, 0x0d, 0x0a, 0, 0]), Err(CaptureError::PcapNg.into()));
    assert_eq!(parse_pcap(&file(105, &connection(), false, false)), Err(CaptureError::LinkType(105).into()));
    assert_eq!(parse_pcap(&file(101, &[], false, false)), Err(PcapError::Trace(TraceError::Empty)));
    let mut damaged = file(101, &connection(), false, false);
    damaged[24 + 8..24 + 12].copy_from_slice(&262_145_u32.to_le_bytes());
    assert_eq!(parse_pcap(&damaged), Err(PcapError::Packet(1)));
}
