//! Programs that together are one node, such as an exit, a relay and an entry: each is started, watched and started again on its
//! own, and a fault of one touches no other.

use crate::backoff::{Backoff, RestartPlan};
use admin::parts::{PartState, PartStatus};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Orders for one part that may wait.
const ORDERS_MAX: usize = 4;
/// How often files are looked for that a part needs.
const LOOK: Duration = Duration::from_millis(50);
/// How long a part has beyond its own time to end, and again after it was told not to wait.
const PATIENCE: Duration = Duration::from_secs(8);

/// How a part is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartPlan {
    /// Its name.
    pub name: String,
    /// The program.
    pub executable: PathBuf,
    /// Its arguments; the program must end when its standard input does.
    pub arguments: Vec<OsString>,
    /// Files that somebody else makes, without which there is no use in starting it.
    pub needs: Vec<PathBuf>,
    /// How long it takes to end gently at most, by what it was told itself.
    pub drain: Duration,
    /// How it is started again when it ended by itself.
    pub restart: RestartPlan,
}

#[derive(Debug)]
enum Order {
    /// End, gently.
    Stop,
    /// End, gently, and be run like this then.
    Restart(Box<PartPlan>),
    /// Do not wait any longer.
    Hurry,
}

#[derive(Debug)]
struct Running {
    orders: mpsc::Sender<Order>,
    task: JoinHandle<()>,
    status: Shared,
}

/// The parts of a node. Dropping this kills all of them.
#[derive(Debug, Default)]
pub struct Parts(BTreeMap<String, Running>);

impl Parts {
    /// Begins to run a part and to keep it running, in a task of the present runtime. One of this name that runs is ended gently
    /// before; nobody waits for that.
    pub async fn start(&mut self, plan: PartPlan) {
        if let Some(part) = self.0.get(&plan.name).filter(|part| !part.task.is_finished()) {
            // One that has ended in this moment is missed by nobody: it was to end.
            let _ = part.orders.send(Order::Restart(Box::new(plan))).await;
            return;
        }
        let (orders, received) = mpsc::channel(ORDERS_MAX);
        let status = Shared::new(&plan.name);
        let name = plan.name.clone();
        let task = tokio::spawn(keep_running(plan, received, status.clone()));
        self.0.insert(name, Running { orders, task, status });
    }

    /// Begins to end a part gently. Nothing happens if there is none with this name.
    pub async fn stop(&mut self, name: &str) {
        if let Some(part) = self.0.get(name) {
            let _ = part.orders.send(Order::Stop).await;
        }
    }

    /// Ends all parts gently, all at the same time, and waits. `hurry`: completes when they are not to be waited for.
    pub async fn stop_all(&mut self, hurry: impl Future<Output = ()>) {
        let parts = std::mem::take(&mut self.0);
        let orders: Vec<mpsc::Sender<Order>> = parts.values().map(|part| part.orders.clone()).collect();
        for orders in &orders {
            let _ = orders.send(Order::Stop).await;
        }
        let ended = async {
            for part in parts.into_values() {
                let _ = part.task.await;
            }
        };
        let hurry = async {
            hurry.await;
            for orders in &orders {
                let _ = orders.send(Order::Hurry).await;
            }
            std::future::pending().await
        };
        tokio::select! {
            () = ended => {}
            () = hurry => {}
        }
    }

    /// How each stands, by name.
    pub fn status(&self) -> Vec<PartStatus> {
        self.0.values().filter(|part| !part.task.is_finished()).map(|part| part.status.lock().clone()).collect()
    }
}

/// How a part stands, for whoever asks.
#[derive(Debug, Clone)]
struct Shared(Arc<Mutex<PartStatus>>);

impl Shared {
    fn new(name: &str) -> Self {
        Self(Arc::new(Mutex::new(PartStatus { name: name.to_owned(), ..PartStatus::default() })))
    }

    fn lock(&self) -> MutexGuard<'_, PartStatus> {
        // Nothing in it can be half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What became of a program.
enum Ended {
    /// As ordered; how it is run from now on, if it is.
    Asked(Option<Box<PartPlan>>),
    /// By itself.
    Alone(io::Result<ExitStatus>),
}

async fn keep_running(mut plan: PartPlan, mut orders: mpsc::Receiver<Order>, status: Shared) {
    let mut backoff = Backoff::new(plan.restart);
    loop {
        let started = Instant::now();
        let ended = match wait_for_files(&plan, &mut orders, &status).await {
            Some(ended) => ended,
            None => match start(&plan) {
                Ok(running) => attend(&plan, running, &mut orders, &status).await,
                Err(error) => Ended::Alone(Err(error)),
            },
        };
        let how = match ended {
            Ended::Asked(None) => return,
            Ended::Asked(Some(next)) => {
                plan = *next;
                backoff = Backoff::new(plan.restart);
                continue;
            }
            Ended::Alone(how) => in_words(how),
        };
        let wait = backoff.note_death(started.elapsed(), crate::supervisor::random());
        tracing::error!(part = plan.name, wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX), "{how}");
        {
            let mut status = status.lock();
            (status.state, status.pid) = (PartState::Waiting, None);
            status.restarts += 1;
            status.last_fault = Some(how);
        }
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            order = orders.recv() => match order {
                Some(Order::Stop) | None => return,
                Some(Order::Restart(next)) => plan = *next,
                // There is nothing to hurry.
                Some(Order::Hurry) => {}
            },
        }
    }
}

/// Waits until all files are there that a part needs. Some: it was told otherwise meanwhile.
async fn wait_for_files(plan: &PartPlan, orders: &mut mpsc::Receiver<Order>, status: &Shared) -> Option<Ended> {
    while let Some(missing) = plan.needs.iter().find(|path| !path.exists()) {
        let sentence = format!("it waits for {}", missing.display());
        if status.lock().last_fault.as_ref() != Some(&sentence) {
            tracing::info!(part = plan.name, "{sentence}");
            status.lock().last_fault = Some(sentence);
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            order = orders.recv() => match order {
                Some(Order::Stop) | None => return Some(Ended::Asked(None)),
                Some(Order::Restart(next)) => return Some(Ended::Asked(Some(next))),
                Some(Order::Hurry) => {}
            },
        }
    }
    None
}

fn start(plan: &PartPlan) -> io::Result<(Child, Option<ChildStdin>)> {
    let mut child = Command::new(&plan.executable)
        .args(&plan.arguments)
        .stdin(Stdio::piped())
        // Ctrl-C is for the node, which then ends its parts.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()?;
    let leash = child.stdin.take();
    Ok((child, leash))
}

/// Stays with a program until it has ended.
async fn attend(
    plan: &PartPlan,
    (mut child, leash): (Child, Option<ChildStdin>),
    orders: &mut mpsc::Receiver<Order>,
    status: &Shared,
) -> Ended {
    let pid = child.id();
    tracing::info!(part = plan.name, pid, "started");
    {
        let mut status = status.lock();
        (status.state, status.pid) = (PartState::Running, pid);
    }
    let mut next = loop {
        let order = tokio::select! {
            ended = child.wait() => return Ended::Alone(ended),
            order = orders.recv() => order,
        };
        match order {
            Some(Order::Hurry) => {}
            Some(Order::Restart(next)) => break Some(next),
            Some(Order::Stop) | None => break None,
        }
    };
    status.lock().state = PartState::Stopping;
    tell_to_end(pid);
    let gently = tokio::time::Instant::now() + plan.drain + PATIENCE;
    loop {
        let order = tokio::select! {
            _ = child.wait() => return Ended::Asked(next),
            order = orders.recv() => order,
            () = tokio::time::sleep_until(gently) => {
                tracing::warn!(part = plan.name, "does not end in time");
                break;
            }
        };
        match order {
            Some(Order::Restart(plan)) => next = Some(plan),
            Some(Order::Stop) => next = None,
            // Somebody does not wait, or nobody is left.
            Some(Order::Hurry) | None => break,
        }
    }
    // Whoever drains stops waiting at the second signal; the end of its input says the same.
    drop(leash);
    tell_to_end(pid);
    if tokio::time::timeout(PATIENCE, child.wait()).await.is_err() {
        tracing::error!(part = plan.name, "does not end and is killed");
        // It is not there any more or is killed.
        let _ = child.kill().await;
    }
    Ended::Asked(next)
}

fn tell_to_end(pid: Option<u32>) {
    let pid = pid.and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    // One that has ended needs no signal; its number is not given to another before it is waited for.
    let _ = pid.map(|pid| kill_process(pid, Signal::TERM));
}

fn in_words(how: io::Result<ExitStatus>) -> String {
    match how {
        Ok(status) => match status.signal() {
            Some(signal) => format!("it was ended by signal {signal}"),
            None => format!("it ended by itself ({status})"),
        },
        Err(error) => format!("it cannot be run: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(60);

    fn shell(name: &str, script: &str) -> PartPlan {
        PartPlan {
            name: name.to_owned(),
            executable: "/bin/sh".into(),
            arguments: vec!["-c".into(), script.into()],
            needs: Vec::new(),
            drain: Duration::from_millis(100),
            restart: RestartPlan { first_wait_max: Duration::from_millis(5), ..RestartPlan::default() },
        }
    }

    async fn until(parts: &Parts, is_so: impl Fn(&[PartStatus]) -> bool) -> Vec<PartStatus> {
        let begun = Instant::now();
        loop {
            let status = parts.status();
            if is_so(&status) {
                return status;
            }
            assert!(begun.elapsed() < SOON, "never came about: {status:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn a_part_that_dies_is_started_again_and_the_other_one_is_not_touched() {
        let mut parts = Parts::default();
        parts.start(shell("calm", "exec cat")).await;
        parts.start(shell("dying", "exit 7")).await;
        let status = until(&parts, |status| status.iter().any(|part| part.restarts >= 3)).await;
        assert_eq!(status[0].name, "calm");
        assert_eq!((status[0].restarts, status[0].state), (0, PartState::Running));
        assert!(status[1].last_fault.as_ref().is_some_and(|fault| fault.contains('7')), "{status:?}");
        parts.stop_all(std::future::pending()).await;
        assert!(parts.status().is_empty());
    }

    #[tokio::test]
    async fn a_part_that_is_started_again_takes_the_new_plan_when_the_old_program_has_ended() {
        let mut parts = Parts::default();
        parts.start(shell("part", "exec cat")).await;
        let first = until(&parts, |status| status[0].pid.is_some()).await[0].pid;
        parts.start(shell("part", "sleep 60")).await;
        let is_other = |status: &[PartStatus]| status[0].pid != first && status[0].state == PartState::Running;
        assert_eq!(until(&parts, is_other).await[0].restarts, 0, "it did not end by itself");
        parts.stop_all(std::future::ready(())).await;
    }

    #[tokio::test]
    async fn a_part_waits_for_the_files_that_it_needs() {
        let file = std::env::temp_dir().join(format!("hushwire-part-needs-{}", std::process::id()));
        let mut parts = Parts::default();
        parts.start(PartPlan { needs: vec![file.clone()], ..shell("part", "exec cat") }).await;
        let waits = until(&parts, |status| status[0].last_fault.is_some()).await;
        assert_eq!((waits[0].state, waits[0].pid, waits[0].restarts), (PartState::Waiting, None, 0));
        std::fs::write(&file, "").expect("a file");
        until(&parts, |status| status[0].state == PartState::Running).await;
        std::fs::remove_file(&file).expect("it goes away");
        parts.stop_all(std::future::pending()).await;
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_tried_again() {
        let mut parts = Parts::default();
        parts.start(PartPlan { executable: "/no/such/program".into(), ..shell("none", "") }).await;
        let status = until(&parts, |status| status[0].restarts >= 2).await;
        assert!(status[0].last_fault.as_ref().is_some_and(|fault| fault.contains("cannot be run")), "{status:?}");
        parts.stop("none").await;
        until(&parts, <[PartStatus]>::is_empty).await;
    }

    #[tokio::test]
    async fn one_that_ignores_its_end_is_hurried() {
        let folder = std::env::temp_dir().join(format!("hushwire-parts-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let script = "trap 'echo term >> log' TERM; echo on >> log; while :; do sleep 0.02; done";
        let plan = shell("deaf", &format!("cd {}; {script}", folder.display()));
        let said = || std::fs::read_to_string(folder.join("log")).unwrap_or_default();
        let mut parts = Parts::default();
        parts.start(PartPlan { drain: Duration::from_secs(3600), ..plan }).await;
        until(&parts, |_| said().contains("on")).await;
        let hurry = async {
            while !said().contains("term") {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        // It is killed when it does not end at the second signal either.
        tokio::time::timeout(SOON, parts.stop_all(hurry)).await.expect("the hour is not waited for");
        assert!(said().matches("term").count() >= 1);
        std::fs::remove_dir_all(&folder).expect("it goes away");
    }
}
