//! A node of several parts: what it is asked, how it answers, and the screens for people.

use serde::{Deserialize, Serialize};
use std::fmt::Write;

/// Version of [`PartsStatus`] and [`Step`]. Fields are added, never renamed or removed within a version.
pub const PARTS_SCHEMA_VERSION: u32 = 1;

/// What a node of several parts may be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum PartsRequest {
    /// How its parts stand.
    Status,
    /// Read the file again and do what it asks for, or only say what that would be.
    Reload {
        /// Say it and do nothing.
        plan_only: bool,
    },
    /// End gently: what goes on may go on for as long as each part was told.
    Drain,
}

/// What it answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "became", rename_all = "snake_case")]
pub enum PartsAnswer {
    /// To [`PartsRequest::Status`].
    Status {
        /// How they stand.
        status: PartsStatus,
    },
    /// To [`PartsRequest::Reload`]: what is done, which has begun unless it was only asked for.
    Plan {
        /// By part, in the order in which it is done.
        steps: Vec<Step>,
    },
    /// To [`PartsRequest::Drain`]: it has begun.
    Draining,
    /// The file cannot be used; everything goes on as before.
    Refused {
        /// Why, as it is to be shown.
        reason: String,
    },
}

/// How the parts of a node stand.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PartsStatus {
    /// [`PARTS_SCHEMA_VERSION`].
    pub schema: u32,
    /// Version of the program.
    pub version: String,
    /// Process of the node itself.
    pub pid: u32,
    /// Each part.
    pub parts: Vec<PartStatus>,
}

/// How one part stands.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PartStatus {
    /// Its table in the file.
    pub name: String,
    /// What it does.
    pub state: PartState,
    /// Its process.
    pub pid: Option<u32>,
    /// How often it was started again.
    pub restarts: u64,
    /// Why it ended last, if it did by itself.
    pub last_fault: Option<String>,
}

/// What a part does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PartState {
    /// It has ended, and is started again after a wait.
    #[default]
    Waiting,
    /// It runs.
    Running,
    /// It is ending.
    Stopping,
}

/// What is done with one part when the file is read again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Its table in the file.
    pub part: String,
    /// What is done.
    pub action: Action,
    /// Keys that are other ones than before.
    #[serde(default)]
    pub keys: Vec<String>,
}

/// What becomes of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Nothing has changed; it looks at the files that it names.
    Keep,
    /// What has changed is taken over while it runs.
    Live,
    /// It is started again when what goes through it has had its time to end.
    Drain,
    /// It is started again, and its flows are reset.
    Restart,
    /// It is new.
    Start,
    /// It is not in the file any more, and ends gently.
    Stop,
}

impl Action {
    /// As in a plan.
    pub fn in_words(self) -> &'static str {
        match self {
            Self::Keep => "unchanged",
            Self::Live => "live: taken over while it runs",
            Self::Drain => "needs drain: circuits may end first, then it is started again",
            Self::Restart => "needs restart: its flows are reset",
            Self::Start => "new: is started",
            Self::Stop => "gone: ends gently",
        }
    }
}

/// A plan for people.
pub fn plan_screen(steps: &[Step]) -> String {
    let width = steps.iter().map(|step| step.part.len()).max().unwrap_or(0);
    let mut text = String::new();
    for step in steps {
        let keys = if step.keys.is_empty() { String::new() } else { format!(" ({})", step.keys.join(", ")) };
        let _ = writeln!(text, "{:width$}  {}{keys}", step.part, step.action.in_words());
    }
    text
}

impl PartsStatus {
    /// The screen.
    pub fn screen(&self) -> String {
        let mut text = format!("node of {} parts, process {}\n", self.parts.len(), self.pid);
        let width = self.parts.iter().map(|part| part.name.len()).max().unwrap_or(0);
        for part in &self.parts {
            let state = match part.state {
                PartState::Waiting => "waits to be started again",
                PartState::Running => "runs",
                PartState::Stopping => "is ending",
            };
            let pid = part.pid.map_or(String::new(), |pid| format!(", process {pid}"));
            let restarts = match part.restarts {
                0 => String::new(),
                1 => ", started again once".to_owned(),
                times => format!(", started again {times} times"),
            };
            let _ = writeln!(text, "  {:width$}  {state}{pid}{restarts}", part.name);
            if let Some(fault) = &part.last_fault {
                let _ = writeln!(text, "  {:width$}  last: {fault}", "");
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_and_states_are_told_in_words() {
        let step = |part: &str, action, keys: &[&str]| Step {
            part: part.to_owned(),
            action,
            keys: keys.iter().map(|key| (*key).to_owned()).collect(),
        };
        let steps =
            [step("cluster", Action::Live, &["members"]), step("exit", Action::Restart, &["limits", "shaping"])];
        assert_eq!(
            plan_screen(&steps),
            "cluster  live: taken over while it runs (members)\n\
             exit     needs restart: its flows are reset (limits, shaping)\n"
        );
        let part = PartStatus {
            name: "exit".to_owned(),
            state: PartState::Running,
            pid: Some(7),
            restarts: 1,
            last_fault: Some("it was ended by signal 9".to_owned()),
        };
        let status = PartsStatus { pid: 6, parts: vec![part], ..PartsStatus::default() };
        assert_eq!(
            status.screen(),
            "node of 1 parts, process 6\n  exit  runs, process 7, started again once\n        last: it was ended by signal 9\n"
        );
    }
}
