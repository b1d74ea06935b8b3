//! Ends in threads, targets that echo, programs that ask.

use std::error::Error;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hop_proxy::{Client, ClientSettings, Common, Counters, Handle, Server, ServerSettings, Status};
use identity::HopKey;
use port_hopping::causes::{ByteBudget, Timers, UnsafeTimers};

pub(crate) type Outcome = Result<(), Box<dyn Error>>;

/// How long a test waits for what must happen. Far longer than it takes: the machine may be busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

static HOSTS: AtomicU8 = AtomicU8::new(1);

/// An address of the loopback that no other test has, and no other process either: a test may run in one of its own beside others.
pub(crate) fn own_host() -> IpAddr {
    let [.., high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, low | 0x80, high, HOSTS.fetch_add(1, Ordering::Relaxed)).into()
}

pub(crate) fn common() -> Common {
    Common::default()
}

pub(crate) fn keyed_common() -> Common {
    Common { key: Some(HopKey::from_bytes([42; 32])), ..Common::default() }
}

/// Hops after times that no operator would choose.
pub(crate) fn every(interval: &str) -> Timers {
    Timers::below_floor(interval.parse().expect("an interval"), ByteBudget::DEFAULT, UnsafeTimers)
}

/// An end in a thread of its own.
pub(crate) struct Running {
    handle: Handle,
    thread: Option<JoinHandle<io::Result<()>>>,
    pub(crate) addresses: Vec<SocketAddr>,
}

impl Running {
    pub(crate) fn server(
        host: IpAddr,
        ports: &str,
        target: SocketAddr,
        common: Common,
    ) -> Result<Self, Box<dyn Error>> {
        let settings =
            ServerSettings { listen: vec![host], ports: ports.parse()?, targets: vec![target.into()], common };
        let server = Server::new(settings)?;
        let (handle, addresses) = (server.handle(), server.local_addresses());
        Ok(Self { handle, addresses, thread: Some(std::thread::spawn(move || server.run())) })
    }

    pub(crate) fn client(servers: &[String], timers: Timers, common: Common) -> Result<Self, Box<dyn Error>> {
        let servers = servers.iter().map(|server| server.parse()).collect::<Result<_, _>>()?;
        let listen = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))];
        let client = Client::new(ClientSettings { listen, servers, timers, common })?;
        let (handle, addresses) = (client.handle(), client.local_addresses());
        Ok(Self { handle, addresses, thread: Some(std::thread::spawn(move || client.run())) })
    }

    /// The address that programs send to.
    pub(crate) fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    pub(crate) fn counters(&self) -> Counters {
        self.handle.counters()
    }

    pub(crate) fn handle(&self) -> Handle {
        self.handle.clone()
    }

    pub(crate) fn status(&self) -> Result<Status, &'static str> {
        self.handle.status(PATIENCE).ok_or("an end that runs tells its state")
    }

    /// Waits until the counters are as they must become.
    pub(crate) fn wait_for(&self, what: impl Fn(&Counters) -> bool) -> Counters {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let counters = self.counters();
            if what(&counters) {
                return counters;
            }
            assert!(Instant::now() < deadline, "it never happens: {counters}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.handle.stop();
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            if !std::thread::panicking() {
                assert!(matches!(ended, Ok(Ok(()))), "the loop ended by itself: {ended:?}");
            }
        }
    }
}

/// Sends everything back to where it came from, and remembers who that was.
pub(crate) struct Echo {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<SocketAddr>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Echo {
    pub(crate) fn start() -> io::Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        Self::on(socket)
    }

    pub(crate) fn on(socket: UdpSocket) -> io::Result<Self> {
        socket.set_read_timeout(Some(Duration::from_millis(20)))?;
        let address = socket.local_addr()?;
        let (seen, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let thread = std::thread::spawn({
            let (seen, stop) = (Arc::clone(&seen), Arc::clone(&stop));
            move || {
                let mut buffer = vec![0; 1 << 16];
                while !stop.load(Ordering::Relaxed) {
                    let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
                    let mut seen: std::sync::MutexGuard<'_, Vec<SocketAddr>> =
                        seen.lock().unwrap_or_else(PoisonError::into_inner);
                    if !seen.contains(&from) {
                        seen.push(from);
                    }
                    drop(seen);
                    let _ = socket.send_to(&buffer[..length], from);
                }
            }
        });
        Ok(Self { address, seen, stop, thread: Some(thread) })
    }

    /// Everybody that it heard from, in order.
    pub(crate) fn seen(&self) -> Vec<SocketAddr> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A program that asks the client.
pub(crate) struct Program {
    pub(crate) socket: UdpSocket,
    number: u64,
}

impl Program {
    pub(crate) fn new(to: SocketAddr) -> io::Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.connect(to)?;
        Ok(Self { socket, number: 0 })
    }

    /// Sends one datagram of a few bytes and waits for exactly that to come back; false if it does not.
    pub(crate) fn ask(&mut self, patience: Duration) -> io::Result<bool> {
        self.number += 1;
        let question = self.number.to_be_bytes();
        self.ask_bytes(&question, patience)
    }

    pub(crate) fn ask_bytes(&self, question: &[u8], patience: Duration) -> io::Result<bool> {
        let sent = self.socket.send(question);
        if let Err(error) = sent
            && error.kind() != io::ErrorKind::ConnectionRefused
        {
            return Err(error);
        }
        let deadline = Instant::now() + patience;
        let mut buffer = vec![0; 1 << 16];
        while let Some(left) = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            self.socket.set_read_timeout(Some(left))?;
            match self.socket.recv(&mut buffer) {
                Ok(length) if buffer[..length] == *question => return Ok(true),
                // A late answer to an earlier question, or silence.
                Ok(_) | Err(_) => {}
            }
        }
        Ok(false)
    }

    /// Asks until an answer comes; how often it took.
    pub(crate) fn ask_until_answered(&mut self) -> io::Result<u32> {
        let deadline = Instant::now() + PATIENCE;
        let mut tries = 1;
        while !self.ask(Duration::from_millis(300))? {
            assert!(Instant::now() < deadline, "no answer in {PATIENCE:?}");
            tries += 1;
        }
        Ok(tries)
    }
}

/// Number of hops for any cause.
pub(crate) fn hops(counters: &Counters) -> u64 {
    counters.hops.values().sum()
}
