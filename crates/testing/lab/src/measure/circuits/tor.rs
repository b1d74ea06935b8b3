//! A network of C-tor on loopback, in its own mode for tests: three authorities, six relays that are guards and middles, two
//! exits; and its clients.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, ensure};

use super::system::{Costs, System};
use crate::measure::processes::Watched;
use crate::process::{self, Running};
use crate::scratch::{Scratch, free_tcp_address};
use control::Control;

mod control;

const AUTHORITIES: usize = 3;
const RELAYS: usize = 6;
const EXITS: usize = 2;
/// Making one set of keys.
const KEYS_WITHIN: Duration = Duration::from_secs(60);
/// Authorities vote first at a multiple of this, and list only relays that they know by then.
const FIRST_VOTE_S: u64 = 40;
/// How long after a multiple relays may still be started.
const FIRST_VOTE_SLACK_S: u64 = 4;
/// From the start to a consensus that lists all.
const CONSENSUS_WITHIN: Duration = Duration::from_secs(240);
/// From a consensus to relays that have it. They ask at moments that they draw themselves, and now and then one does so late.
const RELAYS_WITHIN: Duration = Duration::from_secs(300);
const CLIENT_WITHIN: Duration = Duration::from_secs(90);
/// A client builds spare circuits for some seconds after it is ready.
const CLIENT_SETTLES: Duration = Duration::from_secs(9);

/// Key pairs of an authority; the passphrase is for a network that ends with this process.
const CERTIFICATE: &str = "echo pw | tor-gencert --create-identity-key -m 12 -a \"$1\" --passphrase-fd 0 \
    -i authority_identity_key -s authority_signing_key -c authority_certificate";

/// A host of the network.
#[derive(Debug)]
struct Host {
    name: String,
    or_port: u16,
    directory_port: u16,
    fingerprint: String,
    running: Option<Running>,
}

/// The running network. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct TorNet {
    hosts: Vec<Host>,
    /// Lines that name the authorities.
    authorities: String,
    folder: Scratch,
}

impl TorNet {
    /// Starts a network whose guards and middles send so many bits a second at most; `None` where tor is not installed.
    pub(super) fn start(rate: Option<u64>, progress: &dyn Fn(&str)) -> anyhow::Result<Option<Self>> {
        let Ok(found) = Command::new("tor").arg("--version").stdin(Stdio::null()).output() else {
            progress("tor is not installed (Debian: tor); nothing is compared");
            return Ok(None);
        };
        let version = String::from_utf8_lossy(&found.stdout).lines().next().unwrap_or_default().to_owned();
        progress(&format!("{version} a network of it takes two minutes to begin"));
        let mut net = Self { hosts: Vec::new(), authorities: String::new(), folder: Scratch::new()? };
        net.make_hosts()?;
        net.make_authorities()?;
        for host in &net.hosts {
            std::fs::write(net.folder.join(&host.name).join("torrc"), net.torrc(host, rate))?;
        }
        wait_for_the_vote()?;
        for index in 0..net.hosts.len() {
            let running = net.run(&net.hosts[index].name)?;
            net.hosts[index].running = Some(running);
        }
        net.wait_until_listed()?;
        Ok(Some(net))
    }

    fn make_hosts(&mut self) -> anyhow::Result<()> {
        let names = (0..AUTHORITIES).map(|n| format!("a{n}")).chain((0..RELAYS).map(|n| format!("r{n}")));
        let names: Vec<String> = names.chain((0..EXITS).map(|n| format!("x{n}"))).collect();
        // Open together, so that none is given out twice.
        let listeners: Vec<TcpListener> =
            (0..2 * names.len()).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect::<Result<_, _>>()?;
        let ports: Vec<u16> =
            listeners.iter().map(|one| one.local_addr().map(|address| address.port())).collect::<Result<_, _>>()?;
        let empty = self.folder.write("empty", "")?;
        for (name, ports) in names.into_iter().zip(ports.chunks_exact(2)) {
            let folder = self.folder.join(&name);
            make_private_folder(&folder.join("keys"))?;
            let mut command = Command::new("tor");
            command.args(["--list-fingerprint", "--quiet", "--ORPort", "1", "--Nickname", &name]);
            command.args(["--DirAuthority", "x 127.0.0.1:1 ffffffffffffffffffffffffffffffffffffffff"]);
            command.arg("--DataDirectory").arg(&folder).arg("-f").arg(&empty).arg("--defaults-torrc").arg(&empty);
            process::run(&mut command, KEYS_WITHIN)?;
            let fingerprint = std::fs::read_to_string(folder.join("fingerprint"))?;
            let fingerprint = fingerprint.split_whitespace().nth(1).context("tor writes no fingerprint")?.to_owned();
            self.hosts.push(Host { name, or_port: ports[0], directory_port: ports[1], fingerprint, running: None });
        }
        Ok(())
    }

    fn make_authorities(&mut self) -> anyhow::Result<()> {
        for host in self.hosts.iter().filter(|host| host.name.starts_with('a')) {
            let keys = self.folder.join(&host.name).join("keys");
            let mut command = Command::new("sh");
            command.args(["-s", &format!("127.0.0.1:{}", host.directory_port)]).current_dir(&keys);
            process::run_script(&mut command, CERTIFICATE, KEYS_WITHIN)?;
            let certificate = std::fs::read_to_string(keys.join("authority_certificate"))?;
            let identity = certificate.lines().find_map(|line| line.strip_prefix("fingerprint "));
            self.authorities += &format!(
                "DirAuthority {} orport={} no-v2 v3ident={} 127.0.0.1:{} {}\n",
                host.name,
                host.or_port,
                identity.context("the certificate has no fingerprint")?,
                host.directory_port,
                host.fingerprint
            );
        }
        Ok(())
    }

    fn fingerprints(&self, first: char) -> String {
        let those = self.hosts.iter().filter(|host| host.name.starts_with(first));
        those.map(|host| host.fingerprint.as_str()).collect::<Vec<_>>().join(",")
    }

    fn common(&self, name: &str) -> String {
        let folder = self.folder.join(name);
        let shown = folder.display();
        format!(
            "TestingTorNetwork 1\nDataDirectory {shown}\nLog notice file {shown}/log\nAssumeReachable 1\n{}",
            self.authorities
        )
    }

    fn torrc(&self, host: &Host, rate: Option<u64>) -> String {
        let Host { name, or_port, directory_port, .. } = host;
        let mut text = self.common(name);
        text += &format!("Nickname {name}\nAddress 127.0.0.1\nORPort 127.0.0.1:{or_port}\nSocksPort 0\n");
        match name.chars().next() {
            Some('a') => {
                let (guards, exits) = (self.fingerprints('r'), self.fingerprints('x'));
                text += &format!(
                    "DirPort 127.0.0.1:{directory_port}\nContactInfo none@example.net\nAuthoritativeDirectory 1\n\
                     V3AuthoritativeDirectory 1\nTestingV3AuthInitialVotingInterval {FIRST_VOTE_S}\n\
                     TestingV3AuthInitialVoteDelay 5\nTestingV3AuthInitialDistDelay 5\nV3AuthVotingInterval 600\n\
                     V3AuthVoteDelay 20\nV3AuthDistDelay 20\nTestingDirAuthVoteGuard {guards}\n\
                     TestingDirAuthVoteGuardIsStrict 1\nTestingDirAuthVoteExit {exits}\n\
                     TestingDirAuthVoteExitIsStrict 1\nTestingMinExitFlagThreshold 0\nTestingMinFastFlagThreshold 0\n\
                     MinMeasuredBWsForAuthToIgnoreAdvertised 0\n\
                     ConsensusParams cfx_enabled=1 cc_alg=2 guard-n-primary-guards=6 guard-n-primary-guards-to-use=2 \
                     circuit_priority_tick_msecs=10 bwauthpid=1\nExitPolicy reject *:*\n"
                );
            }
            Some('x') => {
                text += "NumCPUs 1\nExitRelay 1\nExitPolicy accept *:*\nServerDNSDetectHijacking 0\nServerDNSTestAddresses\n";
            }
            _ => {
                let rate = rate.map_or(String::new(), |rate| {
                    let bytes = rate / 8;
                    format!("BandwidthRate {bytes} bytes\nBandwidthBurst {bytes} bytes\n")
                });
                text += &format!("NumCPUs 1\nExitPolicy reject *:*\n{rate}");
            }
        }
        text
    }

    fn run(&self, name: &str) -> anyhow::Result<Running> {
        let folder = self.folder.join(name);
        let mut command = Command::new("tor");
        command.arg("-f").arg(folder.join("torrc")).arg("--quiet");
        Running::start(&format!("tor {name}"), &mut command, &folder.join("output"))
    }

    fn wait_until_listed(&mut self) -> anyhow::Result<()> {
        let wanted = self.hosts.len();
        let consensus = self.folder.join("a0/cached-microdesc-consensus");
        let listed = || std::fs::read_to_string(&consensus).unwrap_or_default().matches("\nr ").count();
        let first = self.hosts[0].running.as_mut().context("it was started")?;
        first.wait_until("a consensus that lists all relays", CONSENSUS_WITHIN, || listed() >= wanted)?;
        for host in self.hosts.iter_mut().filter(|host| !host.name.starts_with('a')) {
            let log = self.folder.join(&host.name).join("log");
            let running = host.running.as_mut().context("it was started")?;
            running.wait_until("being ready", RELAYS_WITHIN, || is_ready(&log))?;
        }
        Ok(())
    }

    /// Starts a client. With one leg it uses no conflux.
    pub(super) fn client(&self, legs: u8) -> anyhow::Result<TorClient<'_>> {
        let name = format!("client-{legs}");
        let folder = self.folder.join(&name);
        // A client of an earlier round is forgotten, guards and all.
        let _ = std::fs::remove_dir_all(&folder);
        make_private_folder(&folder)?;
        let (proxy, control) = (free_tcp_address()?, folder.join("control"));
        let conflux = if legs > 1 { "ConfluxEnabled 1\nConfluxClientUX throughput\n" } else { "ConfluxEnabled 0\n" };
        let text = format!(
            "{}ClientOnly 1\nSocksPort {proxy}\nControlSocket {}\nCookieAuthentication 0\nMaxCircuitDirtiness 3600\n\
             MiddleNodes {}\nNewCircuitPeriod 5\nLearnCircuitBuildTimeout 0\nCircuitBuildTimeout 60\n{conflux}",
            self.common(&name),
            control.display(),
            self.fingerprints('r'),
        );
        std::fs::write(folder.join("torrc"), text)?;
        let mut running = self.run(&name)?;
        running.wait_until("being ready", CLIENT_WITHIN, || is_ready(&folder.join("log")))?;
        std::thread::sleep(CLIENT_SETTLES);
        Ok(TorClient { net: self, name: format!("C-tor, {legs} {}", legs_in_words(legs)), proxy, control, running })
    }

    /// Kills or stops a host by name.
    pub(super) fn signal(&self, name: &str, signal: rustix::process::Signal) -> anyhow::Result<()> {
        let host = self.hosts.iter().find(|host| host.name == name).context("no host has this name")?;
        host.running.as_ref().context("it was started")?.signal(signal);
        Ok(())
    }
}

fn legs_in_words(legs: u8) -> &'static str {
    if legs == 1 { "circuit" } else { "legs" }
}

/// A running client.
#[derive(Debug)]
pub(super) struct TorClient<'net> {
    net: &'net TorNet,
    name: String,
    proxy: SocketAddr,
    control: PathBuf,
    running: Running,
}

impl TorClient<'_> {
    /// Builds circuits one after another; how long each took.
    pub(super) fn build(&self, count: usize) -> anyhow::Result<Vec<Duration>> {
        Control::open(&self.control)?.build(count)
    }

    /// The guard of the circuit that carries the first open stream; after conflux, of one of its legs.
    pub(super) fn guard_in_use(&self) -> anyhow::Result<String> {
        Control::open(&self.control)?.guard_of_first_stream()
    }
}

impl System for TorClient<'_> {
    fn name(&self) -> &str {
        &self.name
    }

    fn proxy(&self) -> SocketAddr {
        self.proxy
    }

    fn costs(&self) -> anyhow::Result<Costs> {
        let of = |first: char| {
            let hosts = self.net.hosts.iter().filter(|host| host.name.starts_with(first));
            Watched(hosts.filter_map(|host| Some((host.name.clone(), host.running.as_ref()?.pid()))).collect())
        };
        let client = Watched(vec![("client".to_owned(), self.running.pid())]);
        Ok(Costs { client, relays: of('r'), exits: of('x') })
    }
}

fn is_ready(log: &Path) -> bool {
    std::fs::read_to_string(log).is_ok_and(|text| text.contains("Bootstrapped 100%"))
}

fn make_private_folder(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().mode(0o700).recursive(true).create(path)
}

fn wait_for_the_vote() -> anyhow::Result<()> {
    let begun = Instant::now();
    let seconds = || SystemTime::UNIX_EPOCH.elapsed().map(|since| since.as_secs()).unwrap_or_default();
    while seconds() % FIRST_VOTE_S > FIRST_VOTE_SLACK_S {
        ensure!(begun.elapsed() < Duration::from_secs(2 * FIRST_VOTE_S), "the clock stands still");
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}
