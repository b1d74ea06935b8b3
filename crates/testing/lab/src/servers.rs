//! Servers that nobody here wrote, started on free ports of loopback for one test.

use std::fs::File;
use std::io::BufWriter;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::load::send_pattern;
use crate::process::{self, Running};
use crate::programs;
use crate::scratch::{Scratch, free_tcp_address};

/// How long a server may take until it accepts connections.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// How long making a key may take.
const KEY_WITHIN: Duration = Duration::from_secs(60);

/// A server that listens.
#[derive(Debug)]
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its process.
    pub process: Running,
}

impl Server {
    /// Starts a command and waits until its port accepts connections.
    ///
    /// # Errors
    /// If it cannot be started or does not listen, with its log.
    pub fn start(name: &str, address: SocketAddr, command: &mut Command, log: &Path) -> anyhow::Result<Self> {
        let mut process = Running::start(name, command, log)?;
        process.wait_until("listening", READY_WITHIN, || TcpStream::connect(address).is_ok())?;
        Ok(Self { address, process })
    }
}

/// nginx with plain HTTP and HTTPS over the same folder. `POST` and `PUT` to `/upload/NAME` keep the body as a file.
#[derive(Debug)]
pub struct Nginx {
    /// The plain HTTP side.
    pub http: Server,
    /// The HTTPS side.
    pub https: SocketAddr,
    /// The certificate that HTTPS clients have to trust.
    pub certificate: PathBuf,
    folder: Scratch,
}

impl Nginx {
    /// Starts it with an empty folder.
    ///
    /// # Errors
    /// If a program is missing or nginx does not start.
    pub fn start() -> anyhow::Result<Self> {
        let (nginx, openssl) = (programs::find("nginx")?, programs::find("openssl")?);
        let folder = Scratch::new()?;
        std::fs::create_dir_all(folder.join("www/upload"))?;
        std::fs::create_dir_all(folder.join("tmp"))?;
        let certificate = folder.join("certificate.pem");
        let mut request = Command::new(openssl);
        request.args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
        ]);
        request.args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout"]);
        request.arg(folder.join("key.pem")).arg("-out").arg(&certificate);
        process::run(&mut request, KEY_WITHIN)?;
        let (address, https) = (free_tcp_address()?, free_tcp_address()?);
        let config = folder.write("nginx.conf", configuration(folder.path(), address, https))?;
        let mut command = Command::new(nginx);
        command.arg("-e").arg(folder.join("nginx.log")).arg("-p").arg(folder.path()).arg("-c").arg(config);
        let http = Server::start("nginx", address, &mut command, &folder.join("nginx.log"))?;
        Ok(Self { http, https, certificate, folder })
    }

    /// Makes a file of the pattern of [`crate::load::pattern`] that `GET /NAME` returns.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn publish(&self, name: &str, bytes: u64) -> std::io::Result<PathBuf> {
        let path = self.folder.join("www").join(name);
        send_pattern(&mut BufWriter::new(File::create(&path)?), bytes)?;
        Ok(path)
    }

    /// Where the body of an upload with this name is kept.
    pub fn uploaded(&self, name: &str) -> PathBuf {
        self.folder.join("www/upload").join(name)
    }
}

fn configuration(folder: &Path, http: SocketAddr, https: SocketAddr) -> String {
    let folder = folder.display();
    // Started by the superuser, the workers would give up their rights and could not read a private folder.
    let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
    format!(
        "{user} daemon off; master_process on; worker_processes 1; pid {folder}/nginx.pid;
events {{ worker_connections 4096; }}
http {{
    access_log off; default_type application/octet-stream; sendfile on; keepalive_requests 100000;
    client_body_temp_path {folder}/tmp; proxy_temp_path {folder}/tmp; fastcgi_temp_path {folder}/tmp;
    uwsgi_temp_path {folder}/tmp; scgi_temp_path {folder}/tmp; client_max_body_size 0;
    server {{
        listen {http}; listen {https} ssl;
        ssl_certificate {folder}/certificate.pem; ssl_certificate_key {folder}/key.pem;
        root {folder}/www;
        location /upload/ {{ dav_methods PUT; }}
        # A POST is kept as the PUT that it is sent on as.
        location /post/ {{ proxy_method PUT; proxy_pass http://{http}/upload/; proxy_request_buffering off; }}
    }}
}}
"
    )
}

/// redis without persistence.
///
/// # Errors
/// If it is not installed or does not start.
pub fn redis(folder: &Scratch) -> anyhow::Result<Server> {
    let address = free_tcp_address()?;
    let mut command = Command::new(programs::find("redis-server")?);
    command.args(["--bind", "127.0.0.1", "--port", &address.port().to_string(), "--save", "", "--appendonly", "no"]);
    // Clients may come from other machines of a test, of which it has none in mind.
    command.args(["--protected-mode", "no", "--dir"]).arg(folder.path());
    Server::start("redis-server", address, &mut command, &folder.join("redis.log"))
}

/// An iperf3 server.
///
/// # Errors
/// If it is not installed or does not start.
pub fn iperf3(folder: &Scratch) -> anyhow::Result<Server> {
    let address = free_tcp_address()?;
    let mut command = Command::new(programs::find("iperf3")?);
    command.args(["--server", "--bind", "127.0.0.1", "--port", &address.port().to_string(), "--forceflush"]);
    let mut process = Running::start("iperf3", &mut command, &folder.join("iperf3.log"))?;
    // A probe connection would count as a test, so its own word is taken.
    let log = folder.join("iperf3.log");
    let listening = || std::fs::read_to_string(&log).is_ok_and(|text| text.contains("Server listening"));
    process.wait_until("listening", READY_WITHIN, listening)?;
    Ok(Server { address, process })
}

/// An SSH server that lets the present user in with the key `client_key` in `folder`.
///
/// # Errors
/// If it is not installed or does not start.
pub fn sshd(folder: &Scratch) -> anyhow::Result<Server> {
    let keygen = programs::find("ssh-keygen")?;
    for name in ["host_key", "client_key"] {
        let mut command = Command::new(&keygen);
        command.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(folder.join(name));
        process::run(&mut command, KEY_WITHIN)?;
    }
    std::fs::copy(folder.join("client_key.pub"), folder.join("authorized_keys"))?;
    if rustix::process::geteuid().is_root() {
        // The server wants its folder for dropping rights; the service's start script makes it elsewhere.
        std::fs::create_dir_all("/run/sshd")?;
    }
    let address = free_tcp_address()?;
    let shown = folder.path().display();
    let config = format!(
        "ListenAddress {address}\nHostKey {shown}/host_key\nAuthorizedKeysFile {shown}/authorized_keys\n\
         PidFile {shown}/sshd.pid\nUsePAM no\nStrictModes no\nPasswordAuthentication no\nPermitRootLogin yes\n\
         MaxStartups 100\n"
    );
    let config = folder.write("sshd_config", config)?;
    let mut command = Command::new(programs::find("sshd")?);
    command.args(["-D", "-e", "-f"]).arg(config);
    Server::start("sshd", address, &mut command, &folder.join("sshd.log"))
}

/// A Python program of the tests that prints the port it listens on as its first line.
///
/// # Errors
/// If Python or a module is missing, or the program does not start.
pub fn python(script: &Path, module: Option<&'static str>, folder: &Scratch) -> anyhow::Result<Server> {
    let python = match module {
        Some(module) => programs::python_with(module)?,
        None => programs::python()?,
    };
    let name = script.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let log = folder.join(&format!("{name}.log"));
    let mut process = Running::start(&name, Command::new(python).arg("-u").arg(script), &log)?;
    let port = || std::fs::read_to_string(&log).ok()?.lines().next()?.parse::<u16>().ok();
    process.wait_until("its port", READY_WITHIN, || port().is_some())?;
    let port = port().unwrap_or_default();
    Ok(Server { address: SocketAddr::from(([127, 0, 0, 1], port)), process })
}
