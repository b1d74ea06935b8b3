//! Links of real processes on machines that refuse to send, and on those that have a whole IPv6 prefix. Each runs in a
//! network namespace of its own, so as root.

use std::collections::BTreeSet;
use std::io::BufReader;
use std::net::{Ipv6Addr, TcpStream};
use std::time::{Duration, Instant};

use admin::status::Hops;
use anyhow::{Context, ensure};
use lab::load::{self, Service, read_pattern};
use lab::network::Namespace;
use lab::pair::{Mode, Pair, PairConfig, Role};

/// Bytes of one download.
const DOWNLOAD: u64 = 200_000;
/// How long a busy machine may take for what takes a second.
const WITHIN: Duration = Duration::from_secs(60);
/// An exit's prefix, all of which is the machine's.
const PREFIX: &str = "2001:db8:77::/64";

type Outcome = anyhow::Result<()>;

fn hops(pair: &Pair, role: Role) -> anyhow::Result<Hops> {
    let link = pair.status(role)?.links.into_iter().next().context("a link")?;
    link.hops.context("it hops")
}

/// Waits until the links of the entry have this many hops.
fn until(pair: &Pair, wanted: u64) -> anyhow::Result<Hops> {
    let begun = Instant::now();
    loop {
        let at_exit = hops(pair, Role::Exit).map_or(0, |hops| hops.hops);
        if let Ok(hops) = hops(pair, Role::Entry)
            && hops.hops >= wanted
            && at_exit >= wanted
        {
            return Ok(hops);
        }
        ensure!(begun.elapsed() < WITHIN, "{at_exit} hops of {wanted}\n{}", pair.logs());
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn download(pair: &Pair) -> Outcome {
    let begun = Instant::now();
    loop {
        let came = TcpStream::connect(pair.forward(0)).and_then(|flow| read_pattern(&mut BufReader::new(flow)));
        match came {
            Ok(DOWNLOAD) => return Ok(()),
            other => ensure!(begun.elapsed() < WITHIN, "a download came to {other:?}\n{}", pair.logs()),
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn config(mode: Mode, interval: &str) -> anyhow::Result<PairConfig> {
    let source = load::start(Service::Source { bytes: DOWNLOAD })?;
    Ok(PairConfig::new(mode)
        .with_forward(source)
        .with_line_of(Role::Exit, "network", "hop_ports = \"50000-51999\"")
        .with_line_of(Role::Entry, "hops", &format!("interval = \"{interval}\""))
        .with_line_of(Role::Entry, "hops", "unsafe_below_floor = true"))
}

/// Seconds of processor time that the processes of a node have used.
fn processor_seconds(pair: &Pair, role: Role) -> anyhow::Result<f64> {
    let ticks = |pid: u32| -> anyhow::Result<u64> {
        let text = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let (_, fields) = text.rsplit_once(')').context("the name stands in brackets")?;
        // Fields 14 and 15 of proc(5), of which the first two are cut off.
        fields.split_whitespace().skip(11).take(2).map(|field| Ok(field.parse::<u64>()?)).sum()
    };
    let all: u64 = pair.pids(role)?.into_iter().map(|(_, pid)| ticks(pid)).sum::<anyhow::Result<u64>>()?;
    Ok(all as f64 / 100.0)
}

#[test]
fn a_pair_that_the_firewall_of_the_entry_refuses_is_left() -> Outcome {
    for mode in [Mode::constant("5 Mbit/s"), Mode::Off { congestion: "bbr" }] {
        let here = Namespace::new("refusals")?;
        here.within(|| {
            let pair = Pair::start(config(mode, "1h")?)?;
            let at = until(&pair, 0)?;
            let (local, remote) = (at.local_port.context("it is bound")?, at.remote_port);
            // The system answers a send that a rule of `output` drops with EPERM.
            here.set_rules(&format!(
                "table inet refuse {{\n chain out {{\n type filter hook output priority 0;\n udp sport {local} udp dport {remote} drop\n }}\n}}\n"
            ))?;
            let left = until(&pair, 1)?;
            assert_eq!(left.causes, ["socket failed"]);
            download(&pair)?;
            assert_eq!(hops(&pair, Role::Entry)?.hops, 1, "the next pair works");
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn an_interface_that_goes_and_comes_back_costs_no_restart_and_no_processor() -> Outcome {
    for mode in [Mode::constant("5 Mbit/s"), Mode::Off { congestion: "bbr" }] {
        let here = Namespace::new("refusals")?;
        here.within(|| {
            let pair = Pair::start(config(mode.clone(), "1h")?)?;
            download(&pair)?;
            let pids = [Role::Entry, Role::Exit].map(|role| pair.pids(role).unwrap_or_default());
            here.set_up("link set lo down\n")?;
            let (before, outage) = (processor_seconds(&pair, Role::Entry)?, Duration::from_secs(6));
            std::thread::sleep(outage);
            let used = processor_seconds(&pair, Role::Entry)? - before;
            assert!(used < outage.as_secs_f64() / 2.0, "{used} s in {outage:?}");
            here.set_up("link set lo up\n")?;
            download(&pair)?;
            let after = [Role::Entry, Role::Exit].map(|role| pair.pids(role).unwrap_or_default());
            assert_eq!(pids, after, "nobody was restarted");
            Ok(())
        })?;
    }
    Ok(())
}

/// Has a pair, which began on IPv4, run on IPv6: the exit at all addresses of a prefix.
fn move_to_prefix(pair: &mut Pair) -> Outcome {
    for role in [Role::Entry, Role::Exit] {
        let node = pair.take_node(role).context("it runs")?;
        node.stop()?;
    }
    let exit = pair.folder().join("exit.toml");
    let text = std::fs::read_to_string(&exit)?;
    let bind = text.lines().find_map(|line| line.strip_prefix("bind = \"")).context("it is bound")?;
    let port = bind.trim_end_matches('"').rsplit_once(':').context("a port")?.1.to_owned();
    let line = format!("bind = \"[::]:{port}\"\nhop_addresses = [\"{PREFIX}\"]");
    std::fs::write(&exit, text.replace(&format!("bind = \"{bind}"), &line))?;
    let entry = pair.folder().join("entry.toml");
    let text = std::fs::read_to_string(&entry)?;
    let text = text.replace("bind = \"127.0.0.1:0\"", "bind = \"[::]:0\"");
    std::fs::write(&entry, text.replace(&format!("127.0.0.1:{port}"), &format!("[2001:db8:77::1]:{port}")))?;
    pair.start_node(Role::Exit)?;
    pair.start_node(Role::Entry)?;
    pair.wait_until_up()
}

#[test]
fn a_link_hops_over_the_addresses_of_a_routed_prefix() -> Outcome {
    for mode in [Mode::constant("5 Mbit/s"), Mode::Off { congestion: "bbr" }] {
        let here = Namespace::new("prefix")?;
        here.set_up(&format!("route add local {PREFIX} dev lo\n"))?;
        // Counts the addresses that packets of the exit leave from.
        here.set_rules(
            "table inet seen {\n set sources { typeof ip6 saddr; flags dynamic; size 1000; }\n chain out {\n type filter hook output priority 0;\n udp dport < 50000 ip6 saddr 2001:db8:77::/64 add @sources { ip6 saddr }\n }\n}\n",
        )?;
        here.within(|| {
            let mut pair = Pair::start(config(mode.clone(), "500ms")?)?;
            move_to_prefix(&mut pair)?;
            let begun = Instant::now();
            while hops(&pair, Role::Entry).map_or(0, |hops| hops.hops) < 6 {
                download(&pair)?;
                ensure!(begun.elapsed() < WITHIN, "{}", pair.logs());
            }
            download(&pair)
        })?;
        let listed = here.output("nft", &["list", "set", "inet", "seen", "sources"])?;
        let listed = String::from_utf8_lossy(&listed).into_owned();
        let words = listed.split(|letter: char| letter.is_whitespace() || letter == ',');
        let sources: BTreeSet<Ipv6Addr> = words.filter_map(|word| word.parse().ok()).collect();
        assert!(sources.len() >= 6, "an address a hop: {sources:?}");
    }
    Ok(())
}
