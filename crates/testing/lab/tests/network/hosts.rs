//! Hosts, addresses, links and their interfaces.

use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

use lab::network::{HostPlan, LinePlan, Network, TokenBucket, Way};
use lab::udp_load::Load;
use simnet::Path;

use super::{Outcome, PORT, TENTH, any_socket, both_families, cables, ensure_near, flow, seen, seen_at, within_three};

#[test]
fn every_host_reaches_every_other_in_both_families_over_cables_and_lines() -> Outcome {
    let line = LinePlan::symmetric(Path::with_delay(Duration::from_millis(2)));
    let mut network = Network::start(&[HostPlan::cable("one"), HostPlan::line("two", line)])?;
    network.add(&HostPlan::cable("three").with_bundles())?;
    for from in network.hosts() {
        for to in network.hosts().iter().filter(|to| to.name() != from.name()) {
            for address in both_families(to, PORT) {
                let server = to.namespace().udp_socket(address)?;
                let seen = seen(&any_socket(from, address)?, &server)?.map(|from| from.ip());
                let expected = if address.is_ipv4() { from.ipv4().into() } else { from.ipv6().into() };
                assert_eq!(seen, Some(expected), "{} to {address} of {}", from.name(), to.name());
            }
        }
    }
    Ok(())
}

#[test]
fn a_host_answers_for_its_whole_prefix() -> Outcome {
    let network = cables(&[])?;
    let (client, server) = (network.host("client")?, network.host("server")?);
    let far = Ipv6Addr::from_bits(server.ipv6_prefix().to_bits() | 0xffff_1234_5678_9abc);
    let socket = server.namespace().udp_socket((Ipv6Addr::UNSPECIFIED, PORT).into())?;
    for address in [server.ipv6_prefix(), far] {
        let to = SocketAddr::from((address, PORT));
        assert!(seen_at(&any_socket(client, to)?, &socket, to)?.is_some(), "{address}");
    }
    Ok(())
}

#[test]
fn names_and_doubles_are_refused_in_a_sentence() -> Outcome {
    let mut network = Network::start(&[])?;
    for (name, sentence) in [("", "no name of a host"), ("thirteenchars", "at most 12"), ("a/b", "no name of a host")] {
        let error = network.add(&HostPlan::cable(name)).map(drop).expect_err("it is no name").to_string();
        assert!(error.contains(sentence), "{error}");
    }
    network.add(&HostPlan::cable("one"))?;
    let error = network.add(&HostPlan::cable("one")).map(drop).expect_err("it is there").to_string();
    assert!(error.contains("two hosts are called `one`"), "{error}");
    assert!(network.host("two").is_err());
    Ok(())
}

#[test]
fn a_token_bucket_limits_one_direction_until_it_is_lifted() -> Outcome {
    within_three(|| {
        let network = cables(&[])?;
        let (client, server) = (network.host("client")?, network.host("server")?);
        let [to_server, _] = both_families(server, PORT);
        let [to_client, _] = both_families(client, PORT);
        let load = Load::new(20_000_000, 6 * TENTH);
        let rate = |from, to| -> anyhow::Result<f64> {
            let (_, arrived) = flow(from, to, load)?;
            Ok(arrived.goodput.bits_per_second(TENTH, 5 * TENTH))
        };
        // A frame has 14 bytes in front of the IP packet.
        let expected = 5_000_000.0 * 1200.0 / 1242.0;
        network.set_rate("client", Way::Up, Some(TokenBucket::new(5_000_000)))?;
        ensure_near("up, limited", rate(client, (server, to_server))?, expected, 0.1)?;
        ensure_near("down, unlimited", rate(server, (client, to_client))?, 20e6, 0.1)?;
        network.set_rate("client", Way::Up, None)?;
        network.set_rate("client", Way::Down, Some(TokenBucket::new(5_000_000)))?;
        ensure_near("up, lifted", rate(client, (server, to_server))?, 20e6, 0.1)?;
        ensure_near("down, limited", rate(server, (client, to_client))?, expected, 0.1)?;
        Ok(())
    })
}

#[test]
fn an_interface_that_was_down_is_as_before() -> Outcome {
    let line = LinePlan::symmetric(Path::with_delay(Duration::from_millis(2)));
    let network = Network::start(&[HostPlan::cable("cable"), HostPlan::line("line", line), HostPlan::cable("server")])?;
    let server = network.host("server")?;
    for name in ["cable", "line"] {
        let host = network.host(name)?;
        for address in both_families(server, PORT) {
            let (socket, far) = (any_socket(host, address)?, server.namespace().udp_socket(address)?);
            assert!(seen(&socket, &far)?.is_some());
            host.take_down()?;
            assert!(socket.send_to(b"x", address).is_err(), "{name}: there is no route");
            host.bring_up()?;
            assert!(seen(&socket, &far)?.is_some(), "{name}: the same socket works again");
        }
        let prefix = SocketAddr::from((host.ipv6_prefix(), PORT));
        let inside = host.namespace().udp_socket((Ipv6Addr::UNSPECIFIED, PORT).into())?;
        assert!(
            seen_at(&any_socket(server, prefix)?, &inside, prefix)?.is_some(),
            "{name}: the prefix is routed again"
        );
    }
    Ok(())
}
