//! An entry over circuits, four relays and an exit as real processes on loopback: a page through the proxy, a guard that is
//! killed, a restart with the same guards, and what keeps it from running.

use crate::folder::Folder;
use crate::network::{
    Process, RELAYS, SOON, connect, connect_as, echo_server, linked, make_network, tunnel, wait_for_legs, write_entry,
};
use crate::outcome::{bad, good};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Command;
use std::time::{Duration, Instant};

/// The directory's service behind the exit, which sends back what comes once it was told that a stranger speaks.
fn directory_service(folder: &Folder) {
    let listener = UnixListener::bind(folder.0.join("service.sock")).expect("a socket");
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let mut back = stream.try_clone().expect("a second handle");
            std::thread::spawn(move || {
                let _ = stream.read_exact(&mut [0; 5]);
                let _ = std::io::copy(&mut stream, &mut back);
                let _ = back.shutdown(Shutdown::Write);
            });
        }
    });
}

/// A question and its echo through the listener for directory streams.
fn ask_directory(folder: &Folder) {
    let mut stream = UnixStream::connect(folder.0.join("d.sock")).expect("the entry listens");
    stream.set_read_timeout(Some(SOON)).expect("a time");
    stream.write_all(b"which edition?").expect("it takes a question");
    stream.shutdown(Shutdown::Write).expect("a half-close");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert_eq!(answer, "which edition?");
}

/// Sends bytes and takes them back.
fn echo(stream: &mut TcpStream, bytes: usize) {
    let sent: Vec<u8> = (0..bytes).map(|place| (place % 251) as u8).collect();
    let mut writer = stream.try_clone().expect("a second handle");
    let to_send = sent.clone();
    let writing = std::thread::spawn(move || writer.write_all(&to_send));
    let mut received = vec![0; bytes];
    stream.read_exact(&mut received).expect("the bytes come back");
    assert!(received == sent && writing.join().is_ok_and(|written| written.is_ok()));
}

fn guards(tunnel: &serde_json::Value) -> std::collections::BTreeSet<String> {
    let legs = tunnel["legs"].as_array().cloned().unwrap_or_default();
    legs.iter().filter_map(|leg| leg["path"][0].as_str().map(str::to_owned)).collect()
}

/// What all nodes say of the links of a tunnel: the entry names its guards, relays and the exit name relays and count clients.
fn neighbours_are_named_and_clients_counted(folder: &Folder, tunnel: &serde_json::Value, ids: &[String]) {
    let peers = |file: &str| -> serde_json::Value {
        serde_json::from_str(&good(folder, &["peers", "-c", file, "--json"])).expect("it answers in JSON")
    };
    let names = |peers: &serde_json::Value| -> Vec<String> {
        let all = peers["peers"].as_array().cloned().unwrap_or_default();
        all.iter().filter_map(|peer| peer["node_id"].as_str().map(str::to_owned)).collect()
    };
    let guards: Vec<String> = guards(tunnel).into_iter().collect();
    let guard = ids.iter().position(|id| *id == guards[0]).expect("one of the relays");
    let end = Instant::now() + SOON;
    loop {
        let (of_guard, of_exit) = (peers(&format!("{guard}.toml")), peers("exit.toml"));
        let of_entry = names(&peers("entry.toml"));
        let counted =
            of_guard["clients"]["relay"].as_u64() >= Some(1) && of_exit["clients"]["exit"].as_u64() == Some(0);
        let named = [&of_guard, &of_exit].into_iter().all(|peers| !names(peers).is_empty());
        if counted && named && guards.iter().all(|guard| of_entry.contains(guard)) {
            assert!(names(&of_guard).iter().chain(&names(&of_exit)).all(|name| ids.contains(name)));
            break;
        }
        assert!(Instant::now() < end, "{of_entry:?} {of_guard} {of_exit}");
        std::thread::sleep(Duration::from_millis(200));
    }
    let status = good(folder, &["status", "-c", &format!("{guard}.toml")]);
    assert!(status.contains(&format!("relay {}", guards[0])) && status.contains("circuits"), "{status}");
}

#[test]
fn a_page_comes_over_circuits_and_a_guard_that_is_killed_is_replaced() {
    let folder = &Folder::new("circuits").expect("a folder");
    let (proxy, ids) = make_network(folder);
    let checked = good(folder, &["check", "-c", "entry.toml"]);
    assert!(
        checked.contains("`example`, interval 7, with 5 relays") && checked.contains("2 legs of 3 hops"),
        "{checked}"
    );
    let files: Vec<String> = (0..RELAYS).map(|number| format!("{number}.toml")).collect();
    for file in &files {
        let text = std::fs::read_to_string(folder.0.join(file)).expect("it was written");
        std::fs::write(folder.0.join(file), format!("{text}admin_socket = \"{file}.admin\"\n")).expect("a file");
    }
    let mut relays: Vec<Process> = files.iter().map(|file| Process::start(folder, &["relay", file], file)).collect();
    let _exit = Process::start(folder, &["exit", "-c", "exit.toml"], "exit");
    let mut entry = Process::start(folder, &["entry", "-c", "entry.toml"], "entry");
    let before = wait_for_legs(folder);
    let server = echo_server();
    let mut stream = connect(proxy, server);
    echo(&mut stream, 2_000_000);
    directory_service(folder);
    ask_directory(folder);
    let shown = good(folder, &["status", "-c", "entry.toml"]);
    assert!(shown.contains("tunnel") && shown.contains("linked"), "{shown}");
    assert!(good(folder, &["circuit", "show", "0"]).contains("guard"));
    assert!(bad(folder, &["circuit", "show", "9"], 64).contains("there is no leg 9"));

    neighbours_are_named_and_clients_counted(folder, &before, &ids);

    // The entry comes back through the guards that it had.
    entry.end();
    let stored = std::fs::read_to_string(folder.0.join("guards")).expect("the guards' file");
    assert!(guards(&before).iter().all(|guard| stored.contains(guard.as_str())), "{stored}");
    let _entry = Process::start(folder, &["entry", "-c", "entry.toml"], "entry");
    let again = wait_for_legs(folder);
    assert_eq!(guards(&again), guards(&before));

    // A guard dies; the connection goes on, and the leg is built again.
    let mut stream = connect(proxy, server);
    echo(&mut stream, 100_000);
    let dead = again["legs"][0]["path"][0].as_str().expect("a guard").to_owned();
    let place = ids.iter().position(|id| *id == dead).expect("one of the relays");
    relays[place].0.kill().expect("it runs");
    echo(&mut stream, 2_000_000);
    let end = Instant::now() + SOON;
    while linked(&tunnel(folder)) != 2 || guards(&tunnel(folder)).contains(&dead) {
        assert!(Instant::now() < end, "{}", tunnel(folder));
        std::thread::sleep(Duration::from_millis(200));
    }
    echo(&mut stream, 100_000);

    let log = std::fs::read_to_string(folder.0.join("entry.log")).expect("a log");
    assert!(log.contains("a leg is in use"), "{log}");
    let named = ids.iter().find(|id| log.contains(id.as_str()));
    assert!(named.is_none(), "the log names a relay");
}

#[test]
fn clients_have_tunnels_of_their_own_if_wanted() {
    let folder = &Folder::new("circuits-clients").expect("a folder");
    let (proxy, _) = make_network(folder);
    write_entry(folder, proxy, "relax = \"shared-operators\"\ntunnels = 1\nisolate = \"clients\"");
    let (file, users) = (folder.0.join("entry.toml"), folder.0.join("users"));
    let text = std::fs::read_to_string(&file).expect("it was written") + "users_file = \"users\"\n";
    std::fs::write(file, text).expect("a file");
    std::fs::write(&users, "ann:x\nbob:x\n").expect("a file");
    Command::new("chmod").args(["600"]).arg(users).status().expect("chmod");
    let checked = good(folder, &["check", "-c", "entry.toml"]);
    assert!(checked.contains("one for each client, 1 ready"), "{checked}");
    let files: Vec<String> = (0..RELAYS).map(|number| format!("{number}.toml")).collect();
    let _relays: Vec<Process> = files.iter().map(|file| Process::start(folder, &["relay", file], file)).collect();
    let _exit = Process::start(folder, &["exit", "-c", "exit.toml"], "exit");
    let _entry = Process::start(folder, &["entry", "-c", "entry.toml"], "entry");
    wait_for_legs(folder);
    let server = echo_server();
    // The logins of both.
    let lines = ["YW5uOng=", "Ym9iOng="].map(|login| format!("Proxy-Authorization: Basic {login}\r\n"));
    for line in &lines {
        echo(&mut connect_as(proxy, server, line), 200_000);
    }
    // All directory streams are a client of their own.
    directory_service(folder);
    ask_directory(folder);
    ask_directory(folder);
    let end = Instant::now() + SOON;
    loop {
        let listed = good(folder, &["circuit", "list"]);
        if listed.matches(", in use").count() == 3 && listed.matches(", ready").count() == 1 {
            break;
        }
        assert!(Instant::now() < end, "{listed}");
        std::thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(tunnel(folder)["others"].as_array().map(Vec::len), Some(3));
    assert!(good(folder, &["circuit", "show", "3"]).contains("guard"));
}

#[test]
fn what_keeps_an_entry_over_circuits_from_running_is_said_with_a_remedy() {
    let folder = &Folder::new("circuits-refused").expect("a folder");
    let (proxy, ids) = make_network(folder);
    // All relays are on one machine.
    write_entry(folder, proxy, "");
    for command in [["check", "-c", "entry.toml"], ["entry", "-c", "entry.toml"]] {
        let complaint = bad(folder, &command, 78);
        assert!(complaint.contains("no paths for 2 legs of 3 hops") && complaint.contains("try: "), "{complaint}");
    }
    write_entry(folder, proxy, &format!("relax = \"shared-operators\"\nexit = \"{}\"", ids[0]));
    let complaint = bad(folder, &["check", "-c", "entry.toml"], 78);
    assert!(complaint.contains("which `network.exit` names"), "{complaint}");
    write_entry(folder, proxy, "relax = \"shared-operators\"");
    let other = "hushwire-guards 1\nnetwork 00\nprimaries 2\n";
    std::fs::write(folder.0.join("guards"), other).expect("a file");
    Command::new("chmod").args(["600"]).arg(folder.0.join("guards")).status().expect("chmod");
    let complaint = bad(folder, &["check", "-c", "entry.toml"], 65);
    assert!(complaint.contains("no file of guards of this network"), "{complaint}");
}
