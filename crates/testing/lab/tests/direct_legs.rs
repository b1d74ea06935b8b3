//! An entry and an exit with two cables between them and no relay: real processes in two network namespaces, each cable held to
//! a rate. Files are made by the commands of docs/circuits.md.

#![allow(clippy::print_stdout, reason = "figures are told with --nocapture")]

use admin::status::Status;
use anyhow::{Context, ensure};
use lab::attempts::within_three;
use lab::circuits::linked;
use lab::load::{self, Service};
use lab::network::Namespace;
use lab::pair::{hushwire, status_of};
use lab::process::{self, Running};
use lab::scratch::Scratch;
use lab::socks::{self, Transfer};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

const READY_WITHIN: Duration = Duration::from_secs(90);
const TOOL_WITHIN: Duration = Duration::from_secs(90);
/// How long a transfer may stand still.
const SILENCE: Duration = Duration::from_secs(60);
/// Bytes of each transfer.
const BYTES: u64 = 12_000_000;
/// The rate of each cable.
const RATE: &str = "20mbit";
const PROXY: &str = "127.0.0.1:1080";

/// Two hosts with two cables: `first` and `second` at both ends.
struct Hosts {
    entry: Namespace,
    exit: Namespace,
}

impl Hosts {
    fn start() -> anyhow::Result<Self> {
        let (entry, exit) = (Namespace::new("entry")?, Namespace::new("exit")?);
        for (cable, number) in [("first", 1), ("second", 2)] {
            // Bundles would pass the limit as one packet.
            entry.set_up(&format!(
                "link add name {cable} gso_max_segs 1 type veth peer name {cable} gso_max_segs 1 netns {}\n",
                exit.name()
            ))?;
            for (host, last) in [(&entry, 1), (&exit, 2)] {
                host.set_up(&format!("address add 10.88.{number}.{last}/24 dev {cable}\nlink set {cable} up\n"))?;
            }
            for host in [&entry, &exit] {
                host.wait_until_carries(cable)?;
                let limit = ["tbf", "rate", RATE, "burst", "16kb", "latency", "50ms"];
                host.output("tc", &[&["qdisc", "replace", "dev", cable, "root"][..], &limit].concat())?;
            }
        }
        Ok(Self { entry, exit })
    }

    /// Nothing crosses a cable, without any end noticing.
    fn cut(&self, cable: &str, is_cut: bool) -> anyhow::Result<()> {
        let rules = if is_cut {
            format!(
                "table inet cut {{ chain drops {{ type filter hook prerouting priority -300; iifname \"{cable}\" drop; }}; }}\n"
            )
        } else {
            "delete table inet cut\n".to_owned()
        };
        [&self.entry, &self.exit].iter().try_for_each(|host| host.set_rules(&rules))
    }
}

struct Direct {
    entry: Running,
    exit: Running,
    folder: Scratch,
}

fn command(folder: &Scratch, line: &str) -> anyhow::Result<String> {
    let mut command = std::process::Command::new(hushwire()?);
    let output = process::run(command.current_dir(folder.path()).args(line.split_whitespace()), TOOL_WITHIN)?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Keys, a network of one exit with two addresses, and both configurations. `network`: lines for the entry's table.
fn files(network: &str) -> anyhow::Result<Scratch> {
    let folder = Scratch::new()?;
    let operator = command(&folder, "network operator alice.operator-key")?;
    let key = operator.split_whitespace().find(|word| word.starts_with("hwop1")).context("an operator's key")?;
    command(&folder, &format!("network new --name direct --operator-key {key} --threshold 1 direct.charter"))?;
    for node in ["entry", "exit"] {
        command(&folder, &format!("keys new {node}.keys"))?;
    }
    let descriptor = command(
        &folder,
        "network describe --charter direct.charter --keys exit.keys --onion-keys exit.onion-keys --interval 1 \
         --address 10.88.1.2:4433 --address 10.88.2.2:4433 --role guard --role exit --operator alice --rate 50Mbit/s",
    )?;
    folder.write("exit.descriptor", descriptor)?;
    let document = command(&folder, "network assemble --charter direct.charter --interval 1 exit.descriptor")?;
    folder.write("network.document", document)?;
    command(&folder, "network sign --key alice.operator-key network.document")?;
    folder.write(
        "exit.toml",
        "role = \"exit\"\nkey_file = \"exit.keys\"\n[network]\nbind = \"0.0.0.0:4433\"\nfile = \"network.document\"\n\
         onion_key_file = \"exit.onion-keys\"\n[shaping]\nmode = \"off\"\n[exit_policy]\nrules = [\"allow 127.0.0.0/8\"]\n",
    )?;
    folder.write(
        "entry.toml",
        format!(
            "role = \"entry\"\nkey_file = \"entry.keys\"\n[network]\nfile = \"network.document\"\nhops = 1\n{network}\n\
             [shaping]\nmode = \"off\"\n[[listen]]\nkind = \"proxy\"\naddress = \"{PROXY}\"\n"
        ),
    )?;
    Ok(folder)
}

impl Direct {
    fn start(hosts: &Hosts, network: &str, legs: usize) -> anyhow::Result<Self> {
        let folder = files(network)?;
        let start = |host: &Namespace, role: &str| {
            let mut command = host.command(hushwire()?)?;
            command.current_dir(folder.path()).args([role, "-c", &format!("{role}.toml")]).env("HUSHWIRE_LOG", "debug");
            Running::start(role, &mut command, &folder.join(&format!("{role}.log")))
        };
        let exit = start(&hosts.exit, "exit")?;
        let entry = start(&hosts.entry, "entry")?;
        let mut direct = Self { entry, exit, folder };
        direct.wait_for(READY_WITHIN, |status| linked(status).count() == legs)?;
        Ok(direct)
    }

    fn status(&self) -> anyhow::Result<Status> {
        status_of(&self.folder.join("entry.admin"))
    }

    fn wait_for(&mut self, within: Duration, wanted: impl Fn(&Status) -> bool) -> anyhow::Result<()> {
        let began = Instant::now();
        loop {
            let status = self.status();
            if status.as_ref().is_ok_and(&wanted) {
                return Ok(());
            }
            self.entry.check()?;
            self.exit.check()?;
            let logs = || format!("{}\n{}", self.entry.log_tail(), self.exit.log_tail());
            ensure!(began.elapsed() < within, "{:?}\n{}", status.map(|status| status.circuits), logs());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Rates of a download and an upload, in Mbit/s.
fn rates(hosts: &Hosts, source: SocketAddr, sink: SocketAddr) -> anyhow::Result<[f64; 2]> {
    let proxy: SocketAddr = PROXY.parse()?;
    let down = hosts.entry.within(|| socks::download(proxy, source, BYTES, SILENCE, |_| {}))?;
    let up = hosts.entry.within(|| socks::upload(proxy, sink, BYTES, SILENCE))?;
    Ok([down, up].map(|transfer: Transfer| transfer.megabits_per_second()))
}

/// Two cables carry 1.6 times what one does, in both directions; one of them may be cut in the middle of a download, and is used
/// again when it is back.
#[test]
fn two_cables_carry_more_than_one_and_one_of_them_may_be_cut() -> anyhow::Result<()> {
    within_three(carry_and_cut)
}

fn carry_and_cut() -> anyhow::Result<()> {
    let hosts = Hosts::start()?;
    let source = hosts.exit.within(|| Ok(load::start(Service::Source { bytes: u64::MAX })?))?;
    let sink = hosts.exit.within(|| Ok(socks::start_sink()?))?;
    let one = {
        let _direct = Direct::start(&hosts, "legs = 1\nfrom = [\"10.88.1.1\"]", 1)?;
        rates(&hosts, source, sink)?
    };
    let mut direct = Direct::start(&hosts, "legs = 2\nfrom = [\"10.88.1.1\", \"10.88.2.1\"]", 2)?;
    let two = rates(&hosts, source, sink)?;
    println!("Mbit/s down and up: one cable {one:?}, two cables {two:?}");
    let listed = command(&direct.folder, "circuit list -c entry.toml")?;
    println!("{listed}");
    for way in ["10.88.1.1 -> 10.88.1.2:4433", "10.88.2.1 -> 10.88.2.2:4433"] {
        ensure!(listed.contains(way), "the legs have their ways: {listed}");
    }
    for (one, two) in one.iter().zip(two) {
        ensure!(two >= 1.6 * one, "{one} and {two} Mbit/s");
    }
    let proxy: SocketAddr = PROXY.parse()?;
    let mut cut = None;
    let transfer = hosts.entry.within(|| {
        socks::download(proxy, source, BYTES, SILENCE, |bytes| {
            if bytes > BYTES / 4 {
                cut.get_or_insert_with(|| hosts.cut("second", true));
            }
        })
    })?;
    cut.context("the download is long enough")??;
    println!("with a cut: {:.1} Mbit/s, longest pause {:?}", transfer.megabits_per_second(), transfer.longest_stall);
    ensure!(transfer.longest_stall <= Duration::from_secs(1), "a pause of {:?}", transfer.longest_stall);
    direct.wait_for(READY_WITHIN, |status| linked(status).count() == 1)?;
    hosts.cut("second", false)?;
    direct.wait_for(READY_WITHIN, |status| linked(status).count() == 2)?;
    ensure!(direct.status()?.circuits.is_some_and(|circuits| circuits.tunnels == 1), "the tunnel is the same");
    Ok(())
}

/// The same with interfaces in place of addresses.
#[test]
fn legs_are_bound_to_interfaces() -> anyhow::Result<()> {
    let hosts = Hosts::start()?;
    let direct = Direct::start(&hosts, "legs = 2\nfrom = [\"first\", \"second\"]", 2)?;
    let listed = command(&direct.folder, "circuit list -c entry.toml")?;
    for interface in ["(first -> ", "(second -> "] {
        ensure!(listed.contains(interface), "{listed}");
    }
    Ok(())
}

/// `hushwire check` says what is missing.
#[test]
fn too_few_ways_are_explained() -> anyhow::Result<()> {
    let check = |network: &str| -> anyhow::Result<String> {
        let folder = files(network)?;
        let mut command = std::process::Command::new(hushwire()?);
        let command = command.current_dir(folder.path()).args(["check", "-c", "entry.toml"]);
        Ok(process::printed(&process::run_to_end(command, TOOL_WITHIN)?))
    };
    let said = check("legs = 3\nfrom = [\"10.88.1.1\"]")?;
    ensure!(said.contains("3 ways to one exit are needed") && said.contains("more than 2"), "{said}");
    ensure!(said.contains("`network.from`"), "{said}");
    let said = check("legs = 2\nfrom = [\"2001:db8::1\"]")?;
    ensure!(said.contains("more than 0"), "an exit of IPv4 is not reached from IPv6: {said}");
    let said = check("legs = 2")?;
    ensure!(said.contains("2 legs of 1 hop"), "two addresses of the exit are two ways: {said}");
    Ok(())
}
