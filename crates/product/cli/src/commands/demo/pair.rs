//! `hushwire demo --pair`: an entry and an exit on this machine, and nothing between them.

mod live;

use crate::args::{DemoArgs, ModeArg};
use crate::commands::demo::fetch;
use crate::commands::status::runtime;
use crate::failure::{Code, Failure, Outcome};
use crate::local::origin::{OBJECT_LEN, OBJECT_PATH, Origin, PAGE};
use crate::local::pair::{Pair, PairPlan};
use crate::local::stop::StopSignals;
use crate::terminal;
use live::Live;
use shaping::RateClass;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// When the demo downloads something itself, counted from the first live line.
const OWN_DOWNLOAD_AFTER: Duration = Duration::from_secs(6);
/// Seconds of traffic that the demo's own download is worth at the chosen rate.
const OWN_DOWNLOAD_S: u64 = 3;
/// At most so many bytes of it, for fast classes.
const OWN_DOWNLOAD_MAX: u64 = 20_000_000;

/// `rate`: both directions, as it was written and as a class.
pub(super) fn run(args: &DemoArgs, rate: &str, class: RateClass) -> Outcome {
    let own_download = (class.bits_per_second() / 8 * OWN_DOWNLOAD_S).min(OWN_DOWNLOAD_MAX);
    let runtime = runtime()?;
    let outcome = runtime.block_on(demo(args, rate, own_download));
    // A fetch of our own may still wait for an answer that no longer comes.
    runtime.shutdown_background();
    outcome
}

async fn demo(args: &DemoArgs, rate: &str, own_download: u64) -> Outcome {
    let mut signals = StopSignals::new()?;
    let origin = Origin::bind().await;
    let origin =
        origin.map_err(|error| Failure::new(Code::System, format!("no port of 127.0.0.1 can be opened: {error}")))?;
    let server = origin.address();
    let serving = tokio::spawn(origin.serve());
    let plan = PairPlan { mode: args.mode, rate: rate.to_owned(), slot_ms: 5, proxy_port: args.port };
    terminal::say("Starting an entry and an exit on this machine with fresh keys ...\n");
    let mut pair = tokio::select! {
        started = Pair::start(&plan) => started?,
        () = signals.wait() => return Ok(()),
    };
    terminal::say(&introduction(args.mode, pair.proxy(), server));
    let shown = tokio::select! {
        shown = show(args, &mut pair, server, own_download) => shown,
        () = signals.wait() => Ok(()),
    };
    terminal::say("\nEnding both nodes ...\n");
    pair.stop().await;
    serving.abort();
    shown?;
    terminal::say("Nothing is left behind: no process, no file, no port.\n");
    Ok(())
}

fn introduction(mode: ModeArg, proxy: SocketAddr, server: SocketAddr) -> String {
    let mode = match mode {
        ModeArg::Constant => "Mode constant: the wire carries the same packets whatever you do.",
        ModeArg::Off => "Mode off: packets have one size, but they come and go with your traffic.",
    };
    format!(
        "\n  your program -> entry -> packets of one size -> exit -> a small web server\n\n\
         proxy   socks5h://{proxy} (HTTP CONNECT works too)\n\
         page    http://{server}/\n\
         object  http://{server}{OBJECT_PATH} ({} MB)\n\n\
         Try it in another terminal:\n\n  curl --proxy socks5h://{proxy} http://{server}/\n\n{mode}\n",
        OBJECT_LEN / 1_000_000,
    )
}

/// Fetches the page, then shows lines until the time is over.
async fn show(args: &DemoArgs, pair: &mut Pair, server: SocketAddr, own_download: u64) -> Outcome {
    let begun = Instant::now();
    let proxy = pair.proxy();
    let taken = fetch::page(proxy, server).await?;
    terminal::say(&format!(
        "Fetched the page through the pair: {} bytes in {} ms, identical.\n\n\
         Packets per second on the wire, and bytes per second of applications:\n",
        PAGE.len(),
        taken.as_millis()
    ));
    let mut live = Live::new();
    let mut download = None;
    loop {
        pair.check()?;
        live.update(&pair.entry_status().await?, &pair.exit_status().await?, download.is_some());
        let left = args.seconds.map(|seconds| Duration::from_secs(seconds).saturating_sub(begun.elapsed()));
        if left.is_some_and(|left| left.is_zero()) {
            break;
        }
        let pause = tokio::time::sleep(left.map_or(live.pause(), |left| left.min(live.pause())));
        tokio::pin!(pause);
        match &mut download {
            None if !live.has_downloaded && live.age() >= OWN_DOWNLOAD_AFTER => {
                live.has_downloaded = true;
                download = Some(tokio::task::spawn_blocking(move || fetch::object(proxy, server, own_download)));
                pause.await;
            }
            Some(running) if running.is_finished() => {
                running.await.map_err(|_| fetch::defect())?.map_err(|error| fetch::failed(&error))?;
                download = None;
                pause.await;
            }
            _ => pause.await,
        }
    }
    live.finish();
    Ok(())
}
