//! DNS over UDP through SOCKS5 UDP ASSOCIATE, with PySocks and dnspython.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use lab::pair::{Mode, Pair, PairConfig};
use lab::process;
use lab::programs;
use lab::scratch::Scratch;
use lab::servers;

const WITHIN: Duration = Duration::from_secs(120);

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs").join(name)
}

#[test]
fn questions_and_large_answers_over_udp() -> anyhow::Result<()> {
    let folder = Scratch::new()?;
    let python = programs::python_with("socks")?;
    let server = servers::python(&script("dns_server.py"), Some("dns"), &folder)?;
    for mode in [Mode::constant("2 Mbit/s"), Mode::Off { congestion: "bbr" }] {
        let pair = Pair::start(PairConfig::new(mode))?;
        let mut client = Command::new(&python);
        client.arg(script("dns_client.py")).arg(pair.proxy().to_string()).arg(server.address.to_string());
        process::run(&mut client, WITHIN)?;
    }
    Ok(())
}
