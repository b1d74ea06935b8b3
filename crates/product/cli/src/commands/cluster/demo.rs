//! `hushwire cluster demo`: a whole cluster on one machine, every node a process of its own.

mod home;
mod live;
mod nodes;

use crate::args::cluster::ClusterDemoArgs;
use crate::commands::status::runtime;
use crate::failure::Outcome;
use crate::local::stop::{StopSignals, input_end};
use crate::terminal;
use home::Home;
use live::Live;
use nodes::Nodes;
use std::fmt::Write;
use std::time::{Duration, Instant};

/// How often nodes that were killed are looked for.
const LOOK: Duration = Duration::from_millis(200);

pub(crate) fn run(args: &ClusterDemoArgs) -> Outcome {
    let runtime = runtime()?;
    let outcome = runtime.block_on(demo(args));
    // Whoever reads the input may wait for ever.
    runtime.shutdown_background();
    outcome
}

async fn demo(args: &ClusterDemoArgs) -> Outcome {
    let mut signals = StopSignals::new()?;
    let home = Home::open(args.keep.as_deref(), usize::from(args.nodes))?;
    terminal::say(&format!("Starting {} nodes on this machine {} ...\n", home.count(), home.state()));
    let mut nodes = Nodes::start(&home)?;
    let begun = tokio::select! {
        led = nodes.wait_until_led() => Some(led),
        () = signals.wait() => None,
    };
    if let Some(led) = begun {
        led?;
        terminal::say(&introduction(&nodes, args.seconds));
        let input_ends = input_end(args.seconds.is_none());
        let shown = tokio::select! {
            shown = show(&mut nodes, args.seconds.map(Duration::from_secs)) => shown,
            () = signals.wait() => Ok(()),
            // With --for nobody sends anything.
            Ok(()) = input_ends => Ok(()),
        };
        terminal::say("\nEnding all nodes ...\n");
        nodes.stop().await;
        shown?;
    }
    terminal::say(&match args.keep {
        Some(_) => format!("Everything is left in {}; the same command goes on with it.\n", home.path().display()),
        None => "Nothing is left behind: no process, no file, no port.\n".to_owned(),
    });
    Ok(())
}

fn introduction(nodes: &Nodes, seconds: Option<u64>) -> String {
    let mut text =
        String::from("\n  any program -> pipe of any node -> one order -> pipes of all nodes -> any programs\n\n");
    for node in nodes.iter() {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{:<4} process {:<8} pipe {}", node.name(), node.pid_text(), node.pipe().display());
    }
    let (Some(first), Some(last)) = (nodes.iter().next(), nodes.iter().last()) else { return text };
    let _ = write!(
        text,
        "\nTry it in other terminals:\n\n\
         \x20 hushwire cluster sub --socket {}\n\
         \x20 echo hello | hushwire cluster pub chat --socket {}\n\
         \x20 hushwire cluster status -c {}\n\
         \x20 kill -9 {}\n\n",
        first.pipe().display(),
        last.pipe().display(),
        first.config().display(),
        last.pid_text(),
    );
    if seconds.is_none() {
        text.push_str("It ends at the end of its input: Ctrl-D.\n\n");
    }
    text
}

/// Shows lines until the time is over, and starts nodes again that were killed.
async fn show(nodes: &mut Nodes, length: Option<Duration>) -> Outcome {
    let begun = Instant::now();
    let mut live = Live::new();
    loop {
        nodes.look()?;
        if live.is_due() {
            let statuses = nodes.statuses().await;
            live.show(nodes, &statuses);
        }
        if length.is_some_and(|length| begun.elapsed() >= length) {
            live.finish();
            return Ok(());
        }
        tokio::time::sleep(LOOK).await;
    }
}
