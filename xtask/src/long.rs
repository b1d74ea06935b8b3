//! The runs that take minutes and stand outside the ordinary tests.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use anyhow::Context;

/// One long run: a command that succeeds or fails, in the workspace root.
struct Long {
    name: &'static str,
    /// What it shows, with its usual duration.
    about: &'static str,
    program: &'static str,
    arguments: &'static [&'static str],
    environment: &'static [(&'static str, &'static str)],
}

/// Runs one after another under one name.
struct Series {
    name: &'static str,
    about: &'static str,
    /// Names of [`RUNS`], quick ones first.
    runs: &'static [&'static str],
}

/// All series by name.
const SERIES: [Series; 1] = [Series {
    name: "swap",
    about: "everything about swapped sockets, step by step: the runs swap-*, asan-swap and loom (about half an hour)",
    runs: &["swap-peers", "swap-entry", "loom", "swap-seeds", "swap-programs", "swap-fuzz", "swap-memory", "asan-swap"],
}];

/// All long runs by name.
const RUNS: [Long; 37] = [
    Long {
        name: "loom",
        about: "every interleaving of the models of shared memory and of swapped sockets (about two minutes)",
        program: "cargo",
        arguments: &["test", "--release", "--package=shm-ring", "--package=swap-link", "--lib", "--test=loom"],
        environment: &[("RUSTFLAGS", "--cfg loom"), ("CARGO_TARGET_DIR", "target/loom")],
    },
    Long {
        name: "asan",
        about: "the tests of shared memory, flow queues and sockets under AddressSanitizer (nightly, about 5 minutes)",
        program: "cargo",
        arguments: &[
            "+nightly",
            "test",
            "--package=shm-ring",
            "--package=flow-queue",
            "--package=os-net",
            "--tests",
            "--target=x86_64-unknown-linux-gnu",
        ],
        environment: &[("RUSTFLAGS", "-Zsanitizer=address"), ("CARGO_TARGET_DIR", "target/asan")],
    },
    Long {
        name: "asan-swap",
        about: "the library of swapped sockets itself under AddressSanitizer: hostile peers, and all conformance programs with it (nightly, about 5 minutes)",
        program: "cargo",
        arguments: &[
            "+nightly",
            "test",
            "--package=socket-swap",
            "--lib",
            "--test=memory_checks",
            "--target=x86_64-unknown-linux-gnu",
            "--",
            "--include-ignored",
            "--skip=valgrind",
        ],
        environment: &[("RUSTFLAGS", "-Zsanitizer=address"), ("CARGO_TARGET_DIR", "target/asan")],
    },
    Long {
        name: "swap-peers",
        about: "swapped sockets: 10,000 connections leave nothing behind, ten thousand strangers break the rendezvous",
        program: "cargo",
        arguments: &["test", "--release", "--package=socket-swap", "--test=peers", "--", "--ignored", "--nocapture"],
        environment: &[],
    },
    Long {
        name: "swap-entry",
        about: "swapped sockets: programs at a unix listener of an entry, honest ones, killed ones and attackers",
        program: "cargo",
        arguments: &["test", "--release", "--package=lab", "--test=all", "swap_entry::"],
        environment: &[],
    },
    Long {
        name: "swap-seeds",
        about: "swapped sockets: a thousand seeds of random calls on both ends, beside plain ones",
        program: "cargo",
        arguments: &[
            "test",
            "--release",
            "--package=socket-swap",
            "--test=differential",
            "--",
            "--ignored",
            "--nocapture",
        ],
        environment: &[],
    },
    Long {
        name: "swap-programs",
        about: "swapped sockets: the calls in C, Python and Rust, and other people's programs with Node and Java, both ends, one and none",
        program: "cargo",
        arguments: &[
            "test",
            "--release",
            "--package=socket-swap",
            "--test=conformance",
            "--test=conformance_in_python",
            "--test=conformance_in_rust",
            "--test=unmodified",
            "--test=pages_and_windows",
            "--",
            "--include-ignored",
        ],
        environment: &[],
    },
    Long {
        name: "swap-fuzz",
        about: "swapped sockets: a peer that writes anything into its segment, for a minute (nightly)",
        program: "scripts/fuzz",
        arguments: &["60", "swap_peer"],
        environment: &[],
    },
    Long {
        name: "swap-memory",
        about: "swapped sockets: every case in C under valgrind and under the C compiler's AddressSanitizer",
        program: "cargo",
        arguments: &[
            "test",
            "--release",
            "--package=socket-swap",
            "--test=memory_checks",
            "--",
            "--ignored",
            "--nocapture",
        ],
        environment: &[],
    },
    Long {
        name: "fuzz",
        about: "every fuzz target for a minute, with the nightly toolchain (about 25 minutes; docs/fuzzing.md)",
        program: "scripts/fuzz",
        arguments: &["60"],
        environment: &[],
    },
    Long {
        name: "one-network",
        about: "a whole network of processes carries 100 MB, ssh, redis and curl while leaders and relays die, tapped (root, about 6 minutes)",
        program: "cargo",
        arguments: &[
            "test",
            "--release",
            "--package=lab",
            "--test=timed",
            "one_network::",
            "--",
            "--ignored",
            "--nocapture",
            "--test-threads=1",
        ],
        environment: &[],
    },
    Long {
        name: "services-speed",
        about: "first bytes and throughput through an onion service beside an exit, as Markdown (root, about a quarter of an hour)",
        program: "cargo",
        arguments: &["run", "--release", "--package", "lab", "--", "measure", "services"],
        environment: &[],
    },
    Long {
        name: "network-day",
        about: "a simulated day of 1,000 relays and 20,000 clients: load, guards, the directory's traffic (about 2 minutes)",
        program: "cargo",
        arguments: &["run", "--release", "--package=network-sim", "--example=day"],
        environment: &[],
    },
    Long {
        name: "directory-5000",
        about: "5,000 relays through the sockets of four members: admitted, described, signed, fetched, verified (about 2 minutes)",
        program: "cargo",
        arguments: &[
            "test",
            "--release",
            "--package=directory-node",
            "--test=members",
            "of_5000_relays",
            "--",
            "--ignored",
            "--nocapture",
        ],
        environment: &[],
    },
    Long {
        name: "downloads",
        about: "a gigabyte each way in every mode, byte by byte (about 12 minutes)",
        program: "cargo",
        arguments: &["test", "--release", "--package", "lab", "--test", "all", "curl::", "--", "--ignored"],
        environment: &[],
    },
    Long {
        name: "starts",
        about: "a pair is started forty times (about 2 minutes)",
        program: "cargo",
        arguments: &["test", "--release", "--package", "lab", "--test", "all", "start::", "--", "--ignored"],
        environment: &[],
    },
    Long {
        name: "kills",
        about: "a hundred times kill -9 of the processes in turn, in each mode, and long outages (about 20 minutes)",
        program: "cargo",
        arguments: &["test", "--release", "--package", "lab", "--test", "all", "kills::", "--", "--nocapture"],
        environment: &[("HUSHWIRE_KILLS", "100")],
    },
    Long {
        name: "clients",
        about: "a thousand flows at once in each mode, and slow readers (about 5 minutes)",
        program: "cargo",
        arguments: &["test", "--release", "--package", "lab", "--test", "timed", "many_flows::", "--", "--nocapture"],
        environment: &[("HUSHWIRE_FLOWS", "1000")],
    },
    Long {
        name: "hop",
        about: "the stand-alone hopper: every port there is, silent ports, iperf3 (about 2 minutes)",
        program: "cargo",
        arguments: &[
            "test",
            "--release",
            "--package=hop-proxy",
            "--package=cli",
            "--test=relay",
            "--test=all",
            "--",
            "--ignored",
            "--nocapture",
        ],
        environment: &[],
    },
    Long {
        name: "ledger",
        about: "a thousand times kill -9 during releases: the ledger never says less than was released (about 2 minutes)",
        program: "cargo",
        arguments: &["test", "--release", "--package", "ledger", "--test", "kills"],
        environment: &[("HUSHWIRE_LEDGER_KILLS", "1000")],
    },
    Long {
        name: "cluster-sim",
        about: "the replicated log under ten thousand seeds of every fault (about 3 minutes)",
        program: "cargo",
        arguments: &["test", "--package", "model-tests", "--test", "all", "cluster::every_seed", "--", "--nocapture"],
        environment: &[("HUSHWIRE_CLUSTER_SEEDS", "10000")],
    },
    Long {
        name: "cluster-churn",
        about: "members join, leave and crash for a day of virtual time (about 4 minutes)",
        program: "cargo",
        arguments: &[
            "test",
            "--package",
            "model-tests",
            "--test",
            "cluster",
            "a_day_of_churn",
            "--",
            "--ignored",
            "--nocapture",
        ],
        environment: &[],
    },
    Long {
        name: "cluster-box",
        about: "clusters of processes under kill -9, stops, cut networks and a full disk, for five seeds (root, about 25 minutes)",
        program: "cargo",
        arguments: &[
            "test",
            "--release",
            "--package",
            "lab",
            "--test",
            "all",
            "cluster::",
            "--",
            "--ignored",
            "--nocapture",
            "--test-threads=1",
        ],
        environment: &[],
    },
    Long {
        name: "audit",
        about: "what an attacker can prove from a million runs of two worlds, for twenty seeds (about a minute)",
        program: "cargo",
        arguments: &[
            "test",
            "--release",
            "--package",
            "shaping",
            "--test",
            "mechanisms",
            "--",
            "--ignored",
            "--nocapture",
        ],
        environment: &[],
    },
    Long {
        name: "slots",
        about: "what an observer sees between real processes, in the release profile (about 2 minutes)",
        program: "cargo",
        arguments: &["test", "--release", "--package", "lab", "--test", "timed", "wire::", "--", "--nocapture"],
        environment: &[],
    },
    Long {
        name: "attacks",
        about: "closed-world attacks on every mode, false alarms and planted leaks over many seeds (about 10 minutes)",
        program: "cargo",
        arguments: &[
            "test",
            "--release",
            "--package",
            "adversary",
            "--",
            "--ignored",
            "--nocapture",
            "--test-threads=1",
        ],
        environment: &[],
    },
    Long {
        name: "isp",
        about: "the emulated provider in full size: delay, throttles, downloads, what it carries (root, about 4 minutes)",
        program: "cargo",
        arguments: &[
            "test",
            "--release",
            "--package",
            "lab",
            "--test",
            "all",
            "network::",
            "--",
            "--ignored",
            "--nocapture",
            "--test-threads=1",
        ],
        environment: &[],
    },
    Long {
        name: "hops",
        about: "what hops cost a download and save it from, behind the emulated provider (root, about 22 minutes)",
        program: "cargo",
        arguments: &[
            "test",
            "--release",
            "--package",
            "lab",
            "--test",
            "all",
            "hops::",
            "--",
            "--ignored",
            "--nocapture",
            "--test-threads=1",
        ],
        environment: &[],
    },
    Long {
        name: "hops-bbr",
        about: "how often BBR settles low on a far line, with hops and without, in virtual time (about 4 minutes)",
        program: "cargo",
        arguments: &["test", "--package=model-tests", "--test=all", "--", "--ignored", "--nocapture", "hops::bbr"],
        environment: &[],
    },
    Long {
        name: "service-day",
        about: "a service node over 26 hours of virtual time: points and keys change, and it is found in each hour (some minutes)",
        program: "cargo",
        arguments: &["test", "--package=model-tests", "--test=all", "--", "--ignored", "service_node::a_day_brings"],
        environment: &[],
    },
    Long {
        name: "link-hops",
        about: "what hops of a real link cost a flow, save it from and show, behind the emulated provider (root, about 55 minutes)",
        program: "cargo",
        arguments: &[
            "test",
            "--release",
            "--package",
            "lab",
            "--test",
            "timed",
            "link_hops::",
            "--",
            "--ignored",
            "--nocapture",
            "--test-threads=1",
        ],
        environment: &[],
    },
    Long {
        name: "attacks-modes",
        about: "closed-world attacks on traffic that went through the modes themselves, by simulation (about 10 minutes)",
        program: "cargo",
        arguments: &[
            "test",
            "--release",
            "--package",
            "shaping-sim",
            "--test",
            "attacks",
            "--",
            "--ignored",
            "--nocapture",
        ],
        environment: &[],
    },
    Long {
        name: "speed",
        about: "throughput, delay, cost and memory beside the plain QUIC pair, as Markdown (about 20 minutes)",
        program: "cargo",
        arguments: &["run", "--release", "--package", "lab", "--", "measure"],
        environment: &[],
    },
    Long {
        name: "video",
        about: "video players through a real pair in modes constant and dp, beside the simulator, as Markdown (16 minutes)",
        program: "cargo",
        arguments: &["run", "--release", "--package", "lab", "--", "measure", "video", "--seconds", "300"],
        environment: &[],
    },
    Long {
        name: "loss",
        about: "delivery at 1 and 7 % loss beside the plain QUIC pair, as Markdown (about 30 minutes)",
        program: "cargo",
        arguments: &["run", "--release", "--package", "lab", "--", "measure", "loss-constant", "loss-off"],
        environment: &[],
    },
    Long {
        name: "cluster-speed",
        about: "a cluster beside etcd where that is installed, failover, memory, restarts, as Markdown (about 8 minutes)",
        program: "cargo",
        arguments: &[
            "run",
            "--release",
            "--package",
            "lab",
            "--",
            "measure",
            "cluster",
            "cluster-failover",
            "cluster-memory",
        ],
        environment: &[],
    },
    Long {
        name: "circuits-speed",
        about: "tunnels over circuits beside C-tor where that is installed, failures, first bytes, as Markdown (about 30 minutes)",
        program: "cargo",
        arguments: &[
            "run",
            "--release",
            "--package",
            "lab",
            "--",
            "measure",
            "circuits",
            "circuits-limited",
            "circuits-failures",
            "circuits-latency",
            "circuits-idle",
        ],
        environment: &[],
    },
];

/// One line a run.
pub(crate) fn listing() -> String {
    let mut text = String::new();
    let series = SERIES.iter().map(|series| (series.name, series.about));
    for (name, about) in RUNS.iter().map(|run| (run.name, run.about)).chain(series) {
        let written = writeln!(text, "{name:<14} {about}");
        debug_assert!(written.is_ok(), "writing to a string cannot fail");
    }
    text
}

/// Runs the named one, or all of a series, also behind a step that failed; `Ok(false)` when anything failed.
pub(crate) fn run(root: &Path, name: &str) -> anyhow::Result<bool> {
    let Some(series) = SERIES.iter().find(|series| series.name == name) else {
        return run_one(root, find(name)?);
    };
    let mut failed = Vec::new();
    for (number, step) in (1..).zip(series.runs) {
        let run = find(step)?;
        println!("== {name}, step {number} of {}: {step}: {}", series.runs.len(), run.about);
        if !run_one(root, run)? {
            failed.push(*step);
        }
    }
    if failed.is_empty() {
        println!("== {name}: every step is well");
    } else {
        println!("== {name}: failed in {}", failed.join(", "));
    }
    Ok(failed.is_empty())
}

fn find(name: &str) -> anyhow::Result<&'static Long> {
    let found = RUNS.iter().find(|run| run.name == name);
    found.with_context(|| format!("no long run is called `{name}`; the names are:\n{}", listing()))
}

fn run_one(root: &Path, run: &Long) -> anyhow::Result<bool> {
    let mut command = Command::new(run.program);
    if run.arguments.first().is_some_and(|first| first.starts_with('+')) {
        // A toolchain can be chosen only by the launcher, and only if no compiler is set for it already.
        command.env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO");
    }
    let status = command
        .args(run.arguments)
        .envs(run.environment.iter().copied())
        .current_dir(root)
        .status()
        .with_context(|| format!("cannot start {}", run.program))?;
    Ok(status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_listed() {
        let mut names: Vec<&str> = RUNS.iter().map(|run| run.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), RUNS.len());
        assert!(names.iter().all(|name| listing().contains(name)));
    }

    #[test]
    fn a_series_has_a_name_of_its_own_and_steps_that_exist() {
        for series in &SERIES {
            assert!(find(series.name).is_err() && listing().contains(series.name));
            assert!(series.runs.iter().all(|step| find(step).is_ok()), "{}", series.name);
        }
    }

    #[test]
    fn unknown_names_are_refused() {
        let error = run(Path::new("."), "nonsense").expect_err("there is no such run");
        assert!(error.to_string().contains("no long run is called `nonsense`"));
    }
}
