//! Both ends, turned by hand, while the time of day jumps.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use identity::HopKey;
use os_net::clock::unix_time;
use os_net::datagram::Inbox;

use crate::engine::{End, Moment};
use crate::{Client, ClientSettings, Common, Server, ServerSettings};

type Outcome = Result<(), Box<dyn std::error::Error>>;

struct Both {
    client: Client,
    server: Server,
    inbox: Inbox,
    target: UdpSocket,
    program: UdpSocket,
    /// How far each end's time of day is off, in seconds.
    client_off: i64,
    server_off: i64,
}

fn shifted(seconds: i64) -> Moment {
    let unix = unix_time().saturating_add_signed_seconds(seconds);
    Moment { now: Instant::now(), unix }
}

trait Shift {
    fn saturating_add_signed_seconds(self, seconds: i64) -> Self;
}

impl Shift for Duration {
    fn saturating_add_signed_seconds(self, seconds: i64) -> Self {
        let by = Self::from_secs(seconds.unsigned_abs());
        if seconds < 0 { self.saturating_sub(by) } else { self.saturating_add(by) }
    }
}

fn turn(end: &mut impl End, inbox: &mut Inbox, moment: Moment) -> Outcome {
    let mut ready = Vec::new();
    end.poller().wait(Some(Duration::from_millis(1)), &mut ready)?;
    end.keep_books(moment);
    for event in ready {
        end.handle(event, inbox, moment);
    }
    Ok(())
}

impl Both {
    fn new(host: Ipv4Addr) -> Result<Self, Box<dyn std::error::Error>> {
        let target = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        target.set_nonblocking(true)?;
        let common = Common { key: Some(HopKey::from_bytes([9; 32])), ..Common::default() };
        let (ports, targets) = ("20000-50000".parse()?, vec![target.local_addr()?.into()]);
        let server = Server::new(ServerSettings { listen: vec![host.into()], ports, targets, common: common.clone() })?;
        let listen = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))];
        let servers = vec![format!("{host}:20000-50000").parse()?];
        let client = Client::new(ClientSettings { listen, servers, timers: Default::default(), common })?;
        let program = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        program.connect(client.local_addresses()[0])?;
        program.set_nonblocking(true)?;
        Ok(Self { client, server, inbox: Inbox::new(), target, program, client_off: 0, server_off: 0 })
    }

    /// Asks until an answer comes; how long it took.
    fn ask(&mut self) -> Result<Duration, Box<dyn std::error::Error>> {
        let begin = Instant::now();
        let mut asked: Option<Instant> = None;
        let mut buffer = [0; 64];
        while begin.elapsed() < Duration::from_secs(30) {
            if asked.is_none_or(|at| at.elapsed() > Duration::from_millis(100)) {
                self.program.send(b"question")?;
                asked = Some(Instant::now());
            }
            turn(&mut self.client, &mut self.inbox, shifted(self.client_off))?;
            turn(&mut self.server, &mut self.inbox, shifted(self.server_off))?;
            while let Ok((length, from)) = self.target.recv_from(&mut buffer) {
                self.target.send_to(&buffer[..length], from)?;
            }
            if self.program.recv(&mut buffer).is_ok() {
                return Ok(begin.elapsed());
            }
        }
        Err(format!("no answer with clocks {} and {} s off", self.client_off, self.server_off).into())
    }
}

#[test]
fn a_machine_that_slept_and_a_clock_that_is_set_are_got_over() -> Outcome {
    let mut both = Both::new(Ipv4Addr::new(127, 66, 0, 1))?;
    both.ask()?;
    // An hour passes in no time; then the clock is set back by two days, then to the right time.
    for off in [3_600, -172_800, 0] {
        (both.client_off, both.server_off) = (off, off);
        both.ask()?;
    }
    Ok(())
}

#[test]
fn clocks_that_differ_by_less_than_a_window_do() -> Outcome {
    let mut both = Both::new(Ipv4Addr::new(127, 66, 0, 2))?;
    for off in [29, -29] {
        (both.client_off, both.server_off) = (off, 0);
        both.ask()?;
    }
    Ok(())
}
