//! `hushwire cluster pub`: each line of standard input becomes a message.

use super::lines::{self, AtEnd};
use super::publisher::{LongLine, Publisher, Report};
use super::session::Session;
use crate::args::cluster::ClusterPubArgs;
use crate::commands::status::runtime;
use crate::failure::{Code, Failure, Outcome};
use crate::local::stop::StopSignals;
use crate::terminal;
use std::time::Duration;

pub(super) fn run(args: &ClusterPubArgs) -> Outcome {
    let session = match &args.session {
        Some(path) => Session::of_file(path)?,
        None => Session::drawn()?,
    };
    let patience = Duration::from_secs(args.patience);
    let (report, failure) = runtime()?.block_on(async {
        let lines = lines::read(std::io::stdin(), AtEnd::Stop);
        let input = (lines, LongLine::Ends);
        let stop = StopSignals::new()?;
        let publisher = Publisher::new(&args.pipe.path, args.topic.clone(), session, patience, input, stop);
        Ok::<_, Failure>(publisher.run().await)
    })?;
    terminal::complain(&summary(&report));
    match failure {
        Some(failure) => Err(failure),
        None if report.was_stopped => {
            Err(Failure::new(Code::InputOutput, "stopped before the end of the input; every line that was read counts")
                .remedy("publish what is left"))
        }
        None => Ok(()),
    }
}

/// What became of the lines, in one line.
pub(super) fn summary(report: &Report) -> String {
    let Report { acknowledged, earlier, in_doubt, left_out, reconnects, .. } = report;
    let mut text = format!("{acknowledged} acknowledged");
    let parts = [
        (*earlier, " counted before"),
        (*in_doubt, " not acknowledged: they may count or not"),
        (*left_out, " left out: too long"),
        (*reconnects, " times connected again"),
    ];
    for (count, what) in parts.into_iter().filter(|(count, _)| *count > 0) {
        text += &format!(", {count}{what}");
    }
    text + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_happened_is_told() {
        assert_eq!(summary(&Report { acknowledged: 3, ..Report::default() }), "3 acknowledged\n");
        let report = Report { acknowledged: 3, in_doubt: 2, reconnects: 1, ..Report::default() };
        assert_eq!(
            summary(&report),
            "3 acknowledged, 2 not acknowledged: they may count or not, 1 times connected again\n"
        );
    }
}
