//! A UDP association at the exit: records from the queue become datagrams, answers become records.

use crate::contacts::{Contacts, Names};
use crate::dial::Dialler;
use flow_pump::figures::Figures;
use flow_pump::port::FlowPort;
use flow_pump::records;
use rustix::net::{SendFlags, sendto};
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::ReadBuf;
use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep, sleep_until};
use wire::flow::{Destination, Host, HostName, ResetReason};
use wire::udp;

/// Datagrams that one association moves in one direction before others get their turn.
const TURN_DATAGRAMS: usize = 64;
/// Names of one association that are looked up at once. A datagram to a further one is dropped.
const LOOKUPS_MAX: usize = 4;

/// Serves one association until it is reset, idle for `idle`, or cancelled.
pub(crate) async fn serve(port: FlowPort, dialler: Rc<Dialler>, figures: Rc<Figures>, idle: Duration) {
    let reason = match Association::new(&port, dialler, figures, idle) {
        Ok(mut association) => {
            poll_fn(|context| {
                association.port.register(context.waker());
                let polled = association.poll(context);
                association.port.flush();
                polled
            })
            .await
        }
        Err(_) => ResetReason::Unreachable,
    };
    port.close(reason);
}

/// A name's address is being looked up; the datagram that asked for it waits.
type Lookup = (HostName, u16, Vec<u8>, Option<SocketAddr>);

struct Association<'a> {
    port: &'a FlowPort,
    dialler: Rc<Dialler>,
    figures: Rc<Figures>,
    ipv4: Option<UdpSocket>,
    /// Opened by the first datagram of its family, like `ipv4`, of which the first stands already.
    ipv6: Option<UdpSocket>,
    contacts: Contacts,
    names: Names,
    lookups: JoinSet<Lookup>,
    idle: Duration,
    last_moved: Instant,
    alarm: Pin<Box<Sleep>>,
    buffer: Vec<u8>,
    record: Vec<u8>,
}

impl<'a> Association<'a> {
    fn new(port: &'a FlowPort, dialler: Rc<Dialler>, figures: Rc<Figures>, idle: Duration) -> io::Result<Self> {
        let (ipv4, ipv6) = match open(dialler.source(true)) {
            Ok(socket) => (Some(socket), None),
            Err(_) => (None, Some(open(dialler.source(false))?)),
        };
        if let Some(socket) = ipv4.as_ref().or(ipv6.as_ref()) {
            port.send_connected(socket.local_addr()?);
        }
        let last_moved = Instant::now();
        Ok(Self {
            port,
            dialler,
            figures,
            ipv4,
            ipv6,
            contacts: Contacts::default(),
            names: Names::default(),
            lookups: JoinSet::new(),
            idle,
            last_moved,
            alarm: Box::pin(sleep_until(last_moved + idle)),
            buffer: vec![0; udp::PAYLOAD_MAX],
            record: Vec::new(),
        })
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<ResetReason> {
        if let Some(reason) = self.port.reset_received() {
            return Poll::Ready(reason);
        }
        if self.port.is_at_end() {
            return Poll::Ready(ResetReason::ByPeer);
        }
        let moved = match self.outwards() {
            Ok(count) => count,
            Err(records::RecordTooLong) => return Poll::Ready(ResetReason::Protocol),
        };
        while let Poll::Ready(Some(done)) = self.lookups.poll_join_next(context) {
            if let Ok(lookup) = done {
                self.take_lookup(lookup);
            }
        }
        let inwards = self.inwards(context, true) + self.inwards(context, false);
        if moved.max(inwards) >= TURN_DATAGRAMS {
            context.waker().wake_by_ref();
        }
        if moved + inwards > 0 {
            self.last_moved = Instant::now();
        }
        self.poll_idle(context)
    }

    /// The alarm is not moved with every datagram: when it rings it looks how long nothing has moved.
    fn poll_idle(&mut self, context: &mut Context<'_>) -> Poll<ResetReason> {
        while self.alarm.as_mut().poll(context).is_ready() {
            let deadline = self.last_moved + self.idle;
            if deadline <= Instant::now() {
                return Poll::Ready(ResetReason::TimedOut);
            }
            self.alarm.as_mut().reset(deadline);
        }
        Poll::Pending
    }

    /// Queue to sockets.
    fn outwards(&mut self) -> Result<usize, records::RecordTooLong> {
        let mut count = 0;
        while count < TURN_DATAGRAMS {
            let Some(record) = records::read(self.port)? else { break };
            count += 1;
            match udp::decode(&record) {
                Ok((far, payload)) if far.port != 0 => self.send(far, payload),
                Ok(_) | Err(_) => self.drop_one(),
            }
        }
        Ok(count)
    }

    fn send(&mut self, far: Destination, payload: &[u8]) {
        match far.host {
            Host::Ip(address) if self.dialler.allows(None, address, far.port) => {
                self.send_to(SocketAddr::new(address, far.port), payload);
            }
            Host::Ip(_) => self.drop_one(),
            Host::Name(name) => match self.names.find(&name, far.port, Instant::now().into_std()) {
                Some(address) => self.send_to(address, payload),
                None => self.look_up(name, far.port, payload),
            },
        }
    }

    fn send_to(&mut self, address: SocketAddr, payload: &[u8]) {
        let place = if address.is_ipv4() { &mut self.ipv4 } else { &mut self.ipv6 };
        if place.is_none() {
            *place = open(self.dialler.source(address.is_ipv4())).ok();
        }
        self.contacts.add(address.ip());
        // Past the runtime, which takes a socket for full until it has looked at it once: the first datagram would be lost.
        // No room in the socket, or no way there: datagrams get lost.
        match place.as_ref().map(|socket| sendto(socket, payload, SendFlags::empty(), &address)) {
            Some(Ok(count)) => self.figures.add_out(count),
            Some(Err(_)) | None => self.drop_one(),
        }
    }

    fn look_up(&mut self, name: HostName, port: u16, payload: &[u8]) {
        if self.lookups.len() >= LOOKUPS_MAX {
            return self.drop_one();
        }
        let (dialler, payload) = (self.dialler.clone(), payload.to_vec());
        self.lookups.spawn_local(async move {
            let found = dialler.resolve(&name, port).await.ok().and_then(|found| found.first().copied());
            (name, port, payload, found)
        });
    }

    fn take_lookup(&mut self, (name, port, payload, found): Lookup) {
        match found {
            Some(address) => {
                self.names.add(name, port, address, Instant::now().into_std());
                self.send_to(address, &payload);
            }
            None => self.drop_one(),
        }
    }

    /// One socket to the queue. Returns how many datagrams came.
    fn inwards(&mut self, context: &mut Context<'_>, ipv4: bool) -> usize {
        let mut count = 0;
        while count < TURN_DATAGRAMS {
            let Some(socket) = (if ipv4 { &self.ipv4 } else { &self.ipv6 }) else { break };
            let mut buffer = ReadBuf::new(&mut self.buffer);
            match socket.poll_recv_from(context, &mut buffer) {
                Poll::Pending => break,
                // An earlier datagram was refused by its destination; the association goes on.
                Poll::Ready(Err(_)) => count += 1,
                Poll::Ready(Ok(from)) => {
                    count += 1;
                    let payload = buffer.filled();
                    self.record.clear();
                    udp::encode(&Destination::from(from), payload, &mut self.record);
                    let known = self.contacts.contains(from.ip());
                    let length = payload.len();
                    if known && records::write(self.port, &self.record) {
                        self.figures.add_in(length);
                    } else {
                        self.drop_one();
                    }
                }
            }
        }
        count
    }

    fn drop_one(&self) {
        self.figures.drop_datagram();
    }
}

/// A UDP socket of one family.
fn open(source: SocketAddr) -> io::Result<UdpSocket> {
    let socket = std::net::UdpSocket::bind(source)?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket)
}
