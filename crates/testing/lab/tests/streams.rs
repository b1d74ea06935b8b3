//! Long-lived HTTP streams: WebSocket by the Python library of that name, and server-sent events by curl.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use lab::pair::{Mode, Pair, PairConfig};
use lab::process;
use lab::programs;
use lab::scratch::Scratch;
use lab::servers;

const WITHIN: Duration = Duration::from_secs(120);

type Outcome = anyhow::Result<()>;

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs").join(name)
}

#[test]
fn websocket_messages_pings_and_close_codes() -> Outcome {
    let folder = Scratch::new()?;
    let python = programs::python_with("websockets")?;
    let server = servers::python(&script("websocket_server.py"), Some("websockets"), &folder)?;
    for mode in [Mode::constant("50 Mbit/s"), Mode::Off { congestion: "bbr" }] {
        let pair = Pair::start(PairConfig::new(mode).with_forward(server.address))?;
        let address = format!("ws://{}/", pair.forward(0));
        process::run(Command::new(&python).arg(script("websocket_client.py")).arg(address), WITHIN)?;
    }
    Ok(())
}

#[test]
fn server_sent_events_come_one_by_one() -> Outcome {
    let folder = Scratch::new()?;
    let curl = programs::find("curl")?;
    let server = servers::python(&script("sse_server.py"), None, &folder)?;
    for mode in [Mode::constant("2 Mbit/s"), Mode::Off { congestion: "bbr" }] {
        let pair = Pair::start(PairConfig::new(mode))?;
        let mut client = Command::new(programs::python()?);
        client.arg(script("sse_client.py")).arg(&curl).args(["--silent", "--no-buffer", "--noproxy", ""]);
        client.args(["--socks5-hostname", &pair.proxy().to_string(), &format!("http://{}/", server.address)]);
        process::run(&mut client, WITHIN)?;
    }
    Ok(())
}
