//! Three etcd on loopback, with TLS for peers and clients, and the load generator of `benches/etcd`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context;

use super::super::processes::Watched;
use super::clients::{Load, Served};
use crate::process::{self, Running};
use crate::scratch::{self, Scratch};

/// Building gRPC from nothing on a busy machine.
const BUILD_WITHIN: Duration = Duration::from_secs(1_800);
/// Making certificates.
const FILES_WITHIN: Duration = Duration::from_secs(60);
/// What a load may take beyond its length.
const LOAD_SLACK: Duration = Duration::from_secs(60);
/// One root, and one certificate for all nodes and clients.
const CERTIFICATES: &str = r#"set -e
openssl ecparam -name prime256v1 -genkey -noout -out ca.key
openssl req -x509 -new -key ca.key -sha256 -days 30 -subj /CN=lab -out ca.pem
openssl ecparam -name prime256v1 -genkey -noout -out n.key
openssl req -new -key n.key -subj /CN=node -out n.csr
printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n' > extensions
openssl x509 -req -in n.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -sha256 -extfile extensions -out n.pem
"#;

/// Three nodes; they end when this is dropped.
#[derive(Debug)]
pub(super) struct Etcd {
    running: Vec<Running>,
    endpoints: Vec<String>,
    client: PathBuf,
    folder: Scratch,
}

impl Etcd {
    /// Builds the client and starts three nodes; `None` where etcd is not installed.
    pub(super) fn start(progress: &dyn Fn(&str)) -> anyhow::Result<Option<Self>> {
        let found = Command::new("etcd").arg("--version").stdin(Stdio::null()).output();
        let Ok(found) = found else {
            progress("etcd is not installed (Debian: etcd-server); nothing is compared");
            return Ok(None);
        };
        let version = String::from_utf8_lossy(&found.stdout).lines().next().unwrap_or_default().to_owned();
        progress(&format!("{version}; its client is built"));
        let client = build_client().context("the client for etcd; it needs protoc (Debian: protobuf-compiler)")?;
        let folder = Scratch::new()?;
        let mut openssl = Command::new("sh");
        process::run_script(openssl.current_dir(folder.path()), CERTIFICATES, FILES_WITHIN)?;
        let addresses = || scratch::free_tcp_address().map(|address| format!("https://{address}"));
        let endpoints = [addresses()?, addresses()?, addresses()?];
        let peers = [addresses()?, addresses()?, addresses()?];
        let cluster: Vec<String> = peers.iter().enumerate().map(|(node, peer)| format!("n{node}={peer}")).collect();
        let mut etcd = Self { running: Vec::new(), endpoints: endpoints.to_vec(), client, folder };
        for (node, (endpoint, peer)) in endpoints.iter().zip(&peers).enumerate() {
            etcd.start_one(node, endpoint, peer, &cluster.join(","))?;
        }
        Ok(Some(etcd))
    }

    fn start_one(&mut self, node: usize, endpoint: &str, peer: &str, cluster: &str) -> anyhow::Result<()> {
        let name = format!("n{node}");
        let mut command = Command::new("etcd");
        command.current_dir(self.folder.path());
        command.args(["--name", &name, "--data-dir", &name]);
        command.args(["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer]);
        command.args(["--listen-client-urls", endpoint, "--advertise-client-urls", endpoint]);
        command.args(["--initial-cluster", cluster, "--initial-cluster-state", "new", "--log-level", "error"]);
        command.args(["--quota-backend-bytes", "8000000000", "--client-cert-auth", "--peer-client-cert-auth"]);
        for side in ["", "peer-"] {
            command.args([format!("--{side}cert-file=n.pem"), format!("--{side}key-file=n.key")]);
            command.arg(format!("--{side}trusted-ca-file=ca.pem"));
        }
        let log = self.folder.join(&format!("{name}.log"));
        self.running.push(Running::start(&format!("etcd {name}"), &mut command, &log)?);
        Ok(())
    }

    /// Their processes.
    pub(super) fn watched(&self) -> Watched {
        let named = |(node, running): (usize, &Running)| (format!("etcd {node}"), running.pid());
        Watched(self.running.iter().enumerate().map(named).collect())
    }

    /// Puts a load on the leader.
    pub(super) fn load(&self, load: &Load, seconds: u32) -> anyhow::Result<Served> {
        let mut command = Command::new(&self.client);
        let numbers = [load.clients, seconds as usize, load.value_bytes].map(|number| number.to_string());
        command.arg(self.endpoints.join(",")).args(numbers).arg(self.folder.path());
        let output = process::run(&mut command, Duration::from_secs(seconds.into()) + LOAD_SLACK);
        let output = output.with_context(|| self.running.iter().map(Running::log_tail).collect::<String>())?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let parsed: Result<Vec<u64>, _> = text.split_whitespace().map(str::parse).collect();
        let Ok([all_answers, answers, seconds, median, p99]) = parsed.as_deref() else {
            anyhow::bail!("the client for etcd printed {text}");
        };
        Ok(Served {
            answers: *answers,
            all_answers: *all_answers,
            lasting: Duration::from_secs(*seconds),
            median: Duration::from_micros(*median),
            p99: Duration::from_micros(*p99),
        })
    }
}

fn build_client() -> anyhow::Result<PathBuf> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../benches/etcd/Cargo.toml");
    // Beside this program's own folder: the client's crates are not those of the workspace.
    let own = std::env::current_exe()?;
    let target = own.ancestors().nth(2).context("no target folder")?.join("etcd-load");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--release", "--locked", "--manifest-path"]).arg(manifest);
    process::run(command.arg("--target-dir").arg(&target), BUILD_WITHIN)?;
    Ok(target.join("release/etcd-load"))
}
