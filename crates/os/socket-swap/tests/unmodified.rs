//! Unmodified programs: what they exchange is the same with both preloaded, one of them, and none.

#[path = "support/preload.rs"]
mod support;

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use support::{Folder, library};

/// Who is preloaded: server, client.
const COMBINATIONS: [[bool; 2]; 4] = [[false, false], [true, true], [true, false], [false, true]];

/// A server that ends with this.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // Not by force: a server with processes of its own ends them.
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

fn program(name: &str, preloaded: bool, folder: &Folder) -> Command {
    let mut command = Command::new(name);
    command.stdin(Stdio::null()).env_remove("LD_PRELOAD");
    if preloaded {
        command.env("LD_PRELOAD", library()).env("HUSHWIRE_SWAP_STATS", folder.path("counts"));
    }
    command
}

fn start(mut command: Command, socket: &Path) -> Server {
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let name = command.get_program().to_string_lossy().into_owned();
    let server = Server(command.spawn().unwrap_or_else(|error| panic!("{name}: {error}; run scripts/install")));
    let began = Instant::now();
    // Bound is not yet listening.
    while UnixStream::connect(socket).is_err() {
        assert!(began.elapsed() < Duration::from_secs(20), "{name} does not listen");
        std::thread::sleep(Duration::from_millis(10));
    }
    server
}

fn finish(mut command: Command) -> Output {
    let name = command.get_program().to_string_lossy().into_owned();
    let ran = command.output().unwrap_or_else(|error| panic!("{name}: {error}; run scripts/install"));
    assert!(ran.status.success(), "{name}: {} {}", ran.status, String::from_utf8_lossy(&ran.stderr));
    ran
}

fn counts_show_links(folder: &Folder) {
    let counts = std::fs::read_to_string(folder.path("counts")).unwrap_or_default();
    assert!(counts.lines().any(|line| !line.contains(" linked=0 ")), "nothing was swapped:\n{counts}");
}

#[test]
fn redis_answers_its_own_client() {
    for preloaded in COMBINATIONS {
        let folder = Folder::new();
        let socket = folder.path("redis");
        let mut server = program("redis-server", preloaded[0], &folder);
        server.args(["--port", "0", "--save", "", "--dir"]).arg(folder.path("")).arg("--unixsocket").arg(&socket);
        let _server = start(server, &socket);
        let mut load = program("redis-benchmark", preloaded[1], &folder);
        load.arg("-s").arg(&socket).args([
            "-q",
            "-n",
            "3000",
            "-c",
            "8",
            "-r",
            "100",
            "-t",
            "set,get,lpush,lrange_300",
        ]);
        finish(load);
        let mut client = program("redis-cli", preloaded[1], &folder);
        client.arg("-s").arg(&socket).args(["-r", "40", "--raw", "echo", &"long words ".repeat(900)]);
        let said = finish(client).stdout;
        assert_eq!(String::from_utf8_lossy(&said).matches("long words").count(), 40 * 900, "{preloaded:?}");
        if preloaded == [true, true] {
            counts_show_links(&folder);
        }
    }
}

#[test]
fn curl_gets_from_nginx_what_lies_there() {
    let big: Vec<u8> = (0..3_000_000u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let expected = [big.as_slice(), b"small\n"].concat().repeat(25);
    for preloaded in COMBINATIONS {
        let folder = Folder::new();
        let socket = folder.path("nginx");
        std::fs::write(folder.path("big"), &big).expect("the folder is writable");
        std::fs::write(folder.path("small"), b"small\n").expect("the folder is writable");
        let root = folder.path("");
        let root = root.display();
        // As one user: another one may not read the temporary folder.
        let text = format!(
            "daemon off; pid {root}/pid; error_log {root}/error; events {{}} {} http {{ access_log off; \
             client_body_temp_path {root}/t; server {{ listen unix:{}; root {root}; }} }}",
            if is_root() { "user root;" } else { "" },
            socket.display()
        );
        std::fs::write(folder.path("configuration"), text).expect("the folder is writable");
        let mut server = program("nginx", preloaded[0], &folder);
        server.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").arg("-c").arg(folder.path("configuration"));
        let _server = start(server, &socket);
        let mut client = program("curl", preloaded[1], &folder);
        client.args(["-sf", "--unix-socket"]).arg(&socket);
        for _ in 0..25 {
            client.args(["http://x/big", "http://x/small"]);
        }
        assert!(finish(client).stdout == expected, "{preloaded:?}: other bytes arrived");
        if preloaded == [true, true] {
            counts_show_links(&folder);
        }
    }
}

fn is_root() -> bool {
    let asked = Command::new("id").arg("-u").output();
    asked.is_ok_and(|asked| asked.stdout == b"0\n")
}
