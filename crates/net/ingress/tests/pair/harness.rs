//! An entry's and an exit's unshaped process, each in a thread, joined by the smallest tunnel.

use super::tunnel;
use flow_queue::{Geometry, QueueSide, Segments, Side};
use ingress::{ForwardTo, Limits, Listener, Login, RunError, Service, SocketKind};
use os_net::process_channel::{Channel, FromProcess, ToProcess};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A test that takes longer than this for one step has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// What a pair is made with.
#[derive(Clone)]
pub(crate) struct Setup {
    pub(crate) max_flows: u16,
    pub(crate) queue_size: u32,
    pub(crate) policy: Vec<String>,
    pub(crate) limits: Limits,
    pub(crate) connect_timeout_ms: u64,
    pub(crate) datagram_idle_ms: u64,
    pub(crate) forward: Option<SocketAddr>,
    pub(crate) unix: Option<PathBuf>,
    /// Where the entry listens for directory streams.
    pub(crate) directory_listener: Option<PathBuf>,
    /// The service of the exit.
    pub(crate) directory: Option<PathBuf>,
    pub(crate) logins: Vec<Login>,
    pub(crate) login_required: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            max_flows: 64,
            queue_size: 64 << 10,
            policy: vec!["allow 127.0.0.0/8".to_owned(), "allow [::1]".to_owned()],
            limits: Limits::default(),
            connect_timeout_ms: 10_000,
            datagram_idle_ms: 60_000,
            forward: None,
            unix: None,
            directory_listener: None,
            directory: None,
            logins: Vec::new(),
            login_required: false,
        }
    }
}

/// A process in a thread, seen by its supervisor.
pub(crate) struct Process {
    pub(crate) channel: Option<Channel>,
    thread: JoinHandle<Result<(), RunError>>,
}

impl Process {
    /// Waits for the first message that `pick` makes something of.
    pub(crate) fn wait_for<T>(&self, what: &str, mut pick: impl FnMut(FromProcess) -> Option<T>) -> T {
        let channel = self.channel.as_ref().expect("the channel is open");
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let received = channel.receive(Some(left)).expect("the process lives");
            let message = received.unwrap_or_else(|| panic!("no {what} in time")).message;
            if let Some(picked) = pick(message) {
                return picked;
            }
        }
    }

    /// Waits for a status in which `holds`.
    pub(crate) fn wait_status(&self, what: &str, holds: impl Fn(&serde_json::Value) -> bool) {
        self.wait_for(what, |message| match message {
            FromProcess::Status { body } if holds(&body) => Some(()),
            _ => None,
        });
    }

    pub(crate) fn send(&self, message: &ToProcess, fds: &[OwnedFd]) {
        let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        self.channel.as_ref().expect("the channel is open").send(message, &fds).expect("there is room");
    }

    /// The end of the process.
    pub(crate) fn end(self) -> Result<(), RunError> {
        drop(self.channel);
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

/// The tunnel in its thread.
struct Joined {
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Joined {
    fn start(entry: QueueSide, exit: QueueSide) -> Self {
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(tunnel::join(entry, exit, stopped));
        });
        Self { stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Joined {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(ended.is_none_or(|ended| ended.is_ok()) || std::thread::panicking(), "the tunnel failed");
    }
}

/// The whole pair.
pub(crate) struct Pair {
    pub(crate) entry: Process,
    pub(crate) exit: Process,
    pub(crate) proxy: SocketAddr,
    pub(crate) forward: Option<SocketAddr>,
    geometry: Geometry,
    tunnel: Option<Joined>,
}

impl Pair {
    pub(crate) fn start(setup: Setup) -> Self {
        let geometry = Geometry::new(setup.max_flows, setup.queue_size, 1).expect("in range");
        let (entry_fds, entry_side) = queues(&geometry, false);
        let (exit_fds, exit_side) = queues(&geometry, true);
        let tunnel = Some(Joined::start(entry_side, exit_side));
        let (proxy_listener, proxy) = listen();
        let service = Service::Proxy { logins: setup.logins, login_required: setup.login_required };
        let mut listeners = vec![Listener { socket: SocketKind::Tcp, service: service.clone() }];
        let mut fds = entry_fds;
        fds.push(proxy_listener.into());
        let forward = setup.forward.map(|to| {
            let (listener, address) = listen();
            fds.push(listener.into());
            let to = ForwardTo { host: to.ip().to_string(), port: to.port() };
            listeners.push(Listener { socket: SocketKind::Tcp, service: Service::Forward(to) });
            address
        });
        if let Some(path) = setup.unix {
            fds.push(UnixListener::bind(path).expect("a path in a fresh folder").into());
            listeners.push(Listener { socket: SocketKind::Unix, service });
        }
        if let Some(path) = setup.directory_listener {
            fds.push(UnixListener::bind(path).expect("a path in a fresh folder").into());
            listeners.push(Listener { socket: SocketKind::Unix, service: Service::Directory });
        }
        let boot = ingress::Boot { queues: geometry, listeners, services: false, limits: setup.limits };
        let entry = process(move |channel| ingress::run(boot, channel, fds));
        let mut boot = egress::Boot::new(geometry);
        boot.policy = setup.policy;
        boot.directory = setup.directory;
        boot.connect_timeout_ms = setup.connect_timeout_ms;
        boot.datagram_idle_ms = setup.datagram_idle_ms;
        let exit = process(move |channel| egress::run(boot, channel, exit_fds));
        for process in [&entry, &exit] {
            process.wait_for("ready", |message| (message == FromProcess::Ready).then_some(()));
        }
        Self { entry, exit, proxy, forward, geometry, tunnel }
    }

    /// The shaped processes of both nodes die and come back with new queues.
    pub(crate) fn restart_tunnel(&mut self, generation: u64) {
        self.tunnel = None;
        let geometry = self.geometry.with_generation(generation);
        let (entry_fds, entry_side) = queues(&geometry, false);
        let (exit_fds, exit_side) = queues(&geometry, true);
        self.entry.send(&ToProcess::Attach { generation }, &entry_fds);
        self.exit.send(&ToProcess::Attach { generation }, &exit_fds);
        self.tunnel = Some(Joined::start(entry_side, exit_side));
    }

    /// A TCP connection to the proxy port.
    pub(crate) fn connect(&self) -> TcpStream {
        connect(self.proxy)
    }

    /// A connection through SOCKS5; panics unless it succeeds.
    pub(crate) fn socks(&self, to: SocketAddr) -> TcpStream {
        let mut stream = self.connect();
        let code = socks_request(&mut stream, 1, &socks_address(to));
        assert_eq!(code, 0, "SOCKS5 reply code");
        stream
    }

    /// The reply code of a SOCKS5 request.
    pub(crate) fn socks_code(&self, address: &[u8]) -> u8 {
        socks_request(&mut self.connect(), 1, address)
    }
}

/// The unshaped side's descriptors and the shaped side of fresh queues.
pub(crate) fn queues(geometry: &Geometry, shaped_assigns: bool) -> (Vec<OwnedFd>, QueueSide) {
    let segments = Segments::create(geometry).expect("memory for queues");
    let shaped = segments.shaped_side().expect("descriptors");
    let shaped = QueueSide::open(geometry, Side::Shaped, shaped_assigns, shaped).expect("fresh queues");
    (segments.unshaped_side().expect("descriptors"), shaped)
}

pub(crate) fn process(run: impl FnOnce(Channel) -> Result<(), RunError> + Send + 'static) -> Process {
    let (supervisor, process) = Channel::pair().expect("a socket pair");
    let thread = std::thread::spawn(move || run(process));
    Process { channel: Some(supervisor), thread }
}

pub(crate) fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback port");
    let address = listener.local_addr().expect("its address");
    (listener, address)
}

pub(crate) fn connect(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(to).expect("the listener accepts");
    patient(stream)
}

/// Reads and writes that take too long fail.
pub(crate) fn patient(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    stream.set_write_timeout(Some(PATIENCE)).expect("a socket");
    stream
}

/// Greets without a login, asks, and returns the reply code; leaves the bound address read.
pub(crate) fn socks_request(stream: &mut (impl Read + Write), command: u8, address: &[u8]) -> u8 {
    stream.write_all(&[5, 1, 0]).expect("a greeting");
    let mut method = [0; 2];
    stream.read_exact(&mut method).expect("a method");
    assert_eq!(method, [5, 0]);
    let mut request = vec![5, command, 0];
    request.extend_from_slice(address);
    stream.write_all(&request).expect("a request");
    socks_reply(stream).0
}

/// A reply's code and bound IPv4 address.
pub(crate) fn socks_reply(stream: &mut impl Read) -> (u8, SocketAddr) {
    let mut reply = [0; 10];
    stream.read_exact(&mut reply).expect("a reply");
    let [version, code, _, kind, a, b, c, d, high, low] = reply;
    assert_eq!((version, kind), (5, 1));
    (code, SocketAddr::from(([a, b, c, d], u16::from_be_bytes([high, low]))))
}

pub(crate) fn socks_address(to: SocketAddr) -> Vec<u8> {
    let mut bytes = Vec::new();
    wire::flow::Destination::from(to).encode(&mut bytes);
    bytes
}

pub(crate) fn socks_name(name: &str, port: u16) -> Vec<u8> {
    let mut bytes = vec![3, name.len() as u8];
    bytes.extend_from_slice(name.as_bytes());
    bytes.extend_from_slice(&port.to_be_bytes());
    bytes
}

/// A server that runs `serve` in a thread for each connection.
pub(crate) fn server(serve: impl Fn(TcpStream) + Clone + Send + 'static) -> SocketAddr {
    let (listener, address) = listen();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let serve = serve.clone();
            let stream = patient(stream.expect("a connection"));
            std::thread::spawn(move || serve(stream));
        }
    });
    address
}

/// A server that sends back what it gets, to the end of file.
pub(crate) fn echo_server() -> SocketAddr {
    server(|mut stream| {
        let mut writer = stream.try_clone().expect("a descriptor");
        // The connection may be reset by a test.
        let _ = std::io::copy(&mut stream, &mut writer);
        let _ = stream.shutdown(std::net::Shutdown::Write);
    })
}

/// Bytes that differ from place to place.
pub(crate) fn pattern(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
        .collect()
}

/// Sends a line and reads it back.
pub(crate) fn ping(stream: &mut (impl Read + Write), word: &[u8]) {
    stream.write_all(word).expect("a word");
    let mut back = vec![0; word.len()];
    stream.read_exact(&mut back).expect("its echo");
    assert_eq!(back, word);
}
