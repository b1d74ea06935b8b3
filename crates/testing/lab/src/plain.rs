//! The baseline: a plain proxy pair over one QUIC connection, as small as it can be.
//!
//! One side accepts TCP connections and opens one bidirectional stream for each; the other side connects each stream to
//! one TCP address. There is no shaping, no ring, no second process. Encryption is what the session of the product
//! uses (TLS 1.3, AES-128-GCM), so a ratio of the two compares designs and not ciphers. Nobody is authenticated.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use identity::NodeSecret;
use quinn::congestion::{BbrConfig, CubicConfig};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, Connection, Endpoint, EndpointConfig, ServerConfig, TokioRuntime, TransportConfig, VarInt};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::AlwaysResolvesServerRawPublicKeys;
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{CipherSuite, DigitallySignedStruct, Error, SignatureScheme};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Streams, and so TCP connections, at once.
const STREAMS_MAX: u32 = 4096;
/// Window of one stream and of the connection, in bytes: larger than any path here needs.
const WINDOW: u32 = 16 << 20;
/// The same under BBR, which is for lines with a short queue: what a flow of the product has. With more, BBR drowns
/// such a line in its first seconds and then stands still for ten.
const BBR_WINDOW: u32 = 2 << 20;
/// Bytes of a QUIC packet: what the product's packets have on the wire.
const PACKET_SIZE: u16 = 1350;
/// Buffers of the UDP socket, in bytes.
const SOCKET_BUFFER: usize = 8 << 20;
const COPY_BUFFER: usize = 64 << 10;
/// A link of a test may be cut for so long.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
const PROTOCOL: &[u8] = b"lab-plain";

/// Which congestion controller the connection has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Control {
    /// RFC 9438.
    #[default]
    Cubic,
    /// Quinn's BBR.
    Bbr,
}

/// Runs the accepting side: TCP connections to `listen` become streams of one connection to `to`. It returns only on
/// failure.
///
/// # Errors
/// If an address cannot be bound or the connection fails.
pub async fn entry(listen: SocketAddr, to: SocketAddr, control: Control) -> anyhow::Result<()> {
    let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    let endpoint = endpoint((to.ip(), 0).into(), None)?;
    let connection = endpoint.connect_with(client_config(control)?, to, "lab")?.await.context("no QUIC connection")?;
    loop {
        let (stream, _) = listener.accept().await?;
        let (send, receive) = connection.open_bi().await?;
        tokio::spawn(join(stream, send, receive));
    }
}

/// Runs the connecting side: streams of connections to `listen` become TCP connections to `to`. It returns only on
/// failure.
///
/// # Errors
/// If the address cannot be bound.
pub async fn exit(listen: SocketAddr, to: SocketAddr, control: Control) -> anyhow::Result<()> {
    let endpoint = endpoint(listen, Some(server_config(control)?))?;
    while let Some(incoming) = endpoint.accept().await {
        let connection = incoming.await.context("no QUIC connection")?;
        tokio::spawn(serve(connection, to));
    }
    Ok(())
}

async fn serve(connection: Connection, to: SocketAddr) {
    while let Ok((send, receive)) = connection.accept_bi().await {
        tokio::spawn(async move {
            // A stream whose server does not answer is reset when its two halves are dropped.
            if let Ok(stream) = TcpStream::connect(to).await {
                join(stream, send, receive).await;
            }
        });
    }
}

async fn join(stream: TcpStream, send: quinn::SendStream, receive: quinn::RecvStream) {
    // A connection that is gone already fails at the first copy.
    let _ = stream.set_nodelay(true);
    let (read, write) = stream.into_split();
    tokio::join!(copy(read, send), copy(receive, write));
}

async fn copy(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) {
    let mut buffer = vec![0; COPY_BUFFER];
    while let Ok(length) = from.read(&mut buffer).await {
        if length == 0 || to.write_all(&buffer[..length]).await.is_err() {
            break;
        }
    }
    // The other side sees the end of this direction, if it is still there.
    let _ = to.shutdown().await;
}

/// An endpoint with large socket buffers.
pub(crate) fn endpoint(bind: SocketAddr, server: Option<ServerConfig>) -> anyhow::Result<Endpoint> {
    let socket = std::net::UdpSocket::bind(bind).with_context(|| format!("cannot bind {bind}"))?;
    // A kernel that grants smaller buffers is no error.
    let _ = rustix::net::sockopt::set_socket_recv_buffer_size(&socket, SOCKET_BUFFER);
    let _ = rustix::net::sockopt::set_socket_send_buffer_size(&socket, SOCKET_BUFFER);
    Endpoint::new(EndpointConfig::default(), server, socket, Arc::new(TokioRuntime)).context("no QUIC endpoint")
}

fn transport(control: Control) -> anyhow::Result<Arc<TransportConfig>> {
    let window = match control {
        Control::Cubic => WINDOW,
        Control::Bbr => BBR_WINDOW,
    };
    let mut transport = TransportConfig::default();
    transport
        .initial_mtu(PACKET_SIZE)
        .min_mtu(PACKET_SIZE)
        .mtu_discovery_config(None)
        .stream_receive_window(window.into())
        .receive_window(window.into())
        .send_window(window.into())
        .max_concurrent_bidi_streams(STREAMS_MAX.into())
        .max_idle_timeout(Some(VarInt::from_u32(u32::try_from(IDLE_TIMEOUT.as_millis())?).into()));
    match control {
        Control::Cubic => transport.congestion_controller_factory(Arc::new(CubicConfig::default())),
        Control::Bbr => transport.congestion_controller_factory(Arc::new(BbrConfig::default())),
    };
    Ok(Arc::new(transport))
}

fn provider() -> Arc<CryptoProvider> {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites.retain(|suite| suite.suite() == CipherSuite::TLS13_AES_128_GCM_SHA256);
    Arc::new(provider)
}

/// TLS of a client that accepts every server.
pub(crate) fn client_tls() -> anyhow::Result<Arc<QuicClientConfig>> {
    let provider = provider();
    let verifier = Arc::new(Anybody(Arc::clone(&provider)));
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    tls.alpn_protocols = vec![PROTOCOL.to_vec()];
    Ok(Arc::new(QuicClientConfig::try_from(tls)?))
}

/// TLS of a server that accepts every client.
pub(crate) fn server_tls() -> anyhow::Result<Arc<QuicServerConfig>> {
    let provider = provider();
    // The key is no secret: the pair protects nothing, it only costs what protection costs.
    let own = NodeSecret::from_seed([7; 32]);
    let secret = PrivateKeyDer::Pkcs8(own.pkcs8_der().to_vec().into());
    let key = provider.key_provider.load_private_key(secret)?;
    let public = CertificateDer::from(own.node_id().spki_der().to_vec());
    let certified = Arc::new(CertifiedKey::new(vec![public], key));
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(certified)));
    tls.alpn_protocols = vec![PROTOCOL.to_vec()];
    Ok(Arc::new(QuicServerConfig::try_from(tls)?))
}

fn client_config(control: Control) -> anyhow::Result<ClientConfig> {
    let mut config = ClientConfig::new(client_tls()?);
    config.transport_config(transport(control)?);
    Ok(config)
}

fn server_config(control: Control) -> anyhow::Result<ServerConfig> {
    let mut config = ServerConfig::with_crypto(server_tls()?);
    config.transport_config(transport(control)?);
    Ok(config)
}

/// Accepts whoever holds the key that they show.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not spoken".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let key = SubjectPublicKeyInfoDer::from(cert.as_ref());
        verify_tls13_signature_with_raw_key(message, &key, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::net::{Shutdown, TcpStream};
    use std::time::Instant;

    use super::*;
    use crate::load::{self, Service};
    use crate::scratch::{free_tcp_address, free_udp_address};

    fn start(service: Service, control: Control) -> SocketAddr {
        let server = load::start(service).expect("loopback has free ports");
        let quic = free_udp_address().expect("loopback has free ports");
        let listen = free_tcp_address().expect("loopback has free ports");
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                tokio::try_join!(exit(quic, server, control), async {
                    tokio::task::yield_now().await;
                    entry(listen, quic, control).await
                })
                .map(drop)
            })
        });
        listen
    }

    fn connect(to: SocketAddr) -> TcpStream {
        let started = Instant::now();
        loop {
            match TcpStream::connect(to) {
                Ok(stream) => return stream,
                Err(error) => assert!(started.elapsed() < Duration::from_secs(60), "{error}"),
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn carries_bytes_both_ways_with_half_close() {
        for control in [Control::Cubic, Control::Bbr] {
            let mut download = connect(start(Service::Source { bytes: 1 << 20 }, control));
            download.shutdown(Shutdown::Write).expect("the connection is open");
            assert_eq!(load::read_pattern(&mut download).ok(), Some(1 << 20));
            let mut upload = connect(start(Service::Sink, control));
            load::send_pattern(&mut upload, 300_000).expect("the sink reads");
            upload.shutdown(Shutdown::Write).expect("the connection is open");
            let mut answer = [0; 8];
            upload.read_exact(&mut answer).expect("the sink answers");
            assert_eq!(u64::from_be_bytes(answer), 300_000);
        }
    }
}
