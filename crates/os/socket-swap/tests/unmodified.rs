//! Unmodified programs: what they exchange is the same with both preloaded, one of them, and none.

#[path = "support/programs.rs"]
mod programs;
#[path = "support/preload.rs"]
mod support;

use programs::{COMBINATIONS, Server, counts_show_links, finish, program, start, start_for_one};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use support::{Folder, library};

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

/// nginx with the folder's files at a socket, whose `listen` line ends with `protocol`.
fn nginx(folder: &Folder, socket: &Path, protocol: &str, preloaded: bool) -> Server {
    let root = folder.path("");
    let root = root.display();
    // As one user: another one may not read the temporary folder.
    let text = format!(
        "daemon off; pid {root}/pid; error_log {root}/error; events {{}} {} http {{ access_log off; \
         client_body_temp_path {root}/t; server {{ listen unix:{} {protocol}; root {root}; }} }}",
        if is_root() { "user root;" } else { "" },
        socket.display()
    );
    std::fs::write(folder.path("configuration"), text).expect("the folder is writable");
    let mut server = program("nginx", preloaded, folder);
    server.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").arg("-c").arg(folder.path("configuration"));
    start(server, socket)
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
        let _server = nginx(&folder, &socket, "", preloaded[0]);
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

#[test]
fn h2load_gets_all_answers_from_nginx() {
    for (protocol, words) in [("", &["--h1"][..]), ("http2", &["-m", "5"][..])] {
        let mut plain = None;
        for preloaded in COMBINATIONS {
            let folder = Folder::new();
            let socket = folder.path("nginx");
            std::fs::write(folder.path("page"), "a page\n".repeat(3000)).expect("the folder is writable");
            let _server = nginx(&folder, &socket, protocol, preloaded[0]);
            let mut load = program("h2load", preloaded[1], &folder);
            load.args(words).args(["-n", "1600", "-c", "8", "--base-uri"]).arg(format!("unix:{}", socket.display()));
            load.arg("http://x/page");
            let said = String::from_utf8_lossy(&finish(load).stdout).into_owned();
            // How many answers of which kind and, at the end of its line, how many bytes of pages.
            let told = |line: &&str| ["requests:", "status codes:"].iter().any(|what| line.starts_with(what));
            let traffic = said.lines().find(|line| line.starts_with("traffic:")).unwrap_or_default();
            let counts: Vec<&str> = said.lines().filter(told).chain(traffic.rsplit(", ").next()).collect();
            let counts = counts.join("\n");
            assert!(counts.contains("1600 succeeded, 0 failed") && counts.contains("data"), "{preloaded:?}:\n{said}");
            assert_eq!(&counts, plain.get_or_insert_with(|| counts.clone()), "{preloaded:?}, {protocol}");
            if preloaded == [true, true] {
                counts_show_links(&folder);
            }
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

/// A program as the user that PostgreSQL insists on: anybody but root.
fn as_its_user(command: &Path, preload: Option<&Path>) -> Command {
    let mut started = if is_root() {
        let mut started = Command::new("setpriv");
        started.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]).arg(command);
        started
    } else {
        Command::new(command)
    };
    started.stdin(Stdio::null()).env_remove("LD_PRELOAD").env("LC_ALL", "C").env("TZ", "UTC");
    if let Some(library) = preload {
        started.env("LD_PRELOAD", library);
    }
    started
}

/// Where Debian keeps the server's programs: one folder for each version.
fn postgres_folder() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let folders = versions.map(|version| version.path().join("bin")).filter(|folder| folder.join("initdb").exists());
    folders.max().expect("PostgreSQL's server is installed; run scripts/install")
}

#[test]
fn postgres_answers_sessions_and_keeps_its_sums() {
    let programs = postgres_folder();
    let base = Folder::new();
    // Its user may not read the folder of the build.
    let copy = base.path("library.so");
    std::fs::copy(library(), &copy).expect("the folder is writable");
    if is_root() {
        let owned = Command::new("chown").arg("postgres").arg(base.path("")).status();
        assert!(owned.is_ok_and(|owned| owned.success()), "no user `postgres`; run scripts/install");
    }
    let data = base.path("data");
    let mut made = as_its_user(&programs.join("initdb"), None);
    made.args(["--no-sync", "--auth=trust", "--username=tester", "--encoding=UTF8", "-D"]).arg(&data);
    finish(made);
    let mut plain = None;
    for preloaded in COMBINATIONS {
        let folder = Folder::new();
        let mut server = as_its_user(&programs.join("postgres"), preloaded[0].then_some(copy.as_path()));
        server.args(["-F", "-h", "", "-c", "shared_buffers=16MB", "-D"]).arg(&data).arg("-k").arg(base.path(""));
        let _server = start(server, &base.path(".s.PGSQL.5432"));
        let client = |name: &str| {
            let mut client = program(name, preloaded[1], &folder);
            client
                .env("PGHOST", base.path(""))
                .env("PGUSER", "tester")
                .env("PGDATABASE", "postgres")
                .env("LC_ALL", "C");
            client
        };
        // It listens before it answers.
        let is_up = || client("pg_isready").stdout(Stdio::null()).status().is_ok_and(|status| status.success());
        let began = Instant::now();
        while !is_up() {
            assert!(began.elapsed() < Duration::from_secs(60), "it never answers");
            std::thread::sleep(Duration::from_millis(25));
        }
        let mut session = client("psql");
        session.args(["-X", "-a", "-f"]).arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs/postgres.sql"));
        let said = finish(session);
        let said = String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).into_owned();
        let said = without_process_numbers(&said);
        let expected = plain.get_or_insert_with(|| said.clone());
        assert!(expected.len() > 4_000_000, "the session says too little:\n{expected}");
        assert!(said == *expected, "{preloaded:?}: another session");
        let mut load = client("pgbench");
        load.args(["-i", "-q", "-s", "1"]);
        finish(load);
        let mut load = client("pgbench");
        load.args(["-n", "-c", "4", "-j", "2", "-t", "60"]);
        finish(load);
        let mut sums = client("psql");
        sums.args(["-X", "-A", "-t", "-c"]).arg(
            "SELECT count(*), sum(delta) = (SELECT sum(abalance) FROM pgbench_accounts), \
             sum(delta) = (SELECT sum(tbalance) FROM pgbench_tellers) FROM pgbench_history",
        );
        assert_eq!(finish(sums).stdout, b"240|t|t\n", "{preloaded:?}");
        if preloaded == [true, true] {
            counts_show_links(&folder);
        }
    }
}

/// What a notification says of its sender differs from run to run.
fn without_process_numbers(said: &str) -> String {
    let marker = "received from server process with PID ";
    let mut parts = said.split(marker);
    let mut all = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        all.push_str(marker);
        all.push_str(part.trim_start_matches(|letter: char| letter.is_ascii_digit()));
    }
    all
}

#[test]
fn rsync_copies_a_folder_through_two_relays() {
    let words: Vec<u8> = (0..2_000_000u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 11) as u8).collect();
    for preloaded in COMBINATIONS {
        let folder = Folder::new();
        let (socket, from, to) = (folder.path("s"), folder.path("from"), folder.path("to"));
        std::fs::create_dir_all(from.join("many")).expect("the folder is writable");
        std::fs::write(from.join("big"), &words).expect("the folder is writable");
        for number in 0..300 {
            let piece = &words[number * 1000..number * 1000 + number * 7];
            std::fs::write(from.join(format!("many/{number}")), piece).expect("the folder is writable");
        }
        // An older copy, so that sums go one way and differences the other.
        std::fs::create_dir_all(&to).expect("the folder is writable");
        std::fs::write(to.join("big"), &words[300_000..1_700_000]).expect("the folder is writable");
        let users = if is_root() { "uid = root\ngid = root\n" } else { "" };
        let text = format!("use chroot = no\n{users}[all]\npath = {}\n", from.display());
        std::fs::write(folder.path("configuration"), text).expect("the folder is writable");
        let mut server = program("socat", preloaded[0], &folder);
        // The other program first: a child made later would have the connection too, which stays plain then.
        server.arg(format!("EXEC:rsync --daemon --config={}", folder.path("configuration").display()));
        server.arg(format!("UNIX-LISTEN:{}", socket.display()));
        let _server = start_for_one(server, &socket);
        let mut client = program("rsync", preloaded[1], &folder);
        client
            .env("RSYNC_CONNECT_PROG", format!("socat STDIO UNIX-CONNECT:{},retry=100,interval=0.1", socket.display()));
        client.args(["-a", "--no-whole-file", "rsync://localhost/all/"]).arg(&to);
        finish(client);
        let same = Command::new("diff").arg("-r").args([&from, &to]).output().expect("diff is part of every system");
        assert!(same.status.success(), "{preloaded:?}: {}", String::from_utf8_lossy(&same.stdout));
        if preloaded == [true, true] {
            counts_show_links(&folder);
        }
    }
}

#[test]
#[ignore = "Java and Node start thirty-two times; cargo xtask long swap"]
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
