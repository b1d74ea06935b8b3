//! Downloads by a stock QUIC client from a stock QUIC server, as an unmodified program for whatever carries UDP between
//! them: quinn with its own settings, path discovery and migration included.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, ensure};
use os_net::clock::monotonic_ns;
use quinn::{ClientConfig, Connection, Endpoint, ServerConfig, VarInt};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep, timeout_at};

use crate::goodput::Goodput;
use crate::plain;

/// How often the server looks where its client is.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Places of a client that are kept; later ones are not.
const PLACES_MAX: usize = 4096;
const CHUNK: usize = 64 << 10;
/// How long a client waits for the connection.
const CONNECT_WITHIN: Duration = Duration::from_secs(60);

/// What the client of a download saw.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Downloaded {
    /// Bytes of the stream over time, from the established connection on.
    pub goodput: Goodput,
    /// Time until the connection was established.
    pub connected_in: Duration,
    /// Round trip time at the end, as the client measured it.
    pub rtt: Duration,
    /// UDP datagrams that came.
    pub datagrams: u64,
}

/// What the server of a download saw.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Served {
    /// Where the client was, in order: one address if it never moved.
    pub places: Vec<SocketAddr>,
    /// Packets sent.
    pub packets: u64,
    /// Packets that the server holds for lost.
    pub lost: u64,
    /// Round trip time at the end, as the server measured it.
    pub rtt: Duration,
    /// Largest packet that the path was found to carry, in bytes of UDP payload.
    pub mtu: u16,
}

impl Served {
    /// How often the client moved.
    pub fn migrations(&self) -> usize {
        self.places.len().saturating_sub(1)
    }
}

/// A server with quinn's own settings.
///
/// # Errors
/// If the address cannot be bound.
pub fn listen(address: SocketAddr) -> anyhow::Result<Endpoint> {
    plain::endpoint(address, Some(ServerConfig::with_crypto(plain::server_tls()?)))
}

/// Serves downloads one beside the other until the endpoint is closed, and tells about each when it has ended.
pub async fn serve(endpoint: &Endpoint, each: impl Fn(Served) + Clone + Send + Sync + 'static) {
    while let Some(incoming) = endpoint.accept().await {
        let each = each.clone();
        tokio::spawn(async move {
            // A stranger that does not finish the handshake has no download.
            if let Ok(connection) = incoming.await {
                each(serve_one(&connection).await);
            }
        });
    }
}

async fn serve_one(connection: &Connection) -> Served {
    let mut places = vec![connection.remote_address()];
    let send = async {
        let mut stream = connection.accept_uni().await.ok();
        let mut download = connection.open_uni().await.ok();
        // The client has spoken once its stream is here.
        while let (Some(_), Some(stream)) = (&mut stream, &mut download) {
            if stream.write_all(&[0; CHUNK]).await.is_err() {
                break;
            }
        }
        connection.closed().await;
    };
    let watch = async {
        loop {
            let place = connection.remote_address();
            if places.last() != Some(&place) && places.len() < PLACES_MAX {
                places.push(place);
            }
            sleep(LOOK_EVERY).await;
        }
    };
    tokio::select! {
        () = send => {}
        () = watch => {}
    }
    let path = connection.stats().path;
    Served { places, packets: path.sent_packets, lost: path.lost_packets, rtt: path.rtt, mtu: path.current_mtu }
}

/// A client with quinn's own settings, on any port of any address of the family of `to`.
///
/// # Errors
/// If no port is free.
pub fn client(to: SocketAddr) -> anyhow::Result<Endpoint> {
    let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let mut endpoint = plain::endpoint((any, 0).into(), None)?;
    endpoint.set_default_client_config(ClientConfig::new(plain::client_tls()?));
    Ok(endpoint)
}

/// Downloads for a time, and records bytes in windows of length `every`.
///
/// # Errors
/// If no connection comes about within 20 s, or it breaks before the time is over.
pub async fn download(
    endpoint: &Endpoint,
    to: SocketAddr,
    lasting: Duration,
    every: Duration,
) -> anyhow::Result<Downloaded> {
    let began = now();
    let connecting = endpoint.connect(to, "lab")?;
    let connection = tokio::time::timeout(CONNECT_WITHIN, connecting)
        .await
        .with_context(|| format!("no QUIC connection to {to} within {CONNECT_WITHIN:?}"))?
        .with_context(|| format!("no QUIC connection to {to}"))?;
    let started = now();
    let end = Instant::now() + lasting;
    let mut goodput = Goodput::new(started, every);
    let mut request = connection.open_uni().await?;
    request.write_all(b"download").await?;
    if let Ok(stream) = timeout_at(end, connection.accept_uni()).await {
        let mut stream = stream.context("the connection broke before the download began")?;
        while let Ok(chunk) = timeout_at(end, stream.read_chunk(CHUNK, true)).await {
            let chunk = chunk.context("the connection broke during the download")?;
            let chunk = chunk.context("the server ended the download")?;
            goodput.record(now(), chunk.bytes.len() as u64);
        }
    }
    goodput.finish(now());
    ensure!(goodput.bytes() > 0, "nothing came from {to}");
    let (rtt, datagrams) = (connection.rtt(), connection.stats().udp_rx.datagrams);
    connection.close(VarInt::from_u32(0), b"enough");
    // The server learns of the end at once, and not by a timeout.
    endpoint.wait_idle().await;
    Ok(Downloaded { goodput, connected_in: started - began, rtt, datagrams })
}

fn now() -> Duration {
    Duration::from_nanos(monotonic_ns())
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    const LASTING: Duration = Duration::from_millis(400);

    /// A download over loopback; the client moves to so many further ports.
    async fn run(moves: u32) -> anyhow::Result<(Downloaded, Served)> {
        let server = listen((Ipv4Addr::LOCALHOST, 0).into())?;
        let to = server.local_addr()?;
        let (told, mut tell) = tokio::sync::mpsc::unbounded_channel();
        let serving = tokio::spawn(async move {
            let each = move |served| {
                // Nobody asks about a second download.
                let _ = told.send(served);
            };
            serve(&server, each).await;
        });
        let endpoint = client(to)?;
        let mover = endpoint.clone();
        let moving = async {
            for _ in 0..moves {
                sleep(LASTING / (moves + 2)).await;
                mover.rebind(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?)?;
            }
            anyhow::Ok(())
        };
        let (downloaded, moved) = tokio::join!(download(&endpoint, to, LASTING, Duration::from_millis(100)), moving);
        moved?;
        let served = tell.recv().await.context("the server tells about each download");
        serving.abort();
        Ok((downloaded?, served?))
    }

    #[test]
    fn a_client_that_stays_is_seen_at_one_place_and_one_that_moves_at_several() -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        crate::attempts::within_three(|| {
            let (downloaded, served) = runtime.block_on(run(0))?;
            ensure!(served.migrations() == 0, "{served:?}");
            ensure!(downloaded.goodput.windows().len() >= 4, "{downloaded:?}");
            ensure!(downloaded.goodput.bytes() > 100_000 && served.packets > 50, "{downloaded:?} {served:?}");
            let again: Downloaded = serde_json::from_str(&serde_json::to_string(&downloaded)?)?;
            ensure!(again == downloaded, "{again:?}");
            Ok(())
        })?;
        crate::attempts::within_three(|| {
            let (_, served) = runtime.block_on(run(2))?;
            ensure!(served.migrations() == 2, "{served:?}");
            Ok(())
        })
    }
}
