//! Starting and stopping: a pair comes up whichever node is first, and ends without remains.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use lab::load::{self, Service};
use lab::pair::{Mode, Pair, PairConfig, Role};

type Outcome = anyhow::Result<()>;

fn fetch(pair: &Pair, bytes: u64) -> Outcome {
    let stream = TcpStream::connect(pair.forward(0))?;
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut stream = stream;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    anyhow::ensure!(load::read_pattern(&mut stream)? == bytes, "the source's bytes come whole");
    Ok(())
}

#[test]
fn a_restarted_node_serves_again() -> Outcome {
    let source = load::start(Service::Source { bytes: 100_000 })?;
    for mode in [Mode::constant("10 Mbit/s"), Mode::Off { congestion: "bbr" }] {
        let mut pair = Pair::start(PairConfig::new(mode).with_forward(source))?;
        fetch(&pair, 100_000)?;
        for role in [Role::Exit, Role::Entry] {
            if let Some(node) = pair.take_node(role) {
                node.stop()?;
            }
            pair.start_node(role)?;
            pair.wait_until_up()?;
            fetch(&pair, 100_000)?;
        }
    }
    Ok(())
}

#[test]
#[ignore = "takes minutes: cargo xtask long starts"]
fn a_pair_comes_up_every_time() -> Outcome {
    let source = load::start(Service::Source { bytes: 100_000 })?;
    let mut slowest = Duration::ZERO;
    for round in 0..40 {
        let mode = if round % 2 == 0 { Mode::constant("2 Mbit/s") } else { Mode::Off { congestion: "bbr" } };
        let started = Instant::now();
        let pair = Pair::start(PairConfig::new(mode).with_forward(source))?;
        slowest = slowest.max(started.elapsed());
        fetch(&pair, 100_000)?;
    }
    anyhow::ensure!(slowest < Duration::from_secs(10), "the slowest start took {slowest:?}");
    Ok(())
}
