//! `hushwire demo --relays`: a network of relays on this machine, every part a process of its own.

mod home;
mod live;
mod parts;

use crate::args::{DemoArgs, ModeArg};
use crate::commands::demo::fetch;
use crate::commands::status::runtime;
use crate::failure::{Code, Failure, Outcome};
use crate::local::origin::{OBJECT_LEN, OBJECT_PATH, Origin, PAGE};
use crate::local::stop::{StopSignals, input_end};
use crate::terminal;
use home::Home;
use live::Live;
pub(super) use live::{is_whole as is_linked, leg_text};
use local_network::Shape;
use parts::Parts;
use shaping::RateClass;
use std::fmt::Write;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// How often relays that were killed are looked for.
const LOOK: Duration = Duration::from_millis(200);

pub(super) fn run(args: &DemoArgs, relays: usize, class: RateClass) -> Outcome {
    let shape = Shape { relays, hops: args.hops, legs: args.legs };
    let constant = (args.mode == ModeArg::Constant).then_some(class);
    let runtime = runtime()?;
    let outcome = runtime.block_on(demo(args, shape, constant));
    // Whoever reads the input may wait for ever.
    runtime.shutdown_background();
    outcome
}

async fn demo(args: &DemoArgs, shape: Shape, constant: Option<RateClass>) -> Outcome {
    let mut signals = StopSignals::new()?;
    let home = Home::make(args.keep.as_deref(), shape, constant, args.port)?;
    let origin = Origin::bind().await;
    let origin =
        origin.map_err(|error| Failure::new(Code::System, format!("no port of 127.0.0.1 can be opened: {error}")))?;
    let server = origin.address();
    let serving = tokio::spawn(origin.serve());
    terminal::say(&format!("Starting {} relays and an entry on this machine with fresh keys ...\n", shape.relays));
    let mut parts = Parts::start(&home)?;
    let begun = tokio::select! {
        up = parts.wait_until_up() => Some(up),
        () = signals.wait() => None,
    };
    if let Some(up) = begun {
        up?;
        terminal::say(&introduction(&home, &parts, server, args.seconds));
        let input_ends = input_end(args.seconds.is_none());
        let shown = tokio::select! {
            shown = show(&home, &mut parts, server, args.seconds.map(Duration::from_secs)) => shown,
            () = signals.wait() => Ok(()),
            // With --for nobody sends anything.
            Ok(()) = input_ends => Ok(()),
        };
        terminal::say("\nEnding all processes ...\n");
        parts.stop().await;
        shown?;
    }
    serving.abort();
    terminal::say(&match args.keep {
        Some(_) => home.by_hand(),
        None => "Nothing is left behind: no process, no file, no port.\n".to_owned(),
    });
    Ok(())
}

fn introduction(home: &Home, parts: &Parts, server: SocketAddr, seconds: Option<u64>) -> String {
    let Shape { relays, hops, legs } = home.shape();
    let proxy = home.proxy();
    let mut text = format!(
        "\n  your program -> entry -> {legs} circuits of {hops} hops, which share only the exit -> a small web server\n\n"
    );
    for relay in parts.relays() {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{:<9} process {:<8} {}", relay.name(), relay.pid_text(), relay.address());
    }
    let _ = write!(
        text,
        "\nproxy   socks5h://{proxy} (HTTP CONNECT works too)\n\
         page    http://{server}/\n\
         object  http://{server}{OBJECT_PATH} ({} MB)\n\n\
         Try it in other terminals:\n\n\
         \x20 curl --proxy socks5h://{proxy} http://{server}/\n\
         \x20 hushwire status -c {}\n\
         \x20 kill -9 and the process of a relay while something is fetched\n\n",
        OBJECT_LEN / 1_000_000,
        home.entry_config().display(),
    );
    if relays == home.shape().least() {
        text.push_str("There is no relay to spare: a leg whose relay is killed waits until that is there again.\n");
    }
    text.push_str(if home.is_shaped() {
        "Mode constant: every line of the network carries the same packets whatever you do.\n"
    } else {
        "Mode off: packets have one size, but they come and go with your traffic.\n"
    });
    if seconds.is_none() {
        text.push_str("It ends at the end of its input: Ctrl-D.\n");
    }
    text
}

/// Fetches the page, then shows lines until the time is over, and starts relays again that were killed.
async fn show(home: &Home, parts: &mut Parts, server: SocketAddr, length: Option<Duration>) -> Outcome {
    let begun = Instant::now();
    let taken = fetch::page(home.proxy(), server).await?;
    terminal::say(&format!(
        "\nFetched the page through the circuits: {} bytes in {} ms, identical.\n\n",
        PAGE.len(),
        taken.as_millis()
    ));
    let mut live = Live::new(home.is_shaped());
    loop {
        parts.look()?;
        if live.is_due() {
            live.show(&parts.entry_status().await?);
        }
        if length.is_some_and(|length| begun.elapsed() >= length) {
            live.finish();
            return Ok(());
        }
        tokio::time::sleep(LOOK).await;
    }
}
