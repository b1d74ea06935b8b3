//! Peers that speak the rendezvous wrongly, in ways that a seed chooses: a program under the library goes on as with a plain
//! socket, or breaks that one connection, at once; and nothing of them stays with it.

use crate::c_programs::compile;
use crate::support::Folder;
use crate::victim::{Ending, Victim};
use std::ops::Range;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// A connection whose peer has left ends so soon.
const END_MS: u64 = 100;
/// A seed that was late on a busy machine is tried so often, after longer and longer pauses: a fault of ours is late each time.
pub(crate) const TRIES: u32 = 6;
/// The first of these pauses.
pub(crate) const PAUSE: Duration = Duration::from_millis(50);
/// Connections of one victim, which gives up after five minutes.
const SEEDS_OF_A_VICTIM: u64 = 500;

/// What came of a seed.
enum Outcome {
    Right { linked: bool },
    Late(String),
    Wrong(String),
}

/// Runs every seed against a victim that accepts, or that connects.
fn meet(seeds: Range<u64>, connects: bool) {
    let all = (seeds.end - seeds.start) as usize;
    let mut linked = 0;
    let mut begin = seeds.start;
    while begin < seeds.end {
        let end = seeds.end.min(begin + SEEDS_OF_A_VICTIM);
        linked += meet_one_victim(begin..end, connects);
        begin = end;
    }
    assert!(linked * 8 > all, "only {linked} of {all} came as far as to be linked, so little was shown");
}

fn meet_one_victim(seeds: Range<u64>, connects: bool) -> usize {
    let folder = Folder::new();
    let stranger = folder.path("stranger");
    compile(&["programs/stranger.c"], &stranger);
    let mut victim = Victim::start(&folder, usize::MAX >> 1, connects);
    let mut linked = 0;
    for seed in seeds {
        let mut late = Vec::new();
        for attempt in 0..TRIES {
            match meet_one(seed, connects, &stranger, &folder, &mut victim) {
                Outcome::Right { linked: now } => {
                    linked += usize::from(now);
                    late.clear();
                    break;
                }
                Outcome::Late(how) => {
                    late.push(how);
                    std::thread::sleep(PAUSE * (1 << attempt));
                }
                Outcome::Wrong(how) => panic!("seed {seed}, connects {connects}: {how}"),
            }
        }
        assert!(late.is_empty(), "seed {seed}, connects {connects}: late each time:\n{}", late.join("\n"));
    }
    linked
}

fn meet_one(seed: u64, connects: bool, stranger: &Path, folder: &Folder, victim: &mut Victim) -> Outcome {
    let mut command = Command::new(stranger);
    command.arg(seed.to_string()).arg(folder.path("s")).args(connects.then_some("listen"));
    let ran = command.output().expect("it was compiled");
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    let Some(Ending { how, at_ms, left_behind }) = victim.ending() else {
        return Outcome::Wrong(format!("the victim is gone; {said}"));
    };
    let left = said.lines().find_map(|line| line.strip_prefix("left ")).and_then(|at| at.parse::<u64>().ok());
    let Some(left) = left else { return Outcome::Wrong(format!("the stranger failed: {}; {said}", ran.status)) };
    let others: Vec<&str> = said.lines().filter(|line| !line.starts_with("left ") && *line != "linked").collect();
    let took = at_ms.saturating_sub(left);
    if !["end", "ECONNRESET", "EPIPE"].contains(&how.as_str()) {
        Outcome::Wrong(format!("ended with {how}; {said}"))
    } else if left_behind != [0, 0] {
        Outcome::Wrong(format!("descriptors and segments left behind: {left_behind:?}"))
    } else if let Some(wrong) = others.iter().find(|line| !line.starts_with("late ")) {
        Outcome::Wrong((*wrong).to_owned())
    } else if took > END_MS || !others.is_empty() {
        Outcome::Late(format!("{took} ms after the stranger left; {said}"))
    } else {
        Outcome::Right { linked: said.contains("linked") }
    }
}

#[test]
fn strangers_at_the_door_of_a_server_change_nothing() {
    meet(0..200, false);
}

#[test]
fn strangers_at_the_door_of_a_client_change_nothing() {
    meet(1000..1150, true);
}

#[test]
#[ignore = "ten thousand seeds take five minutes; cargo xtask long swap"]
fn strangers_at_full_size() {
    meet(10_000..16_000, false);
    meet(20_000..24_000, true);
}
