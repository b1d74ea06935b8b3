//! SOCKS5 UDP ASSOCIATE: one datagram flow, which lives as long as the TCP connection that asked for it.

use crate::clients::ClientKey;
use crate::connection::Connection;
use crate::service_names;
use flow_pump::figures::Figures;
use flow_pump::port::FlowPort;
use flow_pump::records;
use flow_pump::socket::Socket;
use proxy_protocols::answer::{self, Protocol};
use proxy_protocols::handshake::Request;
use proxy_protocols::socks5::{self, ReplyCode, datagram};
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::task::{Context, Poll};
use tokio::io::ReadBuf;
use tokio::net::UdpSocket;
use wire::flow::{FlowKind, ResetReason};
use wire::udp;

/// Datagrams that one association moves in one direction before others get their turn.
const TURN_DATAGRAMS: usize = 64;

/// Serves the association that `socket` asked for. `addresses`: that connection's own and far address.
pub(crate) async fn serve(
    connection: &Connection,
    socket: Socket,
    client: &ClientKey,
    request: Request,
    addresses: Option<(SocketAddr, SocketAddr)>,
) {
    let shared = &connection.shared;
    let Some((own, far)) = addresses else {
        // A unix socket has no address to bind beside.
        shared.figures.count("command_not_served");
        return socket.say_last(&socks5::failure(ReplyCode::CommandNotSupported)).await;
    };
    let relay = match open_beside(own) {
        Ok(relay) => relay,
        Err(error) => {
            tracing::debug!(kind = %error.kind(), "no socket for a UDP association");
            shared.figures.count("no_socket");
            return connection.refuse(socket, Some(request.protocol), ResetReason::TooManyFlows).await;
        }
    };
    let port = match shared.gate.open(client, FlowKind::Datagrams, request.destination).await {
        Ok(port) => port,
        Err(reason) => return connection.refuse(socket, Some(request.protocol), reason).await,
    };
    shared.figures.open_flow();
    let mut association = Association {
        port: &port,
        control: &socket,
        relay: &relay.0,
        bound: relay.1,
        client_ip: far.ip().to_canonical(),
        client: None,
        figures: &shared.figures,
        answer: Answer::Due,
        buffer: vec![0; datagram::DATAGRAM_MAX],
        scratch: Vec::new(),
    };
    let end = poll_fn(|context| {
        association.port.register(context.waker());
        let polled = association.poll(context);
        association.port.flush();
        polled
    })
    .await;
    let answered = !matches!(association.answer, Answer::Due);
    port.close(ResetReason::ByPeer);
    match end {
        Some(reason) => connection.refuse(socket, (!answered).then_some(Protocol::Socks5), reason).await,
        None => shared.figures.count("finished"),
    }
}

/// A UDP socket on the address that the application's TCP connection came to, and its address.
fn open_beside(own: SocketAddr) -> io::Result<(UdpSocket, SocketAddr)> {
    let mut beside = own;
    beside.set_ip(own.ip().to_canonical());
    beside.set_port(0);
    let socket = std::net::UdpSocket::bind(beside)?;
    socket.set_nonblocking(true)?;
    let bound = socket.local_addr()?;
    Ok((UdpSocket::from_std(socket)?, bound))
}

/// The answer to the request.
enum Answer {
    /// The exit is not ready.
    Due,
    /// These bytes are left to write.
    Saying(Vec<u8>),
    Said,
}

struct Association<'a> {
    port: &'a FlowPort,
    control: &'a Socket,
    relay: &'a UdpSocket,
    bound: SocketAddr,
    client_ip: IpAddr,
    /// Where the first datagram came from; others are dropped from then on.
    client: Option<SocketAddr>,
    figures: &'a Figures,
    answer: Answer,
    buffer: Vec<u8>,
    scratch: Vec<u8>,
}

impl Association<'_> {
    /// `None`: the application ended it.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<ResetReason>> {
        if let Some(reason) = self.port.reset_received() {
            return Poll::Ready(Some(reason));
        }
        if self.port.is_at_end() {
            return Poll::Ready(Some(ResetReason::ByPeer));
        }
        if self.poll_answer(context).is_err() || self.control_ended(context) {
            return Poll::Ready(None);
        }
        let Ok(outwards) = self.outwards() else { return Poll::Ready(Some(ResetReason::Protocol)) };
        if self.inwards(context).max(outwards) >= TURN_DATAGRAMS {
            context.waker().wake_by_ref();
        }
        Poll::Pending
    }

    fn poll_answer(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        if matches!(self.answer, Answer::Due) && self.port.connected().is_some() {
            self.answer = Answer::Saying(answer::established(Protocol::Socks5, self.bound));
        }
        while let Answer::Saying(left) = &mut self.answer {
            let Poll::Ready(ready) = self.control.poll_write_ready(context) else { break };
            ready?;
            match self.control.try_write(left) {
                Ok(count) if count == left.len() => self.answer = Answer::Said,
                Ok(count) => drop(left.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Whether the TCP connection is over. What is sent on it means nothing.
    fn control_ended(&self, context: &mut Context<'_>) -> bool {
        let mut sink = [0u8; 256];
        while let Poll::Ready(ready) = self.control.poll_read_ready(context) {
            if ready.is_err() {
                return true;
            }
            match self.control.try_read(&mut sink) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return true,
            }
        }
        false
    }

    /// Application to queue. Returns how many datagrams came.
    fn inwards(&mut self, context: &mut Context<'_>) -> usize {
        let mut count = 0;
        while count < TURN_DATAGRAMS {
            let mut buffer = ReadBuf::new(&mut self.buffer);
            match self.relay.poll_recv_from(context, &mut buffer) {
                Poll::Pending => break,
                // The application's socket refused an answer; the association goes on.
                Poll::Ready(Err(_)) => count += 1,
                Poll::Ready(Ok(from)) => {
                    count += 1;
                    if from.ip().to_canonical() != self.client_ip || *self.client.get_or_insert(from) != from {
                        self.figures.drop_datagram();
                        continue;
                    }
                    let Ok((far, payload)) = datagram::decode(buffer.filled()) else {
                        self.figures.drop_datagram();
                        continue;
                    };
                    // Services have no datagrams, and their names are for no exit.
                    if service_names::is_one(&far) {
                        self.figures.drop_datagram();
                        continue;
                    }
                    self.scratch.clear();
                    udp::encode(&far, payload, &mut self.scratch);
                    if records::write(self.port, &self.scratch) {
                        self.figures.add_in(payload.len());
                    } else {
                        self.figures.drop_datagram();
                    }
                }
            }
        }
        count
    }

    /// Queue to application. Returns how many records there were.
    fn outwards(&mut self) -> Result<usize, records::RecordTooLong> {
        let mut count = 0;
        while count < TURN_DATAGRAMS {
            let Some(record) = records::read(self.port)? else { break };
            count += 1;
            let (Some(client), Ok((_, payload))) = (self.client, udp::decode(&record)) else {
                self.figures.drop_datagram();
                continue;
            };
            datagram::encode_record(&record, &mut self.scratch);
            match self.relay.try_send_to(&self.scratch, client) {
                Ok(_) => self.figures.add_out(payload.len()),
                Err(_) => self.figures.drop_datagram(),
            }
        }
        Ok(count)
    }
}
