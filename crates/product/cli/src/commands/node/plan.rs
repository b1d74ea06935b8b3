//! How parts are run, and what a changed file means for each.

use admin::parts::{Action, Step};
use config::{NodeFile, NodePart, PartPath};
use node::{PartPlan, RestartPlan, STOP_DEADLINE_DEFAULT};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Keys of `[cluster]` that a member looks at while it runs.
const LIVE_OF_CLUSTER: [&str; 1] = ["members"];

/// How a cluster without a log begins.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Beginning {
    /// It is new.
    pub(super) found: bool,
    /// It runs elsewhere.
    pub(super) join: bool,
}

/// How a part is run.
pub(super) fn part_plan(path: &Path, file: &NodeFile, part: NodePart, beginning: Beginning) -> PartPlan {
    let own = PartPath { file: path.to_owned(), part: Some(part) }.to_path().into_os_string();
    let words = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
    let mut arguments = match part {
        NodePart::Cluster => words(&["cluster", "run"]),
        NodePart::Mirror => words(&["mirror"]),
        NodePart::Relay => words(&["relay"]),
        NodePart::Exit => words(&["exit", "-c"]),
        NodePart::Entry => words(&["entry", "-c"]),
        NodePart::Service => words(&["service", "run", "-c"]),
    };
    arguments.push(own);
    if part == NodePart::Cluster && file.cluster.as_ref().is_some_and(|cluster| !has_log(&cluster.data_dir)) {
        arguments.extend(words(match beginning {
            Beginning { found: true, .. } => &["--found"],
            Beginning { join: true, .. } => &["--join"],
            Beginning { .. } => &[],
        }));
    }
    arguments.extend(words(&["--leash"]));
    let drain = match part {
        NodePart::Relay => file.relay.as_ref().map(|relay| relay.drain),
        NodePart::Cluster | NodePart::Mirror | NodePart::Exit | NodePart::Entry | NodePart::Service => None,
    };
    PartPlan {
        name: part.name().to_owned(),
        executable: "/proc/self/exe".into(),
        arguments,
        needs: needs(file, part),
        drain: drain.unwrap_or(STOP_DEADLINE_DEFAULT),
        restart: RestartPlan::default(),
    }
}

/// What the mirror of this node makes for its other parts.
fn needs(file: &NodeFile, part: NodePart) -> Vec<PathBuf> {
    let Some(mirror) = &file.mirror else { return Vec::new() };
    let keys = mirror.announce.as_ref().map(|announce| announce.onion_key_file.clone());
    match part {
        NodePart::Cluster | NodePart::Mirror => Vec::new(),
        NodePart::Entry | NodePart::Service => vec![mirror.network_file.clone()],
        NodePart::Relay | NodePart::Exit => [Some(mirror.network_file.clone()), keys].into_iter().flatten().collect(),
    }
}

/// A folder with something in it is a log: a member that is started again after it has begun is no founder any more.
fn has_log(folder: &Path) -> bool {
    std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some())
}

/// What is done when `new` takes the place of `old`, in the order in which it is done.
pub(super) fn steps(old: &NodeFile, new: &NodeFile) -> Vec<Step> {
    let was = |part: NodePart| old.parts().any(|other| other == part);
    let is = |part: NodePart| new.parts().any(|other| other == part);
    let known = NodePart::ALL.into_iter().filter(|part| was(*part) || is(*part));
    let step = |part: NodePart| {
        let keys = new.changed_keys(old, part);
        let action = match (was(part), is(part)) {
            (false, _) => Action::Start,
            (_, false) => Action::Stop,
            _ if keys.is_empty() => Action::Keep,
            _ => change(part, &keys),
        };
        Step { part: part.name().to_owned(), action, keys }
    };
    known.map(step).collect()
}

fn change(part: NodePart, keys: &[String]) -> Action {
    match part {
        NodePart::Cluster if keys.iter().all(|key| LIVE_OF_CLUSTER.contains(&key.as_str())) => Action::Live,
        NodePart::Relay => Action::Drain,
        NodePart::Cluster | NodePart::Mirror | NodePart::Exit | NodePart::Entry | NodePart::Service => Action::Restart,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use config::EXAMPLE_NODE;

    const RELAY: &str = "[relay]\nkey_file = \"k\"\nonion_key_file = \"o\"\nnetwork_file = \"n\"\nlisten = \"0.0.0.0:1\"\ndrain_s = 7\n";

    fn parsed(text: &str) -> NodeFile {
        config::parse_node(text, Path::new("/etc")).expect("a good file")
    }

    #[test]
    fn every_change_has_its_price() {
        let old = parsed(&format!("{EXAMPLE_NODE}{RELAY}"));
        let named = |steps: Vec<Step>| -> Vec<(String, Action)> {
            steps.into_iter().map(|step| (step.part, step.action)).collect()
        };
        let expect = |relay, exit, entry| {
            [("relay", relay), ("exit", exit), ("entry", entry)]
                .map(|(part, action)| (part.to_owned(), action))
                .to_vec()
        };
        assert_eq!(named(steps(&old, &old)), expect(Action::Keep, Action::Keep, Action::Keep));
        let new = parsed(&format!("{}{}", EXAMPLE_NODE.replace("legs = 2", "legs = 1"), RELAY.replace('7', "8")));
        let found = steps(&old, &new);
        assert_eq!(found[0].keys, ["drain_s"]);
        assert_eq!(named(found), expect(Action::Drain, Action::Keep, Action::Restart));
        let less = parsed(EXAMPLE_NODE);
        assert_eq!(named(steps(&old, &less)), expect(Action::Stop, Action::Keep, Action::Keep));
        assert_eq!(named(steps(&less, &old)), expect(Action::Start, Action::Keep, Action::Keep));
        assert_eq!(change(NodePart::Cluster, &["members".to_owned()]), Action::Live);
        assert_eq!(change(NodePart::Cluster, &["listen".to_owned(), "members".to_owned()]), Action::Restart);
    }

    #[test]
    fn a_part_is_run_by_the_command_of_its_role() {
        let file = parsed(&format!("{EXAMPLE_NODE}{RELAY}"));
        let plan = part_plan(Path::new("a/node.toml"), &file, NodePart::Relay, Beginning::default());
        assert_eq!(plan.arguments, ["relay", "a/node.toml#relay", "--leash"].map(OsString::from));
        assert_eq!(plan.drain.as_secs(), 7);
        let plan = part_plan(Path::new("node.toml"), &file, NodePart::Exit, Beginning::default());
        assert_eq!(plan.arguments, ["exit", "-c", "node.toml#exit", "--leash"].map(OsString::from));
    }
}
