//! Programs that nobody here wrote, over circuits. Each returns where it went.

use std::fs::File;
use std::io::BufReader;
use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use lab::circuits::CircuitNet;
use lab::load::{self, Service, read_pattern};
use lab::process;
use lab::programs;
use lab::scratch::Scratch;
use lab::servers::{self, Nginx};
use lab::socks;

use super::{MEGABYTE, SILENCE};

const WITHIN: Duration = Duration::from_secs(60);
/// Segments of a film, and how often one is asked for.
const SEGMENTS: u32 = 12;
const SEGMENT_BYTES: u64 = 120_000;
const RHYTHM: Duration = Duration::from_millis(250);

/// curl and nginx: a megabyte by SOCKS5, by HTTP CONNECT, and with TLS.
pub(crate) fn curl(net: &CircuitNet) -> anyhow::Result<Vec<SocketAddr>> {
    let nginx = Nginx::start()?;
    nginx.publish("object", MEGABYTE)?;
    let scratch = Scratch::new()?;
    let file = scratch.join("download");
    let (proxy, certificate) = (net.proxy(), nginx.certificate.display().to_string());
    let (plain, secure) = (nginx.http.address, nginx.https);
    let ways = [
        (format!("socks5h://{proxy}"), format!("http://{plain}/object")),
        (format!("http://{proxy}"), format!("http://{plain}/object")),
        (format!("socks5h://{proxy}"), format!("https://localhost:{}/object", secure.port())),
    ];
    for (proxy, url) in ways {
        let mut command = Command::new(programs::find("curl")?);
        command.args(["--silent", "--show-error", "--fail", "--noproxy", "", "--proxytunnel", "--proxy", &proxy]);
        command.args(["--cacert", &certificate, &url, "--output"]).arg(&file);
        process::run(&mut command, WITHIN)?;
        assert_eq!(read_pattern(&mut BufReader::new(File::open(&file)?))?, MEGABYTE, "{url}");
    }
    Ok(vec![plain, secure])
}

/// ssh and sshd: commands, their exit codes, and many lines.
pub(crate) fn ssh(net: &CircuitNet) -> anyhow::Result<SocketAddr> {
    let folder = Scratch::new()?;
    let server = servers::sshd(&folder)?;
    let (socat, proxy, to) = (programs::find("socat")?, net.proxy(), server.address);
    let through = format!("{} - PROXY:{}:%h:%p,proxyport={}", socat.display(), proxy.ip(), proxy.port());
    let ssh = |run: &str| {
        let mut command = Command::new(programs::find("ssh")?);
        command.args(["-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "LogLevel=ERROR"]);
        command.arg("-o").arg(format!("UserKnownHostsFile={}", folder.join("known_hosts").display()));
        command.arg("-o").arg(format!("ProxyCommand={through}")).arg("-i").arg(folder.join("client_key"));
        command.args(["-p", &to.port().to_string(), &to.ip().to_string(), run]);
        process::run_to_end(&mut command, WITHIN)
    };
    let answer = ssh("printf %s hello; exit 42")?;
    assert_eq!((answer.stdout.as_slice(), answer.status.code()), (&b"hello"[..], Some(42)));
    let lines = ssh("seq 1 50000")?;
    let expected: Vec<String> = (1..=50_000).map(|number| number.to_string()).collect();
    assert!(lines.stdout == (expected.join("\n") + "\n").as_bytes(), "the output of seq has changed on its way");
    Ok(to)
}

/// A player: a segment after another on a rhythm, each over a connection of its own.
pub(crate) fn video(net: &CircuitNet) -> anyhow::Result<SocketAddr> {
    let source = load::start(Service::Source { bytes: SEGMENT_BYTES })?;
    let begun = Instant::now();
    for number in 0..SEGMENTS {
        std::thread::sleep((RHYTHM * number).saturating_sub(begun.elapsed()));
        socks::download(net.proxy(), source, SEGMENT_BYTES, SILENCE, |_| {})?;
    }
    Ok(source)
}
