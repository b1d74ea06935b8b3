//! One network namespace: made, entered by commands and threads, and removed with everything that runs in it.

use std::fs::File;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::process;
use crate::programs;

/// Where iproute2 keeps the names.
const NAMES: &str = "/run/netns";
/// Beginning of every name here; the process id of the owner and a number follow.
const PREFIX: &str = "hwlab-";
/// How long `ip`, `tc` or `nft` may take on a busy machine.
const TOOL_WITHIN: Duration = Duration::from_secs(60);

/// Settings for every interface that is made later. Without them an IPv6 address is of no use in its first second, while
/// the kernel asks whether somebody else has it, and routers are searched for at random times.
const AT_ONCE: [(&str, &str); 3] = [
    ("ipv6/conf/default/accept_dad", "0"),
    ("ipv6/conf/default/dad_transmits", "0"),
    ("ipv6/conf/default/router_solicitations", "0"),
];

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A network namespace with its loopback up. It ends with this value: what still runs in it is killed, its interfaces
/// go away, and with them their other ends.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes one whose name ends with `role`, and removes first what processes that have ended left behind.
    ///
    /// # Errors
    /// If this process is not root, `ip` is missing, or the kernel refuses.
    pub fn new(role: &str) -> anyhow::Result<Self> {
        ensure!(rustix::process::geteuid().is_root(), "the lab makes network namespaces: run it as root");
        remove_leftovers();
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let namespace = Self { name: format!("{PREFIX}{}-{number}-{role}", std::process::id()) };
        run_ip(&["netns", "add", &namespace.name])?;
        namespace.set_kernel(&AT_ONCE)?;
        namespace.set_up("link set lo up\n")?;
        Ok(namespace)
    }

    /// Its name for `ip netns`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A command that runs in it.
    ///
    /// # Errors
    /// If `ip` is missing.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> anyhow::Result<Command> {
        Self::command_in(&self.name, program)
    }

    /// The same for the namespace of this name.
    pub(crate) fn command_in(name: &str, program: impl AsRef<std::ffi::OsStr>) -> anyhow::Result<Command> {
        let mut command = Command::new(programs::find("ip")?);
        command.args(["netns", "exec", name]).arg(program);
        Ok(command)
    }

    /// Runs `work` in a thread that has joined it, and waits. Sockets and interfaces that it makes belong to the
    /// namespace for good; threads that it starts are in the namespace too.
    ///
    /// # Errors
    /// If the namespace cannot be joined, or with what `work` returns.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> anyhow::Result<T> + Send) -> anyhow::Result<T> {
        let path = Path::new(NAMES).join(&self.name);
        let handle = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                move_into_link_name_space(handle.as_fd(), Some(LinkNameSpaceType::Network))
                    .with_context(|| format!("cannot join the namespace {}", self.name))?;
                work()
            });
            thread.join().ok().context("the thread in the namespace panicked")?
        })
    }

    /// A UDP socket bound in it.
    ///
    /// # Errors
    /// If the address cannot be bound there.
    pub fn udp_socket(&self, address: SocketAddr) -> anyhow::Result<UdpSocket> {
        let bind = || UdpSocket::bind(address).with_context(|| format!("cannot bind {address} in {}", self.name));
        self.within(bind)
    }

    /// Writes kernel settings, as `("ipv4/ip_forward", "1")`, to files below `/proc/sys/net`.
    ///
    /// # Errors
    /// If one cannot be written.
    pub fn set_kernel(&self, settings: &[(&str, &str)]) -> anyhow::Result<()> {
        self.within(|| {
            settings.iter().try_for_each(|(name, value)| {
                let file = Path::new("/proc/sys/net").join(name);
                std::fs::write(&file, value).with_context(|| format!("cannot write {value} to {}", file.display()))
            })
        })
    }

    /// Runs lines of `ip -batch` in it.
    ///
    /// # Errors
    /// If one fails; the ones before it hold.
    pub fn set_up(&self, lines: &str) -> anyhow::Result<()> {
        let mut command = Command::new(programs::find("ip")?);
        process::run_script(command.args(["-n", &self.name, "-batch", "-"]), lines, TOOL_WITHIN)?;
        Ok(())
    }

    /// Waits until an interface that is up carries packets. The kernel notices later, in its own time, that both ends of
    /// a cable are there, and drops packets until then.
    ///
    /// # Errors
    /// If it does not, or there is none of that name.
    pub fn wait_until_carries(&self, interface: &str) -> anyhow::Result<()> {
        let began = Instant::now();
        loop {
            let mut command = Command::new(programs::find("ip")?);
            command.args(["-n", &self.name, "-o", "link", "show", "dev", interface]);
            let shown = process::run(&mut command, TOOL_WITHIN)?.stdout;
            if carries(&String::from_utf8_lossy(&shown)) {
                return Ok(());
            }
            ensure!(began.elapsed() < TOOL_WITHIN, "the interface {interface} of {} carries nothing", self.name);
        }
    }

    /// Runs a script of nftables in it, all of it or nothing.
    ///
    /// # Errors
    /// If `nft` is missing or refuses the script.
    pub fn set_rules(&self, script: &str) -> anyhow::Result<()> {
        let mut command = self.command(programs::find("nft")?)?;
        process::run_script(command.args(["-f", "-"]), script, TOOL_WITHIN)?;
        Ok(())
    }

    /// Runs a program in it to its end and returns what it printed.
    ///
    /// # Errors
    /// If it is missing or fails.
    pub fn output(&self, program: &'static str, arguments: &[&str]) -> anyhow::Result<Vec<u8>> {
        let mut command = self.command(programs::find(program)?)?;
        Ok(process::run(command.args(arguments), TOOL_WITHIN)?.stdout)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the next process, which finds it by its name.
        let _ = remove(&self.name);
    }
}

/// Whether `ip -o link show` tells of an interface with a carrier and a queue.
fn carries(shown: &str) -> bool {
    shown.contains("LOWER_UP") && !shown.contains("NO-CARRIER") && !shown.contains("qdisc noop ")
}

/// Removes the namespaces of processes that have ended without doing it. One that two processes remove at once is gone
/// for both.
fn remove_leftovers() {
    let Ok(entries) = std::fs::read_dir(NAMES) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        let is_left = owner(name).is_some_and(|owner| !Path::new(&format!("/proc/{owner}")).exists());
        if is_left {
            let _ = remove(name);
        }
    }
}

/// The process id in a name of the lab's.
fn owner(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.split_once('-')?.0.parse().ok()
}

fn remove(name: &str) -> anyhow::Result<()> {
    for pid in inside(name)? {
        // It may have ended already.
        let _ = kill_process(pid, Signal::KILL);
    }
    run_ip(&["netns", "del", name])
}

/// The processes in a namespace, but never this one.
fn inside(name: &str) -> std::io::Result<Vec<Pid>> {
    let namespace = std::fs::metadata(Path::new(NAMES).join(name))?.ino();
    let own = rustix::process::getpid();
    let is_inside = |pid: &Pid| {
        let path = format!("/proc/{}/ns/net", pid.as_raw_nonzero());
        std::fs::metadata(path).is_ok_and(|network| network.ino() == namespace)
    };
    let entries = std::fs::read_dir("/proc")?.flatten();
    let pids = entries.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?));
    Ok(pids.filter(|pid| *pid != own && is_inside(pid)).collect())
}

fn run_ip(arguments: &[&str]) -> anyhow::Result<()> {
    process::run(Command::new(programs::find("ip")?).args(arguments), TOOL_WITHIN)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Running;
    use crate::scratch::Scratch;

    fn exists(name: &str) -> bool {
        Path::new(NAMES).join(name).exists()
    }

    #[test]
    fn names_tell_their_owner() {
        assert_eq!(owner("hwlab-4711-0-client"), Some(4711));
        for other in ["hwlab-x-0-client", "hwlab-4711", "tn-4711-0-r0", ""] {
            assert_eq!(owner(other), None, "{other}");
        }
    }

    #[test]
    fn an_interface_carries_with_a_carrier_and_a_queue() {
        assert!(carries("2: uplink@if3: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc noqueue state UP"));
        assert!(carries("2: uplink: <POINTOPOINT,NOARP,UP,LOWER_UP> mtu 1500 qdisc pfifo_fast state UNKNOWN"));
        for not_yet in [
            "2: uplink@if3: <NO-CARRIER,BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc noqueue state DOWN",
            "2: uplink@if3: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc noop state UP",
            "2: uplink@if3: <BROADCAST,MULTICAST,UP,M-DOWN> mtu 1500 qdisc noqueue state DOWN",
        ] {
            assert!(!carries(not_yet), "{not_yet}");
        }
    }

    #[test]
    fn a_namespace_goes_with_its_value_and_with_what_runs_in_it() -> anyhow::Result<()> {
        let namespace = Namespace::new("test")?;
        let name = namespace.name().to_owned();
        let scratch = Scratch::new()?;
        let mut command = namespace.command("sleep")?;
        let mut running = Running::start("sleep", command.arg("60"), &scratch.join("log"))?;
        running.wait_until("its start", TOOL_WITHIN, || inside(&name).is_ok_and(|pids| !pids.is_empty()))?;
        drop(namespace);
        assert!(!exists(&name));
        let ended = |running: &mut Running| running.wait_until("its end", TOOL_WITHIN, || false).is_err();
        assert!(ended(&mut running), "what ran in it was killed");
        Ok(())
    }

    #[test]
    fn what_a_dead_process_left_is_removed_and_what_a_living_one_has_stays() -> anyhow::Result<()> {
        let own = Namespace::new("living")?;
        // A process that has ended and whose end was noticed: nobody has its number.
        let mut child = Command::new("true").spawn()?;
        let pid = child.id();
        child.wait()?;
        let left = format!("{PREFIX}{pid}-0-dead");
        // A test beside this one may take it away at once.
        run_ip(&["netns", "add", &left])?;
        let _another = Namespace::new("another")?;
        assert!(!exists(&left));
        assert!(exists(own.name()));
        Ok(())
    }

    #[test]
    fn threads_and_sockets_are_inside() -> anyhow::Result<()> {
        let namespace = Namespace::new("inside")?;
        let interfaces = || Ok(std::fs::read_to_string("/proc/thread-self/net/dev")?.lines().count());
        // Two lines of headings and the loopback.
        assert_eq!(namespace.within(interfaces)?, 3);
        let (one, other) = (namespace.udp_socket("[::1]:9".parse()?)?, namespace.udp_socket("[::1]:0".parse()?)?);
        other.send_to(b"x", one.local_addr()?)?;
        assert_eq!(one.recv_from(&mut [0; 8])?.0, 1);
        Ok(())
    }
}
