//! An origin and clients for a thousand connections in one thread each, every byte checked.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, bail, ensure};
use lab::load::pattern;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

const CHUNK: usize = 16 << 10;
const HEAD: usize = 24;
const ANSWER_MAX: usize = 1024;
/// Bytes that the kernel keeps of what the origin sends. Where nobody reads, 300 buffers of the usual size would take
/// all memory that the kernel gives to TCP, and it would begin to drop everybody's packets.
const SEND_BUFFER: u32 = 64 << 10;

/// How many bytes a flow carries each way. The origin answers when it has all of the client's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) up: u64,
    pub(crate) down: u64,
}

/// The server of all flows, in a thread of its own until the test's process ends.
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
}

impl Origin {
    pub(crate) fn start() -> anyhow::Result<Self> {
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || -> anyhow::Result<()> {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let socket = TcpSocket::new_v4()?;
                socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
                // Those that it accepts have the same.
                socket.set_send_buffer_size(SEND_BUFFER)?;
                let listener = socket.listen(4096)?;
                tell.send(listener.local_addr()?)?;
                accept_all(listener).await
            })
        });
        Ok(Self { address: told.recv().context("the origin does not start")? })
    }
}

async fn accept_all(listener: TcpListener) -> anyhow::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        // A wrong byte breaks the connection, which its client tells.
        tokio::spawn(serve(stream));
    }
}

async fn serve(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut head = [0; HEAD];
    stream.read_exact(&mut head).await?;
    let word = |index: usize| head[8 * index..].first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
    let (number, size) = (word(0), Size { up: word(1), down: word(2) });
    if receive(&mut stream, number, true, size.up).await.is_err() {
        stream.set_zero_linger()?;
        return Ok(());
    }
    send(&mut stream, number, false, size.down).await?;
    stream.shutdown().await?;
    stream.read(&mut [0]).await.map(drop)
}

fn fill(number: u64, outwards: bool, from: u64, bytes: &mut [u8]) {
    let begin = (number << 36) + (u64::from(outwards) << 35) + from;
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = pattern(begin + index as u64);
    }
}

async fn send(to: &mut TcpStream, number: u64, outwards: bool, count: u64) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    let mut at = 0;
    while at < count {
        let length = usize::try_from(count - at).unwrap_or(CHUNK).min(CHUNK);
        fill(number, outwards, at, &mut chunk[..length]);
        to.write_all(&chunk[..length]).await?;
        at += length as u64;
    }
    Ok(())
}

async fn receive(from: &mut TcpStream, number: u64, outwards: bool, count: u64) -> io::Result<()> {
    let (mut chunk, mut expected) = (vec![0; CHUNK], vec![0; CHUNK]);
    let mut at = 0;
    while at < count {
        let most = usize::try_from(count - at).unwrap_or(CHUNK).min(CHUNK);
        let length = from.read(&mut chunk[..most]).await?;
        if length == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        fill(number, outwards, at, &mut expected[..length]);
        if chunk[..length] != expected[..length] {
            let what = format!("a wrong byte in flow {number} behind byte {at} (outwards: {outwards})");
            return Err(io::Error::new(ErrorKind::InvalidData, what));
        }
        at += length as u64;
    }
    Ok(())
}

/// A connection to the origin through the proxy.
pub(crate) struct Flow {
    number: u64,
    stream: TcpStream,
}

impl Flow {
    /// Asks the proxy for a connection, from this address of the client. The inner error is the whole answer of a
    /// proxy that refuses.
    pub(crate) async fn open(
        from: Ipv4Addr,
        receive_buffer: Option<u32>,
        proxy: SocketAddr,
        to: SocketAddr,
    ) -> anyhow::Result<Result<Self, String>> {
        static NUMBERS: AtomicU64 = AtomicU64::new(1);
        let socket = TcpSocket::new_v4()?;
        if let Some(bytes) = receive_buffer {
            socket.set_recv_buffer_size(bytes)?;
        }
        socket.bind((from, 0).into())?;
        let mut stream = socket.connect(proxy).await?;
        stream.set_nodelay(true)?;
        stream.write_all(format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n").as_bytes()).await?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            ensure!(answer.len() < ANSWER_MAX, "an endless answer");
            let byte = stream.read_u8().await.context("the proxy hangs up without an answer")?;
            answer.push(byte);
        }
        if answer.starts_with(b"HTTP/1.1 200 ") {
            return Ok(Ok(Self { number: NUMBERS.fetch_add(1, Ordering::Relaxed), stream }));
        }
        stream.read_to_end(&mut answer).await?;
        Ok(Err(String::from_utf8_lossy(&answer).into_owned()))
    }

    /// Says what the flow is to carry, without reading the answer.
    pub(crate) async fn ask(&mut self, size: Size) -> anyhow::Result<()> {
        let head: Vec<u8> = [self.number, size.up, size.down].iter().flat_map(|word| word.to_be_bytes()).collect();
        Ok(self.stream.write_all(&head).await?)
    }

    /// Carries all bytes both ways, to the end of both directions.
    pub(crate) async fn carry(mut self, size: Size) -> anyhow::Result<()> {
        self.ask(size).await?;
        send(&mut self.stream, self.number, true, size.up).await?;
        receive(&mut self.stream, self.number, false, size.down).await?;
        self.stream.shutdown().await?;
        match self.stream.read(&mut [0]).await? {
            0 => Ok(()),
            _ => bail!("a byte behind the last of flow {}", self.number),
        }
    }
}
