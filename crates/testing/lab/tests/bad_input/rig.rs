//! A good pair with something to fetch, and entries that an exit is to refuse.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

use admin::status::Status;
use anyhow::{Context, ensure};
use lab::load::{Service, read_pattern, start};
use lab::pair::{Mode, Pair, PairConfig, Role, hushwire};
use lab::process::{self, Running};
use lab::recording::Limits;
use lab::relay::{Relay, RelayConfig};
use lab::scratch::Scratch;
use lab::turns::{Turn, Turns};

pub(crate) type Outcome = anyhow::Result<()>;

/// P, the size of every packet.
pub(crate) const PACKET: usize = 1350;
/// Bytes of one fetch: a tenth of a second at 2 Mbit/s.
const FETCHED: u64 = 25_000;
/// How long anything may take that is to happen, on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// A status is at most this old: processes report once a second.
const SETTLED: Duration = Duration::from_millis(1_500);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Two of these tests with nodes at a time, at slow rates: each looks at rates and counts of its own, and waits most of the time.
pub(crate) fn take_turn() -> Turn {
    static TURNS: Turns = Turns::new(2);
    TURNS.take()
}

#[expect(clippy::print_stderr, reason = "figures, shown with --nocapture")]
pub(crate) fn say(line: &str) {
    eprintln!("{line}");
}

/// Waits until something holds; on failure says what did not.
pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> anyhow::Result<bool>) -> Outcome {
    let deadline = Instant::now() + PATIENCE;
    while !holds()? {
        ensure!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(())
}

/// A pair that works, and must go on doing so.
pub(crate) struct GoodPair {
    pub(crate) pair: Pair,
    origin: SocketAddr,
}

impl GoodPair {
    /// A pair with a relay that keeps every byte.
    pub(crate) fn recorded(rate: &str) -> anyhow::Result<Self> {
        let limits = Limits { bytes_each: PACKET, ..Limits::default() };
        let relay = RelayConfig::to(([127, 0, 0, 1], 0).into()).with_limits(limits);
        Self::with(PairConfig::new(Mode::constant(rate)).with_relay(relay))
    }

    pub(crate) fn with(config: PairConfig) -> anyhow::Result<Self> {
        let good = Self { pair: Pair::start(config)?, origin: start(Service::Source { bytes: FETCHED })? };
        good.fetch()?;
        Ok(good)
    }

    /// A pair whose proxy waits so long for requests.
    pub(crate) fn with_request_timeout(config: PairConfig, seconds: u64) -> anyhow::Result<Self> {
        let mut good = Self::with(config)?;
        let file = good.pair.folder().join("entry.toml");
        let text = std::fs::read_to_string(&file)?;
        // Before the first list of tables, which is the listeners'.
        let (before, listeners) = text.split_once("\n[[listen]]").context("the entry listens")?;
        std::fs::write(&file, format!("{before}\n[limits]\nhandshake_timeout_s = {seconds}\n\n[[listen]]{listeners}"))?;
        good.pair.take_node(Role::Entry).context("the entry runs")?.stop()?;
        good.pair.start_node(Role::Entry)?;
        good.pair.wait_until_up()?;
        wait_until("the pair works again", || Ok(good.fetch().is_ok()))?;
        Ok(good)
    }

    /// One fetch through the pair, every byte compared.
    pub(crate) fn fetch(&self) -> Outcome {
        fetch(self.pair.proxy(), self.origin, FETCHED).context("the good pair stopped working")
    }

    pub(crate) fn relay(&self) -> anyhow::Result<&Relay> {
        self.pair.relay().context("the pair has a relay")
    }

    /// Where the exit's socket is bound, behind the relay.
    pub(crate) fn door(&self) -> anyhow::Result<SocketAddr> {
        let config = std::fs::read_to_string(self.pair.folder().join("exit.toml"))?;
        let bound = config.lines().find_map(|line| line.strip_prefix("bind = \"")?.strip_suffix('"'));
        Ok(bound.context("the exit's configuration has an address")?.parse()?)
    }

    /// The exit's line in the entry's configuration, as node id, link key, door key.
    pub(crate) fn exit_line(&self) -> anyhow::Result<[String; 3]> {
        let config = std::fs::read_to_string(self.pair.folder().join("entry.toml"))?;
        let line = config.lines().find_map(|line| line.strip_prefix("peer = \"hushwire:")?.strip_suffix('"'));
        parts(line.context("the entry's configuration has a peer")?)
    }

    pub(crate) fn log(&self, role: Role) -> anyhow::Result<String> {
        Ok(std::fs::read_to_string(self.pair.folder().join(format!("{}.log", role.name())))?)
    }

    /// How often a node refused something for this reason.
    pub(crate) fn count(&self, role: Role, reason: &str) -> anyhow::Result<u64> {
        Ok(count(&self.pair.status(role)?, reason))
    }

    /// The same when everything sent so far is counted.
    pub(crate) fn settled(&self, role: Role, reason: &str) -> anyhow::Result<u64> {
        std::thread::sleep(SETTLED);
        self.count(role, reason)
    }

    /// Waits until a node has refused so much for this reason.
    pub(crate) fn wait_for(&self, role: Role, reason: &str, at_least: u64) -> Outcome {
        let result = wait_until(&format!("{at_least} x {reason:?}"), || Ok(self.count(role, reason)? >= at_least));
        result.with_context(|| format!("{:?}", self.pair.status(role).map(|status| status.counters.drops)))
    }

    /// Waits for a line of a node's log with these words.
    pub(crate) fn wait_for_log(&self, role: Role, words: &str) -> Outcome {
        wait_until(&format!("{words:?} in the log"), || Ok(self.log(role)?.contains(words)))
    }
}

pub(crate) fn count(status: &Status, reason: &str) -> u64 {
    status.counters.drops.get(reason).copied().unwrap_or(0)
}

/// Node id, link key and door key of a peer string without its scheme; an address is left out.
pub(crate) fn parts(line: &str) -> anyhow::Result<[String; 3]> {
    let keys = line.split('@').next().unwrap_or(line);
    let keys: Vec<String> = keys.split('.').map(str::to_owned).collect();
    keys.try_into().ok().context("a peer string has three keys")
}

/// Fetches the pattern of a source through an HTTP proxy.
pub(crate) fn fetch(proxy: SocketAddr, origin: SocketAddr, bytes: u64) -> Outcome {
    let mut stream = TcpStream::connect(proxy)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "CONNECT {origin} HTTP/1.1\r\nHost: {origin}\r\n\r\n")?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).context("the proxy gave no answer")?;
        head.push(byte[0]);
    }
    ensure!(head.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&head));
    stream.shutdown(Shutdown::Write)?;
    let read = read_pattern(&mut stream)?;
    ensure!(read == bytes, "{read} of {bytes} bytes came");
    Ok(())
}

/// An entry with something wrong about it. A relay of its own shows every byte that it sends and gets.
pub(crate) struct WrongEntry {
    pub(crate) relay: Relay,
    pub(crate) node: Running,
    folder: Scratch,
}

impl WrongEntry {
    /// An entry with fresh keys that dials `exit` under these keys of its.
    pub(crate) fn start(exit: SocketAddr, [node_id, link_key, door_key]: &[String; 3]) -> anyhow::Result<Self> {
        let (folder, relay) = (Scratch::new()?, Relay::start(RelayConfig::to(exit))?);
        fresh_keys(&folder, "entry.keys")?;
        let (to, proxy) = (relay.address(), lab::scratch::free_tcp_address()?);
        let config = format!(
            "role = \"entry\"\nkey_file = \"entry.keys\"\npeer = \"hushwire:{node_id}.{link_key}.{door_key}@{to}\"\n\
             [network]\nbind = \"127.0.0.1:0\"\n[shaping]\nmode = \"off\"\n\
             [[listen]]\nkind = \"proxy\"\naddress = \"{proxy}\"\n"
        );
        let config = private(&folder, "entry.toml", &config)?;
        let mut command = Command::new(hushwire()?);
        command.args(["entry", "--config"]).arg(config);
        let node = Running::start("wrong entry", &mut command, &folder.join("entry.log"))?;
        Ok(Self { relay, node, folder })
    }

    pub(crate) fn log(&self) -> anyhow::Result<String> {
        Ok(std::fs::read_to_string(self.folder.join("entry.log"))?)
    }

    pub(crate) fn status(&self) -> anyhow::Result<Status> {
        status(&self.folder, "entry")
    }
}

/// Makes a key file and returns the three keys of its line.
pub(crate) fn fresh_keys(folder: &Scratch, name: &str) -> anyhow::Result<[String; 3]> {
    let file = folder.join(name);
    process::run(Command::new(hushwire()?).args(["keys", "new"]).arg(&file), PATIENCE)?;
    let shown = process::run(Command::new(hushwire()?).args(["keys", "show"]).arg(&file), PATIENCE)?;
    let shown = String::from_utf8(shown.stdout)?;
    parts(shown.lines().find_map(|line| line.strip_prefix("hushwire:")).context("a line with keys")?)
}

/// Writes a file with mode 0600.
pub(crate) fn private(folder: &Scratch, name: &str, text: &str) -> anyhow::Result<std::path::PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let path = folder.write(name, text)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    Ok(path)
}

/// What a node says whose admin socket lies in this folder.
pub(crate) fn status(folder: &Scratch, name: &str) -> anyhow::Result<Status> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(admin::client::status(&folder.join(&format!("{name}.admin"))))?)
}

/// A socket on loopback of somebody who is nobody.
pub(crate) fn stranger() -> anyhow::Result<UdpSocket> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Packets that came to a socket.
pub(crate) fn answers(socket: &UdpSocket) -> usize {
    let mut buffer = [0; 2048];
    // Errors are "nothing there", and ports that are closed.
    std::iter::from_fn(|| socket.recv(&mut buffer).ok()).count()
}

/// Bytes without a pattern, the same in every run with the same seed.
pub(crate) struct Noise(u64);

impl Noise {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        for piece in bytes.chunks_mut(8) {
            // xorshift64* (Vigna 2016).
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            let word = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes();
            piece.copy_from_slice(&word[..piece.len()]);
        }
    }

    pub(crate) fn packet(&mut self, length: usize) -> Vec<u8> {
        let mut packet = vec![0; length];
        self.fill(&mut packet);
        packet
    }
}
