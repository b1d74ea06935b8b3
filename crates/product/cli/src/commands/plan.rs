//! `hushwire plan`: what privacy, bandwidth and latency cost each other for a crowd of clients.

use crate::args::PlanArgs;
use crate::failure::{Code, Failure, Outcome};
use crate::planning::{json, options, text};
use crate::terminal;
use shaping_plan::{PlanError, plan};

pub(crate) fn run(args: &PlanArgs) -> Outcome {
    let request = options::request(args)?;
    let plan = plan(&request).map_err(|error| refusal(&error))?;
    if args.json {
        let text = serde_json::to_string_pretty(&json::view(&plan));
        let text = text.map_err(|error| Failure::from_error(Code::Software, &error))?;
        terminal::say(&format!("{text}\n"));
    } else {
        terminal::say(&text::render(&plan));
    }
    Ok(())
}

/// Its sentence says what would work.
fn refusal(error: &PlanError) -> Failure {
    match error {
        PlanError::Request(_) | PlanError::Settings(_) => Failure::new(Code::Usage, error.to_string()),
        other => Failure::new(Code::Software, format!("the plan cannot be computed: {other}")),
    }
}
