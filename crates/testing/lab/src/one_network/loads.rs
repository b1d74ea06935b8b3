//! Programs that people use, busy through an entry's proxy until they are told to stop: one ssh session, one connection to redis, one
//! curl after another, one long download after another. Each compares everything that comes back, and notes its longest wait.

use std::fs::File;
use std::io::BufReader;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::dialogue::Dialogue;
use crate::load::{self, Service, pattern, read_pattern};
use crate::process::{self, Running};
use crate::programs;
use crate::scratch::{Scratch, free_tcp_address};
use crate::servers::{self, Nginx, Server};
use crate::socks::{self, Place};

/// How long anything may take to come. A flow that is not served for so long has failed.
pub const SILENCE: Duration = Duration::from_secs(60);
/// Bytes that each curl fetches.
pub const OBJECT: u64 = 60_000;
/// Bytes of the page of a service.
pub const PAGE: u64 = 1_000;
/// Bytes of a line of ssh and of a value of redis.
const LINE: usize = 600;
/// Between an answer and the next question.
const PAUSE: Duration = Duration::from_millis(150);
/// How long one curl may run.
const CURL_WITHIN: Duration = Duration::from_secs(90);

/// The servers at the other end, none of them ours but the one of long downloads.
#[derive(Debug)]
pub struct Servers {
    nginx: Nginx,
    sshd: Server,
    redis: Server,
    /// Sends the pattern of [`load::pattern`] without end.
    pub source: SocketAddr,
    /// Bytes of the long download from the web server.
    bulk: u64,
    /// Last, so that it goes after the processes.
    folder: Scratch,
}

impl Servers {
    /// Starts all of them. `bulk`: bytes of the long download from the web server.
    ///
    /// # Errors
    /// When a program is missing or does not start.
    pub fn start(bulk: u64) -> anyhow::Result<Self> {
        let folder = Scratch::new()?;
        let nginx = Nginx::start()?;
        for (name, bytes) in [("object", OBJECT), ("page", PAGE), ("bulk", bulk)] {
            nginx.publish(name, bytes)?;
        }
        let (sshd, redis) = (servers::sshd(&folder)?, servers::redis(&folder)?);
        let source = load::start(Service::Source { bytes: u64::MAX })?;
        Ok(Self { nginx, sshd, redis, source, bulk, folder })
    }

    /// The web server.
    pub fn web(&self) -> SocketAddr {
        self.nginx.http.address
    }

    /// The ports that exits have to allow.
    pub fn ports(&self) -> Vec<u16> {
        let servers = [self.nginx.http.address, self.sshd.address, self.redis.address, self.source];
        servers.map(|address| address.port()).to_vec()
    }
}

/// What came of one load.
#[derive(Debug, Clone)]
pub struct Carried {
    /// Which program, through which proxy.
    pub what: String,
    /// Answers, objects or downloads, all of them compared.
    pub answers: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// The longest that one answer took, or one object, or that a download stood still.
    pub longest: Duration,
    /// How long each took, as `longest` has it.
    pub waits: Vec<Duration>,
}

impl Carried {
    fn new(what: String) -> Self {
        Self { what, answers: 0, bytes: 0, longest: Duration::ZERO, waits: Vec::new() }
    }

    fn note(&mut self, bytes: usize, waited: Duration) {
        self.answers += 1;
        self.bytes += bytes as u64;
        self.longest = self.longest.max(waited);
        self.waits.push(waited);
    }
}

/// Loads that run.
#[derive(Debug)]
pub struct Loads {
    stop: Arc<AtomicBool>,
    threads: Vec<(String, JoinHandle<anyhow::Result<Carried>>)>,
    downloads: Arc<AtomicU64>,
    /// Bytes that came of the long download from a service.
    visited: Arc<AtomicU64>,
}

impl Loads {
    /// Nothing yet.
    pub fn new() -> Self {
        Self { stop: Arc::default(), threads: Vec::new(), downloads: Arc::default(), visited: Arc::default() }
    }

    /// Starts ssh, redis and curl through a proxy; `name` is how the report calls it.
    ///
    /// # Errors
    /// When a program is missing or cannot be started.
    pub fn start_programs(&mut self, servers: &Servers, name: &str, proxy: SocketAddr) -> anyhow::Result<()> {
        let file = |what: &str| servers.folder.join(&format!("{name}.{what}"));
        let command = ssh(&servers.folder, proxy, servers.sshd.address)?;
        let errors = file("ssh");
        self.spawn("ssh", name, move |stop, carried| ssh_session(command, &errors, &stop, carried));
        let (forward, server) = Forward::start(proxy, servers.redis.address, &file("socat"))?;
        let errors = file("redis");
        self.spawn("redis", name, move |stop, carried| {
            redis_session(forward.address, &errors, &stop, carried)?;
            drop(server);
            Ok(())
        });
        let (url, object) = (format!("http://{}/object", servers.web()), file("object"));
        self.spawn("curl", name, move |stop, carried| curls(proxy, (&url, OBJECT), &object, &stop, carried));
        Ok(())
    }

    /// Starts what people do at a service: one curl of its page after another and, beside them, a long download over one connection, which
    /// is ended when all are told to stop.
    pub fn start_visits(&mut self, servers: &Servers, name: &str, proxy: SocketAddr, service: &Place) {
        let (url, object) = (format!("http://{}/page", service.host()), servers.folder.join(&format!("{name}.page")));
        self.spawn("curl of the service", name, move |stop, carried| {
            curls(proxy, (&url, PAGE), &object, &stop, carried)
        });
        let (service, bulk, visited) = (service.clone(), servers.bulk, Arc::clone(&self.visited));
        self.spawn("download from the service", name, move |stop, carried| {
            while !stop.load(Ordering::Relaxed) {
                let go_on = |read| {
                    visited.fetch_max(read, Ordering::Relaxed);
                    !stop.load(Ordering::Relaxed)
                };
                let transfer = socks::get(proxy, service.clone(), "bulk", bulk, SILENCE, go_on)?;
                carried.note(usize::try_from(transfer.bytes)?, transfer.longest_stall.max(transfer.first_byte));
            }
            Ok(())
        });
    }

    /// Starts downloads of so many bytes, one after another, each over one connection; not more than `most`.
    pub fn start_downloads(&mut self, servers: &Servers, name: &str, proxy: SocketAddr, bytes: u64, most: u64) {
        let (source, count) = (servers.source, Arc::clone(&self.downloads));
        self.spawn("download", name, move |stop, carried| {
            while !stop.load(Ordering::Relaxed) {
                if carried.answers < most {
                    let transfer = socks::download(proxy, source, bytes, SILENCE, |_| {})?;
                    carried.note(usize::try_from(bytes)?, transfer.longest_stall.max(transfer.first_byte));
                    count.fetch_add(1, Ordering::Relaxed);
                } else {
                    std::thread::sleep(PAUSE);
                }
            }
            Ok(())
        });
    }

    /// The most bytes that came of one long download from a service.
    pub fn visited(&self) -> u64 {
        self.visited.load(Ordering::Relaxed)
    }

    /// Downloads that have ended, to the last byte.
    pub fn downloads(&self) -> u64 {
        self.downloads.load(Ordering::Relaxed)
    }

    /// Fails with the reason when one has ended, which none does by itself.
    ///
    /// # Errors
    /// What stopped the load.
    pub fn check(&mut self) -> anyhow::Result<()> {
        match self.threads.iter().position(|(_, thread)| thread.is_finished()) {
            None => Ok(()),
            Some(ended) => {
                let (what, thread) = self.threads.swap_remove(ended);
                joined(what.clone(), thread)?;
                anyhow::bail!("{what} has ended by itself")
            }
        }
    }

    /// Tells all to stop after what they are at, and waits.
    ///
    /// # Errors
    /// When one of them was not served, was reset, or got other bytes than were sent.
    pub fn stop(mut self) -> anyhow::Result<Vec<Carried>> {
        self.stop.store(true, Ordering::Relaxed);
        std::mem::take(&mut self.threads).into_iter().map(|(what, thread)| joined(what, thread)).collect()
    }

    fn spawn<F>(&mut self, program: &str, name: &str, work: F)
    where
        F: FnOnce(Arc<AtomicBool>, &mut Carried) -> anyhow::Result<()> + Send + 'static,
    {
        let (what, stop) = (format!("{program} through {name}"), Arc::clone(&self.stop));
        let mut carried = Carried::new(what.clone());
        let thread = std::thread::spawn(move || work(stop, &mut carried).map(|()| carried));
        self.threads.push((what, thread));
    }
}

impl Default for Loads {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Loads {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn joined(what: String, thread: JoinHandle<anyhow::Result<Carried>>) -> anyhow::Result<Carried> {
    thread.join().map_err(|_| anyhow::anyhow!("{what} panicked"))?.context(what)
}

/// ssh as people use it behind a proxy. It runs `cat` over there.
fn ssh(folder: &Scratch, proxy: SocketAddr, to: SocketAddr) -> anyhow::Result<Command> {
    let through =
        format!("{} - PROXY:{}:%h:%p,proxyport={}", programs::find("socat")?.display(), proxy.ip(), proxy.port());
    let mut command = Command::new(programs::find("ssh")?);
    command.args(["-T", "-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "LogLevel=ERROR"]);
    // Two clients that write one file at a time could spoil it.
    command.args(["-o", "UserKnownHostsFile=/dev/null", "-o"]).arg(format!("ProxyCommand={through}"));
    command.arg("-i").arg(folder.join("client_key"));
    command.args(["-p", &to.port().to_string(), &to.ip().to_string(), "cat"]);
    Ok(command)
}

/// Letters of the pattern from this place on.
fn letters(from: u64) -> String {
    (from..from + LINE as u64).map(|index| char::from(b'a' + pattern(index) % 26)).collect()
}

fn ssh_session(mut ssh: Command, errors: &Path, stop: &AtomicBool, carried: &mut Carried) -> anyhow::Result<()> {
    let mut session = Dialogue::start(&mut ssh, errors, SILENCE)?;
    while !stop.load(Ordering::Relaxed) {
        let line = letters(carried.bytes);
        let (answer, waited) = session.ask(&line)?;
        ensure!(answer == line, "line {} came back as {answer}", carried.answers);
        // The first answer is behind the handshakes of both.
        carried.note(answer.len(), waited);
        std::thread::sleep(PAUSE);
    }
    session.end()
}

/// A port of this machine that leads through a proxy, for programs that know none.
struct Forward {
    address: SocketAddr,
}

impl Forward {
    fn start(proxy: SocketAddr, to: SocketAddr, log: &Path) -> anyhow::Result<(Self, Running)> {
        let address = free_tcp_address()?;
        let mut command = Command::new(programs::find("socat")?);
        command.arg(format!("TCP-LISTEN:{},bind={},reuseaddr,fork", address.port(), address.ip()));
        command.arg(format!("PROXY:{}:{}:{},proxyport={}", proxy.ip(), to.ip(), to.port(), proxy.port()));
        let mut running = Running::start("socat", &mut command, log)?;
        // Its first connection is this question.
        running.wait_until("listening", SILENCE, || TcpStream::connect(address).is_ok())?;
        Ok((Self { address }, running))
    }
}

fn redis_session(at: SocketAddr, errors: &Path, stop: &AtomicBool, carried: &mut Carried) -> anyhow::Result<()> {
    let mut command = Command::new(programs::find("redis-cli")?);
    command.args(["-h", &at.ip().to_string(), "-p", &at.port().to_string()]);
    let mut session = Dialogue::start(&mut command, errors, SILENCE)?;
    let (connection, _) = session.ask("CLIENT ID")?;
    ensure!(connection.parse::<u64>().is_ok(), "redis says {connection}");
    while !stop.load(Ordering::Relaxed) {
        let (key, value) = (format!("key:{}", carried.answers % 50), letters(carried.bytes));
        let (stored, waited) = session.ask(&format!("SET {}:{key} {value}", at.port()))?;
        ensure!(stored == "OK", "SET is answered with {stored}");
        let (found, again) = session.ask(&format!("GET {}:{key}", at.port()))?;
        ensure!(found == value, "{key} came back as {found}");
        carried.note(value.len(), waited.max(again));
        std::thread::sleep(PAUSE);
    }
    // The client would connect again without a word.
    let (same, _) = session.ask("CLIENT ID")?;
    ensure!(same == connection, "connection {connection} has become {same}");
    session.end()
}

fn curls(
    proxy: SocketAddr,
    (url, bytes): (&str, u64),
    object: &Path,
    stop: &AtomicBool,
    carried: &mut Carried,
) -> anyhow::Result<()> {
    while !stop.load(Ordering::Relaxed) {
        let begun = Instant::now();
        fetch(proxy, url, object)?;
        let found = read_pattern(&mut BufReader::new(File::open(object)?))?;
        ensure!(found == bytes, "{found} bytes of {bytes}");
        carried.note(usize::try_from(bytes)?, begun.elapsed());
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

/// Fetches an address with curl by SOCKS5, names resolved at the other end.
///
/// # Errors
/// When curl fails, with what it says.
pub fn fetch(proxy: SocketAddr, url: &str, into: &Path) -> anyhow::Result<()> {
    let mut command = Command::new(programs::find("curl")?);
    command.args(["--silent", "--show-error", "--fail", "--noproxy", "", "--proxy", &format!("socks5h://{proxy}")]);
    process::run(command.arg(url).arg("--output").arg(into), CURL_WITHIN)?;
    Ok(())
}
