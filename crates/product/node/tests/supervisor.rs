//! The supervisor with real processes: this binary, started again.
//!
//! Each test runs in a process of its own, because tests here count descriptors, set limits and get signals.

#[path = "supervisor/documents.rs"]
mod documents;
#[path = "supervisor/dummy.rs"]
mod dummy;
#[path = "supervisor/rig.rs"]
mod rig;
#[path = "supervisor/sample.rs"]
mod sample;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixDatagram;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use node::{ProcessState, process_main};
use rustix::process::{Pid, Resource, Rlimit, Signal};

use crate::dummy::{Behaviour, ROLES, count_descriptors, count_segment_maps};
use crate::rig::{Directory, Outcome, PATIENCE, is_alive, kill, plan, refusal, serves, with_node};

/// A test and its name.
type Test = (&'static str, fn() -> Outcome);

const TESTS: &[Test] = &[
    ("both_processes_serve_and_are_reported", both_processes_serve_and_are_reported),
    ("a_killed_shaped_process_comes_back_with_new_queues", a_killed_shaped_process_comes_back),
    ("a_killed_unshaped_process_comes_back_with_new_queues", a_killed_unshaped_process_comes_back),
    ("both_processes_killed_at_once_come_back", both_processes_killed_at_once_come_back),
    ("a_hundred_kills_leak_nothing", a_hundred_kills_leak_nothing),
    ("a_stop_drains_the_unshaped_process_first", a_stop_drains_the_unshaped_process_first),
    ("who_does_not_end_by_the_deadline_is_killed", who_does_not_end_by_the_deadline_is_killed),
    ("a_second_request_ends_everything_at_once", a_second_request_ends_everything_at_once),
    ("signals_stop_the_node", signals_stop_the_node),
    ("processes_die_with_their_supervisor", processes_die_with_their_supervisor),
    ("a_process_that_gives_up_at_the_start_ends_the_node", a_process_that_gives_up_at_the_start_ends_the_node),
    ("a_crash_loop_is_said_and_goes_on", a_crash_loop_is_said_and_goes_on),
    ("a_process_that_babbles_is_killed_and_started_again", a_process_that_babbles_is_killed_and_started_again),
    ("an_order_reaches_the_shaped_process_only", an_order_reaches_the_shaped_process_only),
    ("a_later_document_reaches_the_running_process", documents::a_later_document_reaches_the_running_process),
    ("confinement_is_reported", confinement_is_reported),
    ("the_service_manager_is_told", the_service_manager_is_told),
    ("no_memory_for_the_queues_is_one_sentence", no_memory_for_the_queues_is_one_sentence),
    ("a_file_size_limit_is_one_sentence", a_file_size_limit_is_one_sentence),
    ("no_free_descriptor_is_one_sentence", no_free_descriptor_is_one_sentence),
    ("a_taken_port_is_one_sentence", a_taken_port_is_one_sentence),
    ("a_state_directory_that_is_missing_is_one_sentence", a_state_directory_that_is_missing_is_one_sentence),
];

/// No test takes longer than this.
const TEST_MAX: Duration = Duration::from_secs(600);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["process", role] => process_main(role, ROLES),
        ["run", name] => run_here(name),
        _ => run_all(&words),
    }
}

/// Runs the tests whose names contain one of the words (all without words) and prints what `cargo test` prints.
fn run_all(words: &[&str]) -> ExitCode {
    let wanted: Vec<&str> = words.iter().copied().filter(|word| !word.starts_with('-')).collect();
    let mut out = std::io::stdout();
    let mut failed = 0;
    for (name, _) in TESTS {
        if words.contains(&"--list") {
            let _ = writeln!(out, "{name}: test");
        } else if !words.contains(&"--ignored") && (wanted.is_empty() || wanted.iter().any(|word| name.contains(word)))
        {
            let outcome = run_apart(name);
            let _ = writeln!(out, "test {name} ... {}", if outcome.is_ok() { "ok" } else { "FAILED" });
            if let Err(text) = outcome {
                failed += 1;
                let _ = writeln!(out, "{text}");
            }
        }
    }
    let _ = writeln!(out, "{failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs one test in a process of its own; the error is what it printed.
fn run_apart(name: &str) -> Result<(), String> {
    let run = || -> std::io::Result<(bool, String)> {
        let log = std::env::temp_dir().join(format!("hushwire-node-test-{}-{name}", std::process::id()));
        let file = std::fs::File::create(&log)?;
        let mut child = Command::new("/proc/self/exe")
            .args(["run", name])
            .env("RUST_BACKTRACE", "0")
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()?;
        let deadline = Instant::now() + TEST_MAX;
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break Some(status);
            }
            if Instant::now() >= deadline {
                child.kill()?;
                child.wait()?;
                break None;
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let text = std::fs::read_to_string(&log)?;
        std::fs::remove_file(&log)?;
        Ok((status.is_some_and(|status| status.success()), text))
    };
    match run() {
        Ok((true, _)) => Ok(()),
        Ok((false, text)) => Err(text),
        Err(error) => Err(error.to_string()),
    }
}

fn run_here(name: &str) -> ExitCode {
    tracing_subscriber::fmt().with_max_level(tracing_subscriber::filter::LevelFilter::INFO).init();
    let test = TESTS.iter().chain(PARTS).find(|(other, _)| *other == name);
    match test.map(|(_, test)| test()) {
        Some(Ok(())) => ExitCode::SUCCESS,
        Some(Err(error)) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
        None => ExitCode::from(2),
    }
}

/// What tests start as another process.
const PARTS: &[Test] = &[("part-node", part_node)];

/// A node that prints its processes' numbers when they serve, and runs until it is stopped.
fn part_node() -> Outcome {
    let directory = Directory::new()?;
    with_node(plan(&directory, Behaviour::Serve, Behaviour::Work)?, async |watcher| {
        let status = watcher.until_served().await?;
        writeln!(std::io::stdout(), "{} {}", pid(&status.shaped)?, pid(&status.unshaped)?)?;
        std::future::pending().await
    })
}

fn pid(process: &node::ProcessStatus) -> Result<u32, String> {
    process.pid.ok_or_else(|| format!("{} does not run", process.name))
}

fn both_processes_serve_and_are_reported() -> Outcome {
    let directory = Directory::new()?;
    let mut plan = plan(&directory, Behaviour::Serve, Behaviour::Serve)?;
    plan.launch.environment.push(("HUSHWIRE_TEST".into(), "1".into()));
    plan.unshaped.core = Some(0);
    let socket = directory.0.join("socks");
    with_node(plan, async |watcher| {
        let status = watcher.until_served().await?;
        assert_eq!((status.generation, status.stopping), (1, false));
        assert!(status.segments_bytes > 8 * 4096, "{status:?}");
        for process in [&status.shaped, &status.unshaped] {
            assert_eq!((process.state, process.restarts, process.crash_loop), (ProcessState::Ready, 0, false));
            assert!(process.rss_bytes > Some(0) && process.cpu_s.is_some() && process.body_age_ms < Some(10_000));
        }
        assert_eq!(status.supervisor.pid, Some(std::process::id()));
        let body = |process: &node::ProcessStatus| process.body.clone().unwrap_or_default();
        // The shaped process has the UDP socket and the replay file, the unshaped one the two listeners.
        assert_eq!(body(&status.shaped)["own_descriptors"], 2);
        assert_eq!(body(&status.unshaped)["own_descriptors"], 2);
        let environment = body(&status.shaped)["environment"].to_string();
        assert!(environment.contains("HUSHWIRE_TEST") && !environment.contains("PATH"), "{environment}");
        assert_eq!(body(&status.shaped)["arguments"], serde_json::json!(["hushwire", "process", "dummy-shaped"]));
        let cores = std::fs::read_to_string(format!("/proc/{}/status", pid(&status.unshaped)?))?;
        assert!(cores.lines().any(|line| line.starts_with("Cpus_allowed_list:") && line.ends_with("\t0")), "{cores}");
        let listed: Vec<String> = status.processes().iter().map(|process| process.to_admin().name).collect();
        assert_eq!(listed, ["supervisor", "dummy-unshaped", "dummy-shaped"]);
        assert!(socket.exists());
        Ok(())
    })?;
    assert!(!socket.exists(), "the unix socket's file is removed");
    Ok(())
}

fn a_killed_shaped_process_comes_back() -> Outcome {
    killed_process_comes_back(true)
}

fn a_killed_unshaped_process_comes_back() -> Outcome {
    killed_process_comes_back(false)
}

fn killed_process_comes_back(shaped: bool) -> Outcome {
    let directory = Directory::new()?;
    with_node(plan(&directory, Behaviour::Serve, Behaviour::Serve)?, async |watcher| {
        let before = watcher.until_served().await?;
        let of = |status: &node::NodeStatus| match shaped {
            true => (status.shaped.clone(), status.unshaped.clone()),
            false => (status.unshaped.clone(), status.shaped.clone()),
        };
        kill(of(&before).0.pid)?;
        let wanted = |status: &node::NodeStatus| serves(status) && of(status).0.restarts == 1;
        let after = watcher.until("the successor serves", wanted).await?;
        assert_eq!(after.generation, 2);
        assert_eq!(of(&after).1.pid, of(&before).1.pid, "the survivor goes on");
        assert_eq!(of(&after).1.restarts, 0);
        assert_ne!(of(&after).0.pid, of(&before).0.pid);
        Ok(())
    })
}

fn both_processes_killed_at_once_come_back() -> Outcome {
    let directory = Directory::new()?;
    with_node(plan(&directory, Behaviour::Serve, Behaviour::Serve)?, async |watcher| {
        let before = watcher.until_served().await?;
        kill(before.shaped.pid)?;
        kill(before.unshaped.pid)?;
        let wanted =
            |status: &node::NodeStatus| serves(status) && status.shaped.restarts == 1 && status.unshaped.restarts == 1;
        let after = watcher.until("both successors serve", wanted).await?;
        assert!(after.generation >= 2);
        Ok(())
    })
}

fn a_hundred_kills_leak_nothing() -> Outcome {
    let directory = Directory::new()?;
    with_node(plan(&directory, Behaviour::Serve, Behaviour::Serve)?, async |watcher| {
        let first = watcher.until_served().await?;
        let descriptors = count_descriptors();
        assert!(descriptors.is_some_and(|count| count < 64), "{descriptors:?}");
        for kills in 1..=100u64 {
            let status = watcher.status.snapshot();
            // Two of three hit the shaped process, so that survivors of both kinds see many generations.
            kill(if kills % 3 == 0 { status.unshaped.pid } else { status.shaped.pid })?;
            let restarts = |status: &node::NodeStatus| status.shaped.restarts + status.unshaped.restarts;
            let wanted = |status: &node::NodeStatus| serves(status) && restarts(status) == kills;
            watcher.until(&format!("kill {kills}"), wanted).await?;
        }
        let last = watcher.until_served().await?;
        assert_eq!(last.generation, first.generation + 100);
        let again = |_: &node::NodeStatus| count_descriptors() == descriptors;
        watcher.until(&format!("descriptors of the supervisor: {descriptors:?} again"), again).await?;
        assert_eq!(count_segment_maps(), Some(0), "segments of the supervisor");
        let same = |before: &node::ProcessStatus, after: &node::ProcessStatus, key: &str| {
            let of = |process: &node::ProcessStatus| process.body.as_ref().map(|body| body[key].clone());
            assert_eq!(of(before), of(after), "{key} of {}", before.name);
        };
        for key in ["descriptors", "segment_maps"] {
            same(&first.shaped, &last.shaped, key);
            same(&first.unshaped, &last.unshaped, key);
        }
        let children = std::fs::read_to_string(format!("/proc/self/task/{0}/children", std::process::id()))?;
        assert_eq!(children.split_whitespace().count(), 2, "no zombies: {children}");
        Ok(())
    })
}

fn a_stop_drains_the_unshaped_process_first() -> Outcome {
    let directory = Directory::new()?;
    let mut pids = (0, 0);
    with_node(plan(&directory, Behaviour::Serve, Behaviour::Work)?, async |watcher| {
        let status = watcher.until_served().await?;
        pids = (pid(&status.shaped)?, pid(&status.unshaped)?);
        let told = Instant::now();
        watcher.stop.stop();
        let draining = watcher.until("draining", |status| status.stopping).await?;
        // On a machine that stands still for longer, the work may be done already.
        assert!(draining.shaped.pid == Some(pids.0) || told.elapsed() > Duration::from_millis(450));
        let drained = watcher.until("drained", |status| status.unshaped.state == ProcessState::Ended).await?;
        assert!(told.elapsed() >= Duration::from_millis(450), "it was let work for half a second");
        // The process that carries the flows goes after the one that has them.
        assert!(drained.shaped.pid.is_some() || drained.shaped.state == ProcessState::Ended);
        Ok(())
    })?;
    assert!(!is_alive(pids.0) && !is_alive(pids.1));
    Ok(())
}

fn who_does_not_end_by_the_deadline_is_killed() -> Outcome {
    let directory = Directory::new()?;
    let mut plan = plan(&directory, Behaviour::Linger, Behaviour::Linger)?;
    plan.stop_deadline = Duration::from_millis(400);
    let mut pids = (0, 0);
    let mut told = Instant::now();
    with_node(plan, async |watcher| {
        let status = watcher.until_served().await?;
        pids = (pid(&status.shaped)?, pid(&status.unshaped)?);
        told = Instant::now();
        Ok(())
    })?;
    assert!(told.elapsed() >= Duration::from_millis(400), "they had their time");
    assert!(!is_alive(pids.0) && !is_alive(pids.1));
    Ok(())
}

fn a_second_request_ends_everything_at_once() -> Outcome {
    let directory = Directory::new()?;
    let mut plan = plan(&directory, Behaviour::Linger, Behaviour::Linger)?;
    plan.stop_deadline = Duration::from_secs(300);
    let started = Instant::now();
    with_node(plan, async |watcher| {
        watcher.until_served().await?;
        watcher.stop.stop();
        watcher.until("draining", |status| status.stopping).await?;
        Ok(())
    })?;
    assert!(started.elapsed() < Duration::from_secs(300), "the deadline was waited for");
    Ok(())
}

/// Starts `part-node` and returns it with the numbers of its processes.
fn start_node(command: &mut Command) -> Result<(std::process::Child, u32, u32), Box<dyn std::error::Error>> {
    let mut child = command.args(["run", "part-node"]).env("NO_COLOR", "1").stdout(Stdio::piped()).spawn()?;
    let mut lines = BufReader::new(child.stdout.take().ok_or("no output")?).lines();
    let numbers = |line: &str| -> Option<(u32, u32)> {
        let (shaped, unshaped) = line.split_once(' ')?;
        Some((shaped.parse().ok()?, unshaped.parse().ok()?))
    };
    // Log lines come between.
    let (shaped, unshaped) = lines.find_map(|line| numbers(&line.ok()?)).ok_or("the node does not serve")?;
    Ok((child, shaped, unshaped))
}

fn signals_stop_the_node() -> Outcome {
    for signal in [Signal::INT, Signal::TERM] {
        let (mut node, shaped, unshaped) = start_node(&mut Command::new("/proc/self/exe"))?;
        let told = Instant::now();
        // A service manager signals all processes; the two must leave the order of the end to the supervisor.
        for pid in [unshaped, shaped, node.id()] {
            let pid = Pid::from_raw(i32::try_from(pid)?).ok_or("no process")?;
            rustix::process::kill_process(pid, signal)?;
        }
        let status = node.wait()?;
        assert!(status.success(), "{status}");
        assert!(told.elapsed() >= Duration::from_millis(450), "flows were let finish");
        assert!(!is_alive(shaped) && !is_alive(unshaped));
    }
    Ok(())
}

fn processes_die_with_their_supervisor() -> Outcome {
    let (mut node, shaped, unshaped) = start_node(&mut Command::new("/proc/self/exe"))?;
    node.kill()?;
    node.wait()?;
    let deadline = Instant::now() + PATIENCE;
    while (is_alive(shaped) || is_alive(unshaped)) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(!is_alive(shaped) && !is_alive(unshaped));
    Ok(())
}

fn a_process_that_gives_up_at_the_start_ends_the_node() -> Outcome {
    let directory = Directory::new()?;
    let error = refusal(plan(&directory, Behaviour::Serve, Behaviour::GiveUp)?)?;
    let sentence = "dummy-unshaped did not start: the dummy has no wish to serve; ask another";
    assert_eq!(error.to_string(), sentence);
    Ok(())
}

fn a_crash_loop_is_said_and_goes_on() -> Outcome {
    let directory = Directory::new()?;
    let mut plan = plan(&directory, Behaviour::Crash, Behaviour::Serve)?;
    plan.restart.steady_after = Duration::from_secs(10);
    plan.restart.wait_max = Duration::from_millis(300);
    with_node(plan, async |watcher| {
        let status = watcher.until("a crash loop", |status| status.shaped.crash_loop).await?;
        let sentence = status.shaped.last_fault.unwrap_or_default();
        assert!(sentence.contains("dummy-shaped has ended 5 times in a row"), "{sentence}");
        assert!(sentence.contains("SIGABRT") && !sentence.contains('\n'), "{sentence}");
        let restarts = status.shaped.restarts;
        let later = watcher.until("it goes on", |status| status.shaped.restarts >= restarts + 2).await?;
        assert_eq!(later.unshaped.restarts, 0);
        Ok(())
    })
}

fn a_process_that_babbles_is_killed_and_started_again() -> Outcome {
    let directory = Directory::new()?;
    with_node(plan(&directory, Behaviour::Babble, Behaviour::Serve)?, async |watcher| {
        watcher.until("two restarts", |status| status.shaped.restarts >= 2).await?;
        Ok(())
    })
}

fn an_order_reaches_the_shaped_process_only() -> Outcome {
    let directory = Directory::new()?;
    let plan = plan(&directory, Behaviour::Serve, Behaviour::Serve)?;
    with_node(plan, async |watcher| {
        watcher.until_served().await?;
        watcher.orders.give(serde_json::json!({ "epochs": 12 }))?;
        let order = |process: &node::ProcessStatus| process.body.as_ref().map(|body| body["order"].clone());
        let arrived = |status: &node::NodeStatus| order(&status.shaped) == Some(serde_json::json!({ "epochs": 12 }));
        let status = watcher.until("the order is there", arrived).await?;
        assert_eq!(order(&status.unshaped), Some(serde_json::Value::Null));
        Ok(())
    })
}

fn confinement_is_reported() -> Outcome {
    let directory = Directory::new()?;
    let mut plan = plan(&directory, Behaviour::Serve, Behaviour::Serve)?;
    plan.shaped.boot["confine"] = true.into();
    plan.unshaped.boot["confine"] = true.into();
    with_node(plan, async |watcher| {
        let status = watcher.until_served().await?;
        for process in [&status.shaped, &status.unshaped] {
            let parts = process.confinement.as_ref().ok_or("no report")?;
            assert_eq!(parts.parts.len(), 5, "{}", parts.summary());
            assert_eq!(process.to_admin().confinement.map(|parts| parts.len()), Some(5));
            // With files forbidden it cannot even list its own descriptors.
            assert_eq!(process.body.as_ref().map(|body| body["descriptors"].clone()), Some(serde_json::Value::Null));
            assert!(process.rss_bytes.is_some(), "the supervisor still sees how much it uses");
        }
        Ok(())
    })
}

fn the_service_manager_is_told() -> Outcome {
    let directory = Directory::new()?;
    let path = directory.0.join("notify");
    let manager = UnixDatagram::bind(&path)?;
    manager.set_read_timeout(Some(PATIENCE))?;
    let mut command = Command::new("/proc/self/exe");
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "100000");
    let (mut node, ..) = start_node(&mut command)?;
    let mut messages = Vec::new();
    let mut hear_until = |wanted: &str| -> Outcome {
        loop {
            let mut buffer = [0; 512];
            let length = manager.recv(&mut buffer).map_err(|error| format!("{wanted}: {error}: {messages:?}"))?;
            let message = String::from_utf8_lossy(&buffer[..length]).into_owned();
            messages.push(message.clone());
            if message.contains(wanted) {
                return Ok(());
            }
        }
    };
    hear_until("READY=1")?;
    hear_until("WATCHDOG=1")?;
    hear_until("WATCHDOG=1")?;
    rustix::process::kill_process(Pid::from_raw(i32::try_from(node.id())?).ok_or("no process")?, Signal::TERM)?;
    hear_until("STOPPING=1")?;
    assert!(node.wait()?.success());
    Ok(())
}

fn limit(resource: Resource, to: u64) -> Outcome {
    let maximum = rustix::process::getrlimit(resource).maximum;
    Ok(rustix::process::setrlimit(resource, Rlimit { current: Some(to), maximum })?)
}

fn assert_one_sentence(text: &str, about: &str) {
    assert!(text.starts_with("cannot ") && text.contains(about) && text.contains("; "), "{text}");
    assert!(!text.contains('\n') && text.len() < 400, "{text}");
}

fn no_memory_for_the_queues_is_one_sentence() -> Outcome {
    let directory = Directory::new()?;
    let mut plan = plan(&directory, Behaviour::Serve, Behaviour::Serve)?;
    plan.queues = flow_queue::Geometry::new(4096, 64 << 20, 0)?;
    limit(Resource::As, 4 << 30)?;
    assert_one_sentence(&refusal(plan)?.to_string(), "shared memory for 4096 flows with queues of 67108864 bytes");
    Ok(())
}

fn a_file_size_limit_is_one_sentence() -> Outcome {
    let directory = Directory::new()?;
    let plan = plan(&directory, Behaviour::Serve, Behaviour::Serve)?;
    limit(Resource::Fsize, 8192)?;
    assert_one_sentence(&refusal(plan)?.to_string(), "shared memory for 4 flows");
    Ok(())
}

fn no_free_descriptor_is_one_sentence() -> Outcome {
    let directory = Directory::new()?;
    let plan = plan(&directory, Behaviour::Serve, Behaviour::Serve)?;
    // At each number of free descriptors the node either says which step failed or serves.
    let mut sentences = Vec::new();
    let used = count_descriptors().ok_or("no /proc")? as u64;
    for free in 0..64 {
        limit(Resource::Nofile, used + free)?;
        match refusal_or_end(plan.clone()) {
            Some(text) => sentences.push(text),
            None => break,
        }
    }
    limit(Resource::Nofile, 1024)?;
    assert!(sentences.len() > 5, "{sentences:?}");
    for text in &sentences {
        assert_one_sentence(text, "raise the limit of open files");
    }
    let about = |what: &str| sentences.iter().any(|text| text.contains(what));
    assert!(
        about("UDP socket") && about("cannot listen on") && about("shared memory") && about("process"),
        "{sentences:#?}"
    );
    Ok(())
}

/// Runs a node that ends as soon as it serves, or returns what it says.
fn refusal_or_end(plan: node::NodePlan) -> Option<String> {
    let outcome = with_node(plan, async |watcher| {
        watcher.until_served().await?;
        Ok(())
    });
    outcome.err().map(|error| error.to_string())
}

fn a_taken_port_is_one_sentence() -> Outcome {
    let directory = Directory::new()?;
    let mut plan = plan(&directory, Behaviour::Serve, Behaviour::Serve)?;
    let taken = std::net::UdpSocket::bind("127.0.0.1:0")?;
    plan.udp = taken.local_addr()?.into();
    let text = refusal(plan)?.to_string();
    assert_one_sentence(&text, &format!("UDP socket {}", taken.local_addr()?));
    assert!(text.contains("another program has it"), "{text}");
    Ok(())
}

fn a_state_directory_that_is_missing_is_one_sentence() -> Outcome {
    let directory = Directory::new()?;
    let mut plan = plan(&directory, Behaviour::Serve, Behaviour::Serve)?;
    plan.replay_path = directory.0.join("missing/replay");
    assert_one_sentence(&refusal(plan)?.to_string(), "missing/replay");
    Ok(())
}
