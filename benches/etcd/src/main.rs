//! Closed-loop clients for a cluster of etcd; see the README.

use anyhow::Context;
use etcd_client::{Certificate, Client, ConnectOptions, Identity, KvClient, TlsOptions};
use std::time::{Duration, Instant};

/// Connections at most; gRPC carries many clients over one.
const CONNECTIONS_MAX: usize = 8;
/// What is answered in this time does not count.
const WARM_UP: Duration = Duration::from_secs(1);
/// Keys of one client before it begins again.
const KEYS: u64 = 10_000;
/// How long a leader may be looked for.
const LEADER_WITHIN: Duration = Duration::from_secs(20);

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [endpoints, clients, seconds, value_bytes, folder] = arguments.as_slice() else {
        anyhow::bail!("usage: etcd-load ENDPOINTS CLIENTS SECONDS VALUE_BYTES FOLDER");
    };
    let (clients, value_bytes) = (clients.parse::<usize>()?, value_bytes.parse::<usize>()?);
    let seconds = seconds.parse::<u64>()?;
    let endpoints: Vec<&str> = endpoints.split(',').collect();
    let leader = leader(&endpoints, folder).await?;
    let mut connections = Vec::new();
    for _ in 0..clients.min(CONNECTIONS_MAX) {
        connections.push(connect(&leader, folder).await?);
    }
    let begin = Instant::now() + WARM_UP;
    let end = begin + Duration::from_secs(seconds);
    let tasks: Vec<_> = (0..clients)
        .map(|client| {
            let connection = connections[client % connections.len()].kv_client();
            tokio::spawn(put_until(connection, client, vec![7; value_bytes], begin, end))
        })
        .collect();
    let (mut times, mut all) = (Vec::new(), 0);
    for task in tasks {
        let (counted, answers) = task.await??;
        times.extend(counted);
        all += answers;
    }
    times.sort_unstable();
    let at = |share: f64| times[((share * times.len() as f64) as usize).min(times.len() - 1)];
    anyhow::ensure!(!times.is_empty(), "nothing was answered");
    println!("{all} {} {seconds} {} {}", times.len(), at(0.5), at(0.99));
    Ok(())
}

/// One client; gives the answer times that count, in microseconds, and how many answers there were.
async fn put_until(
    mut connection: KvClient,
    client: usize,
    value: Vec<u8>,
    begin: Instant,
    end: Instant,
) -> anyhow::Result<(Vec<u32>, u64)> {
    let (mut times, mut count) = (Vec::new(), 0_u64);
    loop {
        let asked = Instant::now();
        if asked >= end {
            return Ok((times, count));
        }
        let key = format!("k{client:05}{:08}", count % KEYS);
        connection.put(key, value.clone(), None).await.context("a put failed")?;
        count += 1;
        if asked >= begin {
            times.push(u32::try_from(asked.elapsed().as_micros()).unwrap_or(u32::MAX));
        }
    }
}

/// The endpoint that leads.
async fn leader(endpoints: &[&str], folder: &str) -> anyhow::Result<String> {
    let deadline = Instant::now() + LEADER_WITHIN;
    while Instant::now() < deadline {
        for endpoint in endpoints {
            let Ok(client) = connect(endpoint, folder).await else { continue };
            let Ok(status) = client.maintenance_client().status().await else { continue };
            let own = status.header().map(|header| header.member_id());
            if status.leader() != 0 && own == Some(status.leader()) {
                return Ok((*endpoint).to_owned());
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    anyhow::bail!("no endpoint leads within {LEADER_WITHIN:?}")
}

async fn connect(endpoint: &str, folder: &str) -> anyhow::Result<Client> {
    let read = |name: &str| std::fs::read(format!("{folder}/{name}")).with_context(|| format!("cannot read {name}"));
    let identity = Identity::from_pem(read("n.pem")?, read("n.key")?);
    let root = Certificate::from_pem(read("ca.pem")?);
    let tls = TlsOptions::new().ca_certificate(root).identity(identity).domain_name("localhost");
    Client::connect([endpoint], Some(ConnectOptions::new().with_tls(tls)))
        .await
        .with_context(|| format!("cannot connect to {endpoint}"))
}
