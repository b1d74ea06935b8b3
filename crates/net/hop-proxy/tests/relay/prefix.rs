//! A server that has a whole IPv6 prefix, and clients that hop over its addresses.

use std::collections::BTreeSet;
use std::net::Ipv6Addr;
use std::process::Command;
use std::time::Instant;

use crate::harness::{Echo, Outcome, PATIENCE, Program, Running, common, every, keyed_common};
use crate::namespace::{inside, run};

/// The addresses of the set `sources` that a rule fills.
fn sources() -> Result<BTreeSet<Ipv6Addr>, Box<dyn std::error::Error>> {
    let listed = Command::new("nft").args(["list", "set", "inet", "seen", "sources"]).output()?;
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let words = listed.split(|letter: char| letter.is_whitespace() || letter == ',');
    Ok(words.filter_map(|word| word.parse().ok()).collect())
}

#[test]
fn a_server_answers_from_every_address_of_a_routed_prefix() -> Outcome {
    inside("prefix::a_server_answers_from_every_address_of_a_routed_prefix", || {
        run("ip link set lo up && ip -6 route add local 2001:db8:77::/64 dev lo")?;
        run("nft add table inet seen")?;
        run("nft 'add set inet seen sources { typeof ip6 saddr; flags dynamic; size 1000; }'")?;
        run("nft 'add chain inet seen out { type filter hook output priority 0; }'")?;
        run(
            "nft 'add rule inet seen out udp sport 20000-20007 ip6 saddr 2001:db8:77::/64 add @sources { ip6 saddr }'",
        )?;
        // With a key a window of 30 s has two places; without one each hop draws its own.
        for (common, addresses) in [(common(), 3), (keyed_common(), 2)] {
            run("nft flush set inet seen sources")?;
            let echo = Echo::start()?;
            let all = Ipv6Addr::UNSPECIFIED.into();
            let _server = Running::server(all, "20000-20007", echo.address, common.clone())?;
            let name = "[2001:db8:77::/64]:20000-20007".to_owned();
            let client = Running::client(&[name], every("10ms..20ms"), common)?;
            let mut program = Program::new(client.address())?;
            program.ask_until_answered()?;
            let deadline = Instant::now() + PATIENCE;
            while sources()?.len() < addresses {
                assert!(program.ask(PATIENCE)?, "an answer is lost");
                assert!(Instant::now() < deadline, "{:?} after {}", sources()?, client.counters());
            }
        }
        Ok(())
    })
}
