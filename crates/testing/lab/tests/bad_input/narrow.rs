//! A path that does not carry packets of P bytes, made of two network namespaces and a cable between them.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::process::Command;

use admin::status::{Severity, Status};
use anyhow::{Context, ensure};
use lab::load::{Service, read_pattern, serve};
use lab::network::Namespace;
use lab::pair::hushwire;
use lab::process::Running;
use lab::scratch::Scratch;

use super::rig::{Outcome, PATIENCE, fresh_keys, private, status, take_turn, wait_until};

/// Bytes that are fetched where the path is wide enough.
const BYTES: u64 = 100_000;
/// Addresses of the two ends of the cable, which exist in the namespaces only.
const ENTRY_IP: &str = "10.231.7.1";
const EXIT_IP: &str = "10.231.7.2";
/// Port of the door, and of the origin at the exit's side.
const DOOR: u16 = 4433;
const ORIGIN: u16 = 8080;

/// Two namespaces and a cable. They go with this value, and the cable with them.
struct Cable {
    ends: [Namespace; 2],
}

impl Cable {
    /// `mtu` of the entry's end and of the exit's.
    fn new(mtu: [u16; 2]) -> anyhow::Result<Self> {
        let ends = [Namespace::new("entry")?, Namespace::new("exit")?];
        let exit = ends[1].name();
        ends[0].set_up(&format!("link add name cable type veth peer name cable netns {exit}\n"))?;
        for ((end, address), mtu) in ends.iter().zip([ENTRY_IP, EXIT_IP]).zip(mtu) {
            end.set_up(&format!("address add {address}/30 dev cable\nlink set cable mtu {mtu} up\n"))?;
        }
        Ok(Self { ends })
    }

    /// A command that runs at the entry's (0) or the exit's side (1).
    fn command(&self, side: usize) -> anyhow::Result<Command> {
        self.ends[side].command(hushwire()?)
    }

    /// A source of the pattern at the exit's side.
    fn start_origin(&self) -> Outcome {
        let listener = self.ends[1].within(|| Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, ORIGIN))?))?;
        std::thread::spawn(move || serve(&listener, Service::Source { bytes: BYTES }));
        Ok(())
    }
}

/// Both nodes at the ends of a cable.
struct Nodes {
    folder: Scratch,
    running: [Running; 2],
    _cable: Cable,
}

impl Nodes {
    fn start(mtu: [u16; 2], shaping: [&str; 2]) -> anyhow::Result<Self> {
        let (folder, cable) = (Scratch::new()?, Cable::new(mtu)?);
        cable.start_origin()?;
        let lines = [fresh_keys(&folder, "entry.keys")?.join("."), fresh_keys(&folder, "exit.keys")?.join(".")];
        let origin = SocketAddr::from((Ipv4Addr::LOCALHOST, ORIGIN));
        let entry = format!(
            "role = \"entry\"\nkey_file = \"entry.keys\"\npeer = \"hushwire:{}@{EXIT_IP}:{DOOR}\"\n[shaping]\n{}\n\
             [[listen]]\nkind = \"forward\"\nunix = \"forward\"\nto = \"{origin}\"\n",
            lines[1], shaping[0]
        );
        let exit = format!(
            "role = \"exit\"\nkey_file = \"exit.keys\"\npeers = [\"hushwire:{}\"]\n[network]\nbind = \"0.0.0.0:{DOOR}\"\n\
             public_address = \"{EXIT_IP}:{DOOR}\"\n[shaping]\n{}\n[exit_policy]\nrules = [\"allow 127.0.0.0/8\"]\n",
            lines[0], shaping[1]
        );
        let start = |side: usize, role: &str, text: &str| {
            let config = private(&folder, &format!("{role}.toml"), text)?;
            let mut command = cable.command(side)?;
            command.arg(role).arg("--config").arg(config);
            Running::start(role, &mut command, &folder.join(&format!("{role}.log")))
        };
        let running = [start(0, "entry", &entry)?, start(1, "exit", &exit)?];
        Ok(Self { folder, running, _cable: cable })
    }

    fn entry(&self) -> anyhow::Result<Status> {
        status(&self.folder, "entry")
    }

    fn entry_log(&self) -> anyhow::Result<String> {
        Ok(std::fs::read_to_string(self.folder.join("entry.log"))?)
    }

    fn fetch(&self) -> Outcome {
        let mut stream = UnixStream::connect(self.folder.join("forward"))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        ensure!(read_pattern(&mut stream)? == BYTES, "not all bytes came");
        Ok(())
    }

    fn check(&mut self) -> Outcome {
        self.running.iter_mut().try_for_each(Running::check)
    }
}

/// Both modes, as the entry's and the exit's configuration have them.
const MODES: [[&str; 2]; 2] = [
    ["mode = \"constant\"\nup = \"2 Mbit/s\"\ndown = \"2 Mbit/s\"", "mode = \"constant\""],
    ["mode = \"off\"", "mode = \"off\""],
];

#[test]
fn a_path_too_narrow_is_one_sentence_and_one_just_wide_enough_works() -> Outcome {
    let _turn = take_turn();
    for shaping in MODES {
        let mut narrow = Nodes::start([1300, 1300], shaping)?;
        let sentence = "the path does not carry packets of 1350 bytes";
        wait_until(sentence, || Ok(narrow.entry_log()?.contains(sentence)))?;
        let status = narrow.entry()?;
        let told = status.warnings.iter().find(|warning| warning.sentence.contains(sentence));
        let told = told.with_context(|| format!("{:?}", status.warnings))?;
        assert_eq!(told.severity, Severity::Alarm);
        assert!(told.sentence.contains("MTU below 1378 (IPv4) or 1398 (IPv6)"), "{}", told.sentence);
        assert!(status.counters.drops["path too narrow"] > 0, "{:?}", status.counters.drops);
        narrow.check()?;
        let lines = narrow.entry_log()?.lines().filter(|line| line.contains(sentence)).count();
        assert_eq!(lines, 1, "{}", narrow.entry_log()?);
        drop(narrow);

        let mut wide = Nodes::start([1400, 1400], shaping)?;
        wait_until("a fetch", || Ok(wide.fetch().is_ok()))?;
        assert!(wide.entry()?.warnings.iter().all(|warning| !warning.sentence.contains(sentence)));
        wide.check()?;
    }
    Ok(())
}

#[test]
fn a_path_that_is_narrow_far_away_is_among_the_causes_of_silence() -> Outcome {
    let _turn = take_turn();
    // Packets leave and are dropped by the other end, which tells nobody.
    let mut nodes = Nodes::start([1500, 1300], MODES[1])?;
    let sentence = "several handshakes had no answer";
    wait_until(sentence, || Ok(nodes.entry_log()?.contains(sentence)))?;
    let log = nodes.entry_log()?;
    assert!(log.contains("that the path carries the packet size"), "{log}");
    let warnings = nodes.entry()?.warnings;
    assert!(
        warnings.iter().any(|warning| warning.sentence.contains("the path does not carry UDP packets")),
        "{warnings:?}"
    );
    nodes.check()
}
