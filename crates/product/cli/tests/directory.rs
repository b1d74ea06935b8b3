//! A directory as operators see it: from keys to editions, with documented commands only.

use crate::folder::{Folder, Ran};
use crate::ports::free_address;
use directory_node::ServiceClient;
use identity::{DoorKey, LinkSecret, NodeSecret, OnionKey};
use network_document::{Announcement, Charter, Descriptor, Label, Roles};
use onion::Interval;
use relay_directory::{CODE_TRY_AGAIN, Command as Said, Directory, ServiceAnswer, ServiceRequest};
use shaping::RateClass;
use std::error::Error;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

type TestResult<T = ()> = Result<T, Box<dyn Error>>;

/// Nothing that a test waits for takes longer on the busiest machine.
const PATIENCE: Duration = Duration::from_secs(90);

fn good(ran: Ran) -> TestResult<Ran> {
    if ran.code == Some(0) { Ok(ran) } else { Err(format!("{ran:?}").into()) }
}

/// Members with all their files, some of them running.
struct Members {
    folder: Folder,
    ids: Vec<String>,
    running: Vec<Option<Child>>,
}

impl Members {
    /// Two operators of whom both must sign, and so many members with their files.
    fn new(name: &str, count: usize) -> TestResult<Self> {
        let folder = Folder::new(name)?;
        let mut operators = Vec::new();
        for operator in ["alice", "bob"] {
            let made = good(folder.run(&["network", "operator", &format!("{operator}.operator-key")])?)?;
            operators.push(made.out.trim().to_owned());
        }
        let init = ["pki", "init", "--dir", "ca", "--name", "test", "--domain", "cluster.example"];
        let made = good(folder.run(&init)?)?;
        let cluster =
            [&made.out, &made.err].iter().flat_map(|text| text.lines()).find(|line| line.contains("cluster = "));
        let cluster = cluster.ok_or("no line of the cluster")?.trim().to_owned();
        let mut ids = Vec::new();
        for node in 0..count {
            let id = good(folder.run(&["keys", "new", &format!("n{node}.keys")])?)?.out.trim().to_owned();
            let (name, out) = (format!("n{node}.cluster.example"), format!("n{node}.crt"));
            good(folder.run(&["pki", "issue", "--dir", "ca", &id, "--name", &name, "--out", &out])?)?;
            ids.push(id);
        }
        let mut new =
            vec!["network", "new", "--name", "example", "--threshold", "2", "--directory", "--interval", "1s"];
        operators.iter().for_each(|key| new.extend(["--operator-key", key]));
        ids.iter().for_each(|id| new.extend(["--member", id]));
        new.push("network.charter");
        let made = good(folder.run(&new)?)?;
        let three =
            "2 of 3 members must sign an edition; 1 may be dead, and none may lie: three members tolerate no liar";
        assert!(count != 3 || made.err.contains(three), "{made:?}");
        let members = Self { folder, ids, running: (0..count).map(|_| None).collect() };
        members.write_files(&cluster)?;
        Ok(members)
    }

    fn write_files(&self, cluster: &str) -> TestResult {
        let addresses: Vec<SocketAddr> = self.ids.iter().map(|_| free_address()).collect();
        let mut tables = String::new();
        for (node, (id, address)) in self.ids.iter().zip(&addresses).enumerate() {
            tables += &format!(
                "[[members]]\nnode_id = \"{id}\"\nname = \"n{node}.cluster.example\"\naddress = \"{address}\"\n"
            );
        }
        for (node, listen) in addresses.iter().enumerate() {
            let text = format!(
                "{cluster}\nkey_file = \"n{node}.keys\"\ncertificate_file = \"n{node}.crt\"\nroot_file = \"ca/root.crt\"\n\
                 data_dir = \"log-{node}\"\npipe = \"pipe-{node}\"\nadmin_socket = \"admin-{node}\"\nlisten = \"{listen}\"\n\
                 [directory]\ncharter_file = \"network.charter\"\nstate_dir = \"state-{node}\"\nsocket = \"s{node}\"\n{tables}"
            );
            std::fs::write(self.folder.0.join(format!("n{node}.toml")), text)?;
        }
        Ok(())
    }

    fn start(&mut self, node: usize, more: &[&str]) -> TestResult {
        let log = std::fs::File::create(self.folder.0.join(format!("n{node}.log")))?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_hushwire"));
        command.args(["cluster", "run", &format!("n{node}.toml")]).args(more).current_dir(&self.folder.0);
        self.running[node] = Some(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn()?);
        Ok(())
    }

    fn kill(&mut self, node: usize) -> TestResult {
        let mut child = self.running[node].take().ok_or("it does not run")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    fn status(&self, node: usize) -> TestResult<serde_json::Value> {
        let ran = good(self.folder.run(&["directory", "status", "--socket", &format!("s{node}"), "--json"])?)?;
        Ok(serde_json::from_str(&ran.out)?)
    }

    /// Until a member says that an edition is published that holds.
    fn until(&self, node: usize, what: &str, holds: impl Fn(&serde_json::Value) -> bool) -> TestResult<u64> {
        let deadline = Instant::now() + PATIENCE;
        let mut last = None;
        while Instant::now() < deadline {
            if let Ok(status) = self.status(node) {
                if status["published"].as_u64() > Some(0) && holds(&status) {
                    return Ok(status["published"].as_u64().unwrap_or_default());
                }
                last = Some(status);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let log = std::fs::read_to_string(self.folder.0.join(format!("n{node}.log")))?;
        Err(format!("{what}: {last:?}\n{log}").into())
    }

    /// Runs a command until it succeeds: a member that has no leader, or a busy one, says that it may be sent again as it is. An order
    /// that was late and counts all the same is refused for its number then.
    fn insist(&self, arguments: &[&str]) -> TestResult<Ran> {
        let deadline = Instant::now() + PATIENCE;
        let mut was_late = false;
        loop {
            let ran = self.folder.run(arguments)?;
            if ran.code == Some(69) && ran.err.contains("may be sent again as it is") && Instant::now() < deadline {
                was_late = true;
            } else if ran.code == Some(65) && was_late && ran.err.contains("number must be") {
                return Ok(ran);
            } else {
                return good(ran);
            }
        }
    }

    fn past(&self, node: usize, index: u64) -> TestResult<u64> {
        self.until(node, &format!("beyond {index}"), |status| status["published"].as_u64() > Some(index))
    }
}

impl Drop for Members {
    fn drop(&mut self) {
        for child in self.running.iter_mut().flatten() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn relay() -> NodeSecret {
    NodeSecret::from_seed([0x91; 32])
}

/// What a relay does: it says how it is reached, at any member.
fn describe(members: &Members, node: usize) -> TestResult<ServiceAnswer> {
    let charter = Charter::parse(&std::fs::read(members.folder.0.join("network.charter"))?)?;
    let published_ms = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as u64;
    let said = Announcement {
        descriptor: Descriptor {
            node_id: relay().node_id(),
            link_key: LinkSecret::from_bytes([1; 32]).link_key(),
            door_key: DoorKey::from_bytes([1; 32]),
            onion_keys: (0..2).map(|interval| (Interval(interval), OnionKey([1 + interval as u8; 32]))).collect(),
            addresses: vec![SocketAddr::from(([192, 0, 2, 9], 4433))],
            hop_ports: None,
            roles: Roles { guard: true, middle: true, ..Roles::default() },
            operator: Label::new("alice", "operator")?,
            bandwidth: RateClass::at_least(5_000_000)?,
        },
        next_link_key: None,
        next_door_key: None,
        exit_ports: None,
        published_ms,
        expires_ms: published_ms + 200_000,
    };
    let said = Said::Describe(Arc::new(said.sign(charter.network_id(), &relay())?));
    let mut client = ServiceClient::connect(&members.folder.0.join(format!("s{node}")))?;
    Ok(client.ask(&ServiceRequest::Submit(said.encode()))?)
}

/// One operator's word is not enough; two sign one after the other, and the second is told what.
fn admit_by_two_operators(members: &Members, node: &str) -> TestResult {
    let admit = [
        "directory",
        "admit",
        node,
        "--role",
        "guard",
        "--role",
        "middle",
        "--operator",
        "alice",
        "--rate",
        "20 Mbit/s",
        "--charter",
        "network.charter",
        "--socket",
        "s0",
        "--key",
        "alice.operator-key",
    ];
    let alone = members.folder.run(&admit)?;
    assert!(alone.code == Some(65) && alone.err.contains("1 operators signed, and 2 must"), "{alone:?}");
    good(members.folder.run(&[&admit[..], &["--order", "admit.order"]].concat())?)?;
    let early = members.folder.run(&["directory", "submit", "admit.order", "--socket", "s1"])?;
    assert!(early.code == Some(65) && early.err.contains("2 must"), "{early:?}");
    let sign = ["directory", "sign", "admit.order", "--charter", "network.charter", "--key", "bob.operator-key"];
    let signed = good(members.folder.run(&sign)?)?;
    let said = format!("order 1: admit {node} as guard");
    assert!(signed.err.contains(&said) && signed.err.contains("2 of the 2"), "{signed:?}");
    members.insist(&["directory", "submit", "admit.order", "--socket", "s1"])?;
    let twice = members.folder.run(&["directory", "submit", "admit.order", "--socket", "s2"])?;
    assert!(twice.code == Some(65) && twice.err.contains("number must be 2"), "{twice:?}");
    Ok(())
}

/// A relay says how it is reached, and is in the next edition, which every command shows.
fn described_and_shown(members: &Members, node: &str) -> TestResult {
    let deadline = Instant::now() + PATIENCE;
    let done = loop {
        let ServiceAnswer::Submit(done) = describe(members, 2)? else { return Err("another answer".into()) };
        // Not in time: what it says then is newer, and counts as well.
        if done.code != CODE_TRY_AGAIN || Instant::now() > deadline {
            break done;
        }
    };
    assert!(done.is_done(), "{done:?}");
    for node in [0, 1] {
        members.until(node, "the relay is in", |status| status["relays"].as_u64() == Some(1))?;
    }
    let shown = good(members.folder.run(&["directory", "show", "--socket", "s1"])?)?;
    assert!(
        shown.out.contains(&format!("relay {node}")) && shown.out.matches("member-signature").count() >= 2,
        "{shown:?}"
    );
    let shown = good(members.folder.run(&["directory", "show", "--socket", "s1", "--json"])?)?;
    let shown: serde_json::Value = serde_json::from_str(&shown.out)?;
    assert_eq!(shown["relays"][0]["operator"], "alice");
    let screen = good(members.folder.run(&["directory", "status", "--socket", "s0"])?)?;
    assert!(
        members.ids.iter().all(|id| screen.out.contains(id)) && screen.out.contains("1 described, 1 admitted"),
        "{screen:?}"
    );
    // The operator sees what the service has done, too; whoever has only the socket does not.
    let own = good(members.folder.run(&["directory", "status", "-c", "n1.toml", "--json"])?)?;
    let own: serde_json::Value = serde_json::from_str(&own.out)?;
    assert!(own["service"]["commands"].as_u64() >= Some(1) && own["service"]["streams"].as_u64() > Some(1), "{own}");
    assert_eq!(members.status(1)?["service"], serde_json::Value::Null);
    let whole = good(members.folder.run(&["status", "-c", "n1.toml", "--json"])?)?;
    let whole: serde_json::Value = serde_json::from_str(&whole.out)?;
    assert_eq!((&whole["directory"]["described"], &whole["cluster"]["term"]), (&1.into(), &1.into()), "{whole}");
    let peers = loop {
        let peers = good(members.folder.run(&["peers", "-c", "n1.toml"])?)?;
        // Two of three are enough for all that was ordered.
        if peers.out.matches("up for").count() == 2 || Instant::now() > deadline {
            break peers;
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    assert!(peers.out.matches("up for").count() == 2 && peers.out.contains(&members.ids[0]), "{peers:?}");
    let log = good(members.folder.run(&["directory", "log", "--socket", "s0", "--count", "2", "--json"])?)?;
    let log: serde_json::Value = serde_json::from_str(&log.out)?;
    let editions = log["editions"].as_array().ok_or("no editions")?;
    assert_eq!(editions[0]["previous"], editions[1]["index"]);
    Ok(())
}

#[test]
fn three_members_are_a_directory_and_operators_decide_who_is_in_it() -> TestResult {
    let mut members = Members::new("directory", 3)?;
    let checked = good(members.folder.run(&["check", "-c", "n0.toml"])?)?;
    assert!(checked.out.contains("3 members of term 1, 2 sign, none may lie"), "{checked:?}");
    for node in 0..3 {
        members.start(node, &["--found"])?;
    }
    members.past(1, 0)?;

    let node = relay().node_id().to_string();
    admit_by_two_operators(&members, &node)?;
    described_and_shown(&members, &node)?;

    // One member is killed, and comes back with its promise.
    members.kill(2)?;
    let known = members.status(0)?["published"].as_u64().unwrap_or_default();
    let known = members.past(0, known + 1)?;
    members.start(2, &[])?;
    members.past(2, known)?;
    let expel = [
        "directory",
        "expel",
        &node,
        "--charter",
        "network.charter",
        "--socket",
        "s2",
        "--key",
        "alice.operator-key",
        "--key",
        "bob.operator-key",
    ];
    members.insist(&expel)?;
    members.until(1, "the relay is out", |status| status["relays"].as_u64() == Some(0))?;

    // Without a promise a member does not begin.
    members.kill(2)?;
    std::fs::remove_file(members.folder.0.join("state-2/promise"))?;
    let refused = members.folder.run(&["cluster", "run", "n2.toml"])?;
    assert!(refused.code == Some(65) && refused.err.contains("may have promised anything"), "{refused:?}");

    // So the others go on without it, by order, and then in a term outside the log.
    parameters_change(&members)?;
    members_change(&members)?;
    a_term_begins_outside_the_log(&mut members)
}

/// Both operators sign at once.
const BY_BOTH: [&str; 6] = ["--charter", "network.charter", "--key", "alice.operator-key", "--key", "bob.operator-key"];

/// The last five lines of the charter with another one, which the next edition has.
fn parameters_change(members: &Members) -> TestResult {
    let charter = std::fs::read_to_string(members.folder.0.join("network.charter"))?;
    let lines: Vec<&str> = charter.lines().collect();
    let text = lines[lines.len() - 5..].join("\n").replace("legs 2", "legs 3") + "\n";
    std::fs::write(members.folder.0.join("parameters"), text)?;
    let order = [&["directory", "parameter", "parameters", "--socket", "s0"][..], &BY_BOTH].concat();
    let done = members.insist(&order)?;
    assert!(done.err.contains("Done") || done.code == Some(65), "{done:?}");
    // The member that ordered it knows as much as any.
    let known = members.status(0)?["published"].as_u64().unwrap_or_default();
    members.past(1, known + 1)?;
    let shown = good(members.folder.run(&["directory", "show", "--socket", "s1"])?)?;
    assert!(shown.out.lines().filter(|line| *line == "legs 3").count() == 1, "{shown:?}");
    Ok(())
}

/// Operators order it, and as many of the present members as sign editions have to agree.
fn members_change(members: &Members) -> TestResult {
    let [first, second] = [&members.ids[0], &members.ids[1]];
    let order = ["directory", "members", "--member", first, "--member", second, "--socket", "s0"];
    good(members.folder.run(&[&order[..], &BY_BOTH, &["--order", "members.order"]].concat())?)?;
    let early = members.folder.run(&["directory", "submit", "members.order", "--socket", "s0"])?;
    assert!(early.code == Some(65) && early.err.contains("members"), "{early:?}");
    for keys in ["n0.keys", "n1.keys"] {
        let sign = ["directory", "sign", "members.order", "--charter", "network.charter", "--member-key", keys];
        good(members.folder.run(&sign)?)?;
    }
    members.insist(&["directory", "submit", "members.order", "--socket", "s0"])?;
    let is_so = |status: &serde_json::Value| {
        status["term"] == 2 && status["members"].as_array().is_some_and(|members| members.len() == 2)
    };
    let index = members.until(1, "the new members", is_so)?;
    members.past(1, index + 1)?;
    Ok(())
}

/// The log stands; what a member kept, and operators sign, is enough to go on.
fn a_term_begins_outside_the_log(members: &mut Members) -> TestResult {
    members.kill(1)?;
    let charter = Arc::new(Charter::parse(&std::fs::read(members.folder.0.join("network.charter"))?)?);
    let deadline = Instant::now() + PATIENCE;
    let (known, state) = loop {
        // The last edition may still have been on its way.
        let known = members.status(0)?["published"].as_u64();
        let state = std::fs::read(members.folder.0.join("state-0/directory.state"))?;
        if Some(Directory::decode(Arc::clone(&charter), &state)?.published_name().index) == known {
            break (known, state);
        }
        assert!(Instant::now() < deadline, "what is published is kept");
        std::thread::sleep(Duration::from_millis(50));
    };
    members.kill(0)?;
    std::fs::write(members.folder.0.join("given.state"), state)?;
    let [first, second] = [members.ids[0].clone(), members.ids[1].clone()];
    let term = ["directory", "term", "term.file", "--state", "given.state", "--term", "7", "--member", &first];
    let by_one = ["--member", &second, "--charter", "network.charter", "--key", "alice.operator-key"];
    good(members.folder.run(&[&term[..], &by_one].concat())?)?;
    let sign = ["directory", "sign", "term.file", "--charter", "network.charter", "--key", "bob.operator-key"];
    good(members.folder.run(&sign)?)?;
    for node in 0..2 {
        let path = members.folder.0.join(format!("n{node}.toml"));
        let text = std::fs::read_to_string(&path)?;
        let (text, _) = text.rsplit_once("[[members]]").ok_or("no members")?;
        let text = text.replace("data_dir = \"log-", "data_dir = \"log-of-7-");
        let table = "[directory]\nterm_file = \"term.file\"\nterm_state_file = \"given.state\"\n";
        std::fs::write(&path, text.replace("[directory]\n", table))?;
        members.start(node, &["--found"])?;
    }
    let index = members.until(0, "the term of the operators", |status| status["term"] == 7)?;
    members.past(1, known.unwrap_or_default().max(index))?;
    Ok(())
}

/// Nobody answers at the address of the invitation: the command line names what it may be.
#[test]
fn join_warns_of_a_clock_and_names_what_may_be_wrong_when_nobody_answers() -> TestResult {
    let folder = Folder::new("directory-join")?;
    let operator = good(folder.run(&["network", "operator", "alice.operator-key"])?)?.out.trim().to_owned();
    let ids: Vec<String> = (1..=3).map(|seed| NodeSecret::from_seed([seed; 32]).node_id().to_string()).collect();
    let mut new = vec!["network", "new", "--name", "example", "--operator-key", &operator, "--directory"];
    ids.iter().for_each(|id| new.extend(["--member", id]));
    new.push("network.charter");
    good(folder.run(&new)?)?;
    good(folder.run(&["keys", "new", "d.keys"])?)?;
    let silent = std::net::UdpSocket::bind("127.0.0.1:0")?;
    let address = silent.local_addr()?.to_string();
    let invite = ["invite", "--charter", "network.charter", "--keys", "d.keys", "--onion-keys", "d.onion-keys"];
    good(folder.run(&[&invite[..], &["--address", &address, "invitation"]].concat())?)?;
    let quiet = good(folder.run(&["join", "invitation", "--dir", "quiet", "--offline"])?)?;
    assert!(!quiet.err.contains("warning"), "{quiet:?}");
    let told = good(folder.run(&["join", "invitation", "--dir", "told"])?)?;
    for cause in ["no directory node of the invitation", "clock", "door key", "no UDP", "packets of 1350 bytes"] {
        assert!(told.err.contains(cause), "{cause}: {told:?}");
    }
    Ok(())
}

#[test]
fn a_charter_has_no_more_liars_than_its_members_bear() -> TestResult {
    let folder = Folder::new("directory-liars")?;
    let operator = good(folder.run(&["network", "operator", "alice.operator-key"])?)?.out.trim().to_owned();
    let ids: Vec<String> = (1..=4).map(|seed| NodeSecret::from_seed([seed; 32]).node_id().to_string()).collect();
    let new = |count: usize, more: &[&str], file: &str| {
        let mut line = vec!["network", "new", "--name", "example", "--operator-key", &operator, "--directory"];
        ids[..count].iter().for_each(|id| line.extend(["--member", id]));
        line.extend(more);
        line.push(file);
        folder.run(&line)
    };
    let refused = new(3, &["--liars", "1"], "three.charter")?;
    assert!(refused.code == Some(65) && refused.err.contains("three members tolerate no liar"), "{refused:?}");
    let four = good(new(4, &[], "four.charter")?)?;
    assert!(four.err.contains("3 of 4 members must sign an edition; 1 may be dead, and 1 may lie"), "{four:?}");
    let shown = folder.run(&["network", "show", "four.charter"])?;
    assert!(shown.out.contains("3 of 4 members sign; 1 may lie") && shown.out.contains("of 600 s"), "{shown:?}");
    let alone =
        folder.run(&["network", "new", "--name", "example", "--operator-key", &operator, "--directory", "x"])?;
    assert_eq!(alone.code, Some(64), "{alone:?}");
    Ok(())
}
