//! Unmodified programs: what they exchange is the same with both preloaded, one of them, and none.

#[path = "support/programs.rs"]
mod programs;
#[path = "support/preload.rs"]
mod support;

use programs::{COMBINATIONS, counts_show_links, finish, program, start};
use std::path::Path;
use std::process::Command;
use support::Folder;

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

/// Runs a Python program over a server's socket, in every combination. It must print the same each time.
fn python_sees_the_same(server_of: impl Fn(&Folder, &Path, bool) -> Command, client: &str, is_swapped: bool) {
    let mut plain = None;
    for preloaded in COMBINATIONS {
        let folder = Folder::new();
        let socket = folder.path("s");
        let _server = start(server_of(&folder, &socket, preloaded[0]), &socket);
        let mut asking = program("python3", preloaded[1], &folder);
        asking.arg("-c").arg(client).arg(&socket);
        let said = String::from_utf8_lossy(&finish(asking).stdout).into_owned();
        assert!(!said.is_empty(), "{preloaded:?}: it says nothing");
        assert_eq!(&said, plain.get_or_insert_with(|| said.clone()), "{preloaded:?}");
        if preloaded == [true, true] && is_swapped {
            counts_show_links(&folder);
        }
    }
}

#[test]
fn memcached_keeps_what_it_was_given() {
    let client = include_str!("programs/memcached.py");
    let server = |folder: &Folder, socket: &Path, preloaded| {
        let mut server = program("memcached", preloaded, folder);
        server.args(["-t", "3", "-m", "16", "-s"]).arg(socket);
        if is_root() {
            server.args(["-u", "root"]);
        }
        server
    };
    python_sees_the_same(server, client, true);
}

/// Debian's agent has a group of its own, so the loader keeps the library out of it: it must answer as always.
#[test]
fn the_agent_of_openssh_lists_its_keys() {
    let client = include_str!("programs/agent.py");
    let server = |folder: &Folder, socket: &Path, preloaded| {
        let mut server = program("ssh-agent", preloaded, folder);
        server.arg("-D").arg("-a").arg(socket);
        server
    };
    python_sees_the_same(server, client, false);
}

#[test]
fn asyncio_echoes_in_both_roles() {
    let server = |folder: &Folder, socket: &Path, preloaded| {
        let mut server = program("python3", preloaded, folder);
        server.arg("-c").arg(include_str!("programs/asyncio_server.py")).arg(socket);
        server
    };
    python_sees_the_same(server, include_str!("programs/asyncio_client.py"), true);
}

#[test]
fn the_bus_of_d_bus_answers() {
    let server = |folder: &Folder, socket: &Path, preloaded| {
        let mut server = program("dbus-daemon", preloaded, folder);
        server.args(["--session", "--nofork", "--nopidfile", "--nosyslog"]);
        server.arg(format!("--address=unix:path={}", socket.display()));
        server
    };
    python_sees_the_same(server, include_str!("programs/bus.py"), true);
}

#[test]
#[ignore = "needs Node and a Java development kit; cargo xtask long swap"]
fn node_and_java_talk_to_each_other_and_to_themselves() {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs");
    for preloaded in COMBINATIONS {
        for (server_in_java, client_in_java) in [(false, false), (true, false), (false, true), (true, true)] {
            let folder = Folder::new();
            let socket = folder.path("s");
            let command = |java: bool, role: &str, preloaded: bool| {
                let mut command = program(if java { "java" } else { "node" }, preloaded, &folder);
                command.arg(scripts.join(if java { "Echo.java" } else { "echo.js" })).arg(role).arg(&socket);
                command
            };
            let _server = start(command(server_in_java, "server", preloaded[0]), &socket);
            let said = finish(command(client_in_java, "client", preloaded[1])).stdout;
            let said = String::from_utf8_lossy(&said);
            assert_eq!(said, "3000000 bytes came back as they were\n", "{preloaded:?}");
            if preloaded == [true, true] {
                counts_show_links(&folder);
            }
        }
    }
}

fn is_root() -> bool {
    let asked = Command::new("id").arg("-u").output();
    asked.is_ok_and(|asked| asked.stdout == b"0\n")
}
