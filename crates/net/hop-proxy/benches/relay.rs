//! What a datagram costs on its way through both ends, beside what the way costs without them.
//!
//! One run compares, in turns: no relay; two bare loops of batched receiving and sending, with and without offload; and
//! the two ends, with and without offload, without and with a key. Sender and sink are on core 0, the relays on core 1.
//! `cargo bench -p hop-proxy --bench relay -- [seconds a measurement] [rounds]`

use std::error::Error;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hop_proxy::{Client, ClientSettings, Common, Handle, Server, ServerSettings};
use identity::HopKey;
use os_net::datagram::{DatagramOptions, DatagramSocket, Departing, Ended, Inbox, Train};
use os_net::schedule::pin_to_core;
use port_hopping::causes::Timers;

type Fallible<T> = Result<T, Box<dyn Error + Send + Sync>>;

const BYTES: usize = 1_200;
const SEGMENTS: usize = 16;
const HOST: Ipv4Addr = Ipv4Addr::new(127, 77, 0, 1);

/// What stands between sender and sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Middle {
    Nothing,
    /// Two bare loops.
    Bare {
        offload: bool,
    },
    /// Client and server.
    Ends {
        offload: bool,
        keyed: bool,
    },
}

/// How the sender sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Load {
    /// 16 datagrams at once, segmented by the kernel.
    segmented: bool,
    /// Datagrams a second; none for as many as can be.
    rate: Option<u64>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Figures {
    offered: f64,
    delivered: f64,
    /// Processor time of the relays in nanoseconds for each delivered datagram: towards the sender, towards the sink.
    costs: [f64; 2],
}

fn main() -> Fallible<()> {
    let mut arguments = std::env::args().skip(1).filter(|argument| !argument.starts_with("--"));
    let seconds = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(2.0);
    let rounds: usize = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(3);
    let span = Duration::from_secs_f64(seconds);
    let middles = [
        Middle::Nothing,
        Middle::Bare { offload: false },
        Middle::Ends { offload: false, keyed: false },
        Middle::Bare { offload: true },
        Middle::Ends { offload: true, keyed: false },
        Middle::Ends { offload: true, keyed: true },
    ];
    let mut out = io::stdout().lock();
    let mut say = |line: String| {
        use std::io::Write;
        let _ = writeln!(out, "{line}");
    };
    say(format!("{BYTES} bytes, {seconds} s each, median of {rounds}"));
    say("| sender | between | peak Mpps | peak Gbit/s | offered then | delivered Mpps | of peak | ns client | ns server |".into());
    say("|---|---|---|---|---|---|---|---|---|".into());
    for segmented in [true, false] {
        for middle in middles {
            let mut figures: Vec<(Figures, Figures)> = Vec::new();
            for _ in 0..rounds {
                figures.push(peak_and_overload(middle, segmented, span)?);
            }
            let median = |of: &dyn Fn(&(Figures, Figures)) -> f64| {
                let mut values: Vec<f64> = figures.iter().map(of).collect();
                values.sort_by(f64::total_cmp);
                values[values.len() / 2]
            };
            let (peak, flood) = (median(&|f| f.0.delivered), median(&|f| f.1.delivered));
            say(format!(
                "| {} | {} | {:.3} | {:.2} | {:.1}x | {:.3} | {:.0} % | {:.0} | {:.0} |",
                if segmented { "16 at once" } else { "one by one" },
                name(middle),
                peak / 1e6,
                peak * BYTES as f64 * 8.0 / 1e9,
                median(&|f| f.1.offered / f.0.delivered),
                flood / 1e6,
                100.0 * median(&|f| f.1.delivered / f.0.delivered),
                median(&|f| f.0.costs[0]),
                median(&|f| f.0.costs[1]),
            ));
        }
    }
    Ok(())
}

fn name(middle: Middle) -> &'static str {
    match middle {
        Middle::Nothing => "nothing",
        Middle::Bare { offload: false } => "bare loops, recvmmsg and sendmmsg",
        Middle::Bare { offload: true } => "bare loops, GRO and GSO",
        Middle::Ends { offload: false, .. } => "hop client and server, no offload",
        Middle::Ends { offload: true, keyed: false } => "hop client and server",
        Middle::Ends { offload: true, keyed: true } => "hop client and server, keyed",
    }
}

/// The best rate that passes with at most 2 % loss, and what passes when three times that is offered.
fn peak_and_overload(middle: Middle, segmented: bool, span: Duration) -> Fallible<(Figures, Figures)> {
    let unpaced = measure(middle, Load { segmented, rate: None }, span)?;
    let mut best: Option<Figures> = None;
    for factor in [0.5, 0.7, 0.85, 1.0, 1.2, 1.5] {
        let figures = measure(middle, Load { segmented, rate: Some((unpaced.delivered * factor) as u64) }, span)?;
        let passes = figures.delivered >= 0.98 * figures.offered;
        if passes && best.is_none_or(|best| figures.delivered > best.delivered) {
            best = Some(figures);
        }
    }
    let best = best.unwrap_or(unpaced);
    let flood = measure(middle, Load { segmented, rate: Some((3.0 * best.delivered) as u64) }, span)?;
    Ok((best, flood))
}

/// Sends for a while and counts what arrives.
fn measure(middle: Middle, load: Load, span: Duration) -> Fallible<Figures> {
    let offload = !matches!(middle, Middle::Bare { offload: false } | Middle::Ends { offload: false, .. });
    let options = DatagramOptions { offload: offload && load.segmented, ..DatagramOptions::default() };
    let sink = DatagramSocket::bind((HOST, 0).into(), options)?;
    let target = sink.local_addr()?;
    let stop = Arc::new(AtomicBool::new(false));
    let arrived = Arc::new(AtomicU64::new(0));
    let counting = std::thread::spawn({
        let (stop, arrived) = (Arc::clone(&stop), Arc::clone(&arrived));
        move || count(&sink, &stop, &arrived)
    });
    let chain = Chain::start(middle, target)?;
    std::thread::sleep(Duration::from_millis(50));
    let before = chain.processor_ns()?;
    let (offered, elapsed) = {
        let (to, stop) = (chain.entry, Arc::clone(&stop));
        std::thread::spawn(move || send(to, load, span, &stop)).join().map_err(|_| "the sender panicked")??
    };
    // What is in buffers still arrives.
    let mut last = 0;
    for _ in 0..50 {
        std::thread::sleep(Duration::from_millis(20));
        let seen = arrived.load(Ordering::Relaxed);
        if seen == last {
            break;
        }
        last = seen;
    }
    let after = chain.processor_ns()?;
    stop.store(true, Ordering::Relaxed);
    counting.join().map_err(|_| "the sink panicked")??;
    chain.end()?;
    let delivered = arrived.load(Ordering::Relaxed) as f64;
    let cost = |index: usize| (after[index] - before[index]) as f64 / delivered.max(1.0);
    let costs = [cost(0), cost(1)];
    Ok(Figures { offered: offered as f64 / elapsed, delivered: delivered / elapsed, costs })
}

fn count(sink: &DatagramSocket, stop: &AtomicBool, arrived: &AtomicU64) -> Fallible<()> {
    pin_to_core(0)?;
    let mut inbox = Inbox::new();
    while !stop.load(Ordering::Relaxed) {
        if sink.receive(&mut inbox).is_err() {
            wait_for(sink)?;
            continue;
        }
        let datagrams: usize = inbox.iter().map(|arrived| arrived.train.datagrams()).sum();
        arrived.fetch_add(datagrams as u64, Ordering::Relaxed);
    }
    Ok(())
}

fn wait_for(socket: &DatagramSocket) -> io::Result<()> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let timeout = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
    poll(&mut [PollFd::new(socket, PollFlags::IN)], Some(&timeout))?;
    Ok(())
}

/// Sends; returns how many datagrams went out, and in how many seconds.
fn send(to: SocketAddr, load: Load, span: Duration, stop: &AtomicBool) -> Fallible<(u64, f64)> {
    pin_to_core(0)?;
    let socket =
        DatagramSocket::bind((HOST, 0).into(), DatagramOptions { offload: load.segmented, ..Default::default() })?;
    socket.connect(to)?;
    let bytes = vec![7; BYTES * SEGMENTS];
    let trains: Vec<Departing<'_>> = if load.segmented {
        vec![Departing { to: None, from: None, train: Train::new(&bytes, BYTES, 0) }]
    } else {
        bytes.chunks(BYTES).map(|bytes| Departing { to: None, from: None, train: Train::new(bytes, 0, 0) }).collect()
    };
    let begin = Instant::now();
    let mut sent = 0u64;
    while begin.elapsed() < span && !stop.load(Ordering::Relaxed) {
        if load.rate.is_some_and(|rate| sent as f64 > begin.elapsed().as_secs_f64() * rate as f64) {
            std::thread::sleep(Duration::from_micros(100));
            continue;
        }
        let result = socket.send(&trains);
        let whole: usize = trains.iter().take(result.trains).map(|departing| departing.train.datagrams()).sum();
        sent += whole as u64;
        if result.ended == Ended::Blocked {
            std::thread::yield_now();
        }
    }
    Ok((sent, begin.elapsed().as_secs_f64()))
}

/// The relays.
struct Chain {
    entry: SocketAddr,
    threads: Vec<(JoinHandle<Fallible<()>>, i32)>,
    handles: Vec<Handle>,
    stop: Arc<AtomicBool>,
}

impl Chain {
    fn start(middle: Middle, target: SocketAddr) -> Fallible<Self> {
        let mut chain = Self { entry: target, threads: Vec::new(), handles: Vec::new(), stop: Arc::default() };
        match middle {
            Middle::Nothing => {}
            Middle::Bare { offload } => {
                for _ in 0..2 {
                    let options = DatagramOptions { offload, ..DatagramOptions::default() };
                    let listener = DatagramSocket::bind((HOST, 0).into(), options)?;
                    let out = DatagramSocket::bind((HOST, 0).into(), options)?;
                    out.connect(chain.entry)?;
                    let (entry, stop) = (listener.local_addr()?, Arc::clone(&chain.stop));
                    chain.spawn(move || bare(&listener, &out, &stop))?;
                    chain.entry = entry;
                }
                chain.threads.reverse();
            }
            Middle::Ends { offload, keyed } => {
                let key = keyed.then(|| HopKey::from_bytes([1; 32]));
                let common = Common { offload, key, ..Common::default() };
                let ports: port_hopping::ports::PortSet = "20000-20063".parse()?;
                let (listen, targets) = (vec![HOST.into()], vec![target.into()]);
                let server = Server::new(ServerSettings { listen, ports, targets, common: common.clone() })?;
                let (listen, servers) = (vec![(HOST, 0).into()], vec![format!("{HOST}:20000-20063").parse()?]);
                let client = Client::new(ClientSettings { listen, servers, timers: Timers::default(), common })?;
                chain.entry = client.local_addresses().first().copied().ok_or("the client listens")?;
                chain.handles = vec![client.handle(), server.handle()];
                chain.spawn(move || Ok(client.run()?))?;
                chain.spawn(move || Ok(server.run()?))?;
            }
        }
        Ok(chain)
    }

    fn spawn(&mut self, body: impl FnOnce() -> Fallible<()> + Send + 'static) -> Fallible<()> {
        let (give, take) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            pin_to_core(1)?;
            give.send(rustix::thread::gettid().as_raw_nonzero().get())?;
            body()
        });
        self.threads.push((thread, take.recv()?));
        Ok(())
    }

    /// Processor time of both relays so far.
    fn processor_ns(&self) -> Fallible<[u64; 2]> {
        let mut times = [0; 2];
        for (time, (_, thread)) in times.iter_mut().zip(&self.threads) {
            let text = std::fs::read_to_string(format!("/proc/self/task/{thread}/schedstat"))?;
            *time = text.split_whitespace().next().unwrap_or("0").parse()?;
        }
        Ok(times)
    }

    fn end(self) -> Fallible<()> {
        self.stop.store(true, Ordering::Relaxed);
        for handle in &self.handles {
            handle.stop();
        }
        for (thread, _) in self.threads {
            thread.join().map_err(|_| "a relay panicked")??;
        }
        Ok(())
    }
}

/// The least that a relay in one direction can be: a batch in, the same batch out.
fn bare(listener: &DatagramSocket, out: &DatagramSocket, stop: &AtomicBool) -> Fallible<()> {
    let mut inbox = Inbox::new();
    while !stop.load(Ordering::Relaxed) {
        if listener.receive(&mut inbox).is_err() {
            wait_for(listener)?;
            continue;
        }
        let trains: Vec<_> =
            inbox.iter().map(|arrived| Departing { to: None, from: None, train: arrived.train }).collect();
        out.send(&trains);
    }
    Ok(())
}
