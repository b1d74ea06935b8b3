//! ssh and redis-cli: interactive protocols, half-closed connections, and many small messages.

use std::fmt::Write as _;
use std::io::{BufReader, Read, Write};
use std::net::Shutdown;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use lab::load::{Service, pattern, send_pattern};
use lab::pair::{Mode, Pair, PairConfig};
use lab::programs;
use lab::scratch::Scratch;
use lab::servers::{self, Server};
use lab::{load, process};

const WITHIN: Duration = Duration::from_secs(120);

type Outcome = anyhow::Result<()>;

/// ssh through the HTTP CONNECT port, as people use it: with a proxy command.
fn ssh(pair: &Pair, server: &Server, folder: &Scratch) -> anyhow::Result<Command> {
    let (socat, proxy, to) = (programs::find("socat")?, pair.proxy(), server.address);
    let through = format!("{} - PROXY:{}:%h:%p,proxyport={}", socat.display(), proxy.ip(), proxy.port());
    let mut command = Command::new(programs::find("ssh")?);
    command.args(["-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "LogLevel=ERROR"]);
    command.arg("-o").arg(format!("UserKnownHostsFile={}", folder.join("known_hosts").display()));
    command.arg("-o").arg(format!("ProxyCommand={through}"));
    command.arg("-i").arg(folder.join("client_key"));
    command.args(["-p", &to.port().to_string(), &to.ip().to_string()]);
    Ok(command)
}

#[test]
fn ssh_carries_commands_bytes_and_exit_codes() -> Outcome {
    let folder = Scratch::new()?;
    let server = servers::sshd(&folder)?;
    for mode in [Mode::constant("10 Mbit/s"), Mode::Off { congestion: "cubic" }] {
        let pair = Pair::start(PairConfig::new(mode))?;
        let answer = process::run(ssh(&pair, &server, &folder)?.arg("printf %s hello; exit 0"), WITHIN)?;
        assert_eq!(answer.stdout, b"hello");
        let failed = process::run_to_end(ssh(&pair, &server, &folder)?.arg("exit 42"), WITHIN)?;
        assert_eq!(failed.status.code(), Some(42), "{}", process::printed(&failed));
        let lines = process::run(ssh(&pair, &server, &folder)?.arg("seq 1 100000"), WITHIN)?;
        let expected: String = (1..=100_000).fold(String::new(), |mut text, number| {
            let written = writeln!(text, "{number}");
            debug_assert!(written.is_ok(), "writing to a string cannot fail");
            text
        });
        assert!(lines.stdout == expected.as_bytes(), "the output of seq has changed on its way");
        cat(&pair, &server, &folder)?;
    }
    Ok(())
}

/// Two megabytes through `cat` on the other side, there and back at the same time, ended by a half-close.
fn cat(pair: &Pair, server: &Server, folder: &Scratch) -> Outcome {
    let mut command = ssh(pair, server, folder)?;
    let mut child = command.arg("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut input = child.stdin.take().context("the pipe was asked for")?;
    let writer = std::thread::spawn(move || send_pattern(&mut input, 2_000_000));
    let mut output = child.stdout.take().context("the pipe was asked for")?;
    assert_eq!(load::read_pattern(&mut output)?, 2_000_000);
    assert!(child.wait()?.success());
    writer.join().map_err(|_| anyhow::anyhow!("the writer panicked"))??;
    Ok(())
}

#[test]
fn redis_values_and_ten_thousand_piped_commands() -> Outcome {
    let folder = Scratch::new()?;
    let server = servers::redis(&folder)?;
    let redis_cli = programs::find("redis-cli")?;
    for mode in [Mode::constant("10 Mbit/s"), Mode::Off { congestion: "bbr" }] {
        let pair = Pair::start(PairConfig::new(mode).with_forward(server.address))?;
        let port = pair.forward(0).port().to_string();
        let cli = || {
            let mut command = Command::new(&redis_cli);
            command.args(["-h", "127.0.0.1", "-p", &port]);
            command
        };
        process::run(cli().arg("flushall"), WITHIN)?;
        let value: String = (0..100_000).map(|index| char::from(b'a' + pattern(index) % 26)).collect();
        assert_eq!(process::run(cli().args(["set", "key", &value]), WITHIN)?.stdout, b"OK\n");
        assert_eq!(process::run(cli().args(["get", "key"]), WITHIN)?.stdout, format!("{value}\n").as_bytes());
        pipe(cli())?;
        assert_eq!(process::run(cli().arg("dbsize"), WITHIN)?.stdout, b"10001\n");
        assert_eq!(process::run(cli().args(["get", "key:9999"]), WITHIN)?.stdout, b"value 9999\n");
    }
    Ok(())
}

/// Ten thousand SET commands over one connection.
fn pipe(mut cli: Command) -> Outcome {
    let mut child = cli.arg("--pipe").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut input = child.stdin.take().context("the pipe was asked for")?;
    for number in 0..10_000 {
        write!(input, "SET key:{number} \"value {number}\"\r\n")?;
    }
    drop(input);
    let mut text = String::new();
    child.stdout.take().context("the pipe was asked for")?.read_to_string(&mut text)?;
    assert!(child.wait()?.success() && text.contains("errors: 0, replies: 10000"), "{text}");
    Ok(())
}

#[test]
fn half_closed_connections_carry_the_answer_home() -> Outcome {
    let sink = load::start(Service::Sink)?;
    let source = load::start(Service::Source { bytes: 1_000_003 })?;
    let config = PairConfig::new(Mode::constant("20 Mbit/s")).with_forward(sink).with_forward(source);
    let pair = Pair::start(config)?;
    // socat closes its sending side at the end of its input and then waits for the answer.
    let through = format!("PROXY:127.0.0.1:{sink},proxyport={}", pair.proxy().port());
    let folder = Scratch::new()?;
    let input = folder.write("input", vec![7; 500_000])?;
    let socat = Command::new(programs::find("socat")?)
        .args(["-t", "60", "-", &through])
        .stdin(std::fs::File::open(input)?)
        .stdout(Stdio::piped())
        .spawn()?;
    let answer = socat.wait_with_output()?.stdout;
    assert_eq!(answer, 500_000u64.to_be_bytes());
    // The other way round: the application closes first, and the server's bytes still come, to the last one.
    let stream = std::net::TcpStream::connect(pair.forward(1))?;
    stream.shutdown(Shutdown::Write)?;
    assert_eq!(load::read_pattern(&mut BufReader::new(stream))?, 1_000_003);
    Ok(())
}
