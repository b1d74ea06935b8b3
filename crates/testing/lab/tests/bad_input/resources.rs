//! A system that has too little: room on the disk, descriptors, memory.

use std::path::Path;
use std::process::Command;

use lab::pair::hushwire;
use lab::process;

use super::rig::{Outcome, PATIENCE, private};
use super::start::{Place, check, code};

/// A day so long ago that its records are dropped, which rewrites the file.
const OLD_RECORD: [u8; 40] = [0; 40];

/// Runs a shell line in a mount namespace of its own with a full file system of 64 KiB at `full`.
fn on_a_full_disk(folder: &Path, line: &str) -> anyhow::Result<std::process::Output> {
    anyhow::ensure!(rustix::process::geteuid().is_root(), "this test mounts a small file system: run it as root");
    let script = format!(
        "mount -t tmpfs -o size=64k,mode=700 hushwire-test full && cp -p start/* full/ 2>/dev/null; \
         dd if=/dev/zero of=full/filler bs=4k 2>/dev/null; {line}; ended=$?; ls -A full >&2; exit $ended"
    );
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", &script]).current_dir(folder).env_remove("HUSHWIRE_LOG");
    process::run_to_end(&mut command, PATIENCE)
}

#[test]
fn a_full_disk_is_said_at_the_start() -> Outcome {
    let binary = hushwire()?.display();
    let place = Place::new()?;
    let folder = place.folder.path();
    std::fs::create_dir(folder.join("full"))?;
    std::fs::create_dir(folder.join("start"))?;
    place.edit(|text| format!("replay_file = \"full/exit.replay\"\n{text}"))?;
    let run = format!("{binary} exit -c exit.toml");
    // A new file of past handshakes, and an old one that is to be written anew.
    for old in [false, true] {
        if old {
            std::fs::write(folder.join("start/exit.replay"), OLD_RECORD)?;
        }
        let output = on_a_full_disk(folder, &run)?;
        let parts = ["file of past handshakes", "full/exit.replay", "No space left", "free some room"];
        let text = check(&output, code::SYSTEM, &parts);
        assert!(!text.contains("exit.replay.new\n"), "half a file is left:\n{text}");
        assert!(!place.folder.join("exit.admin").exists());
    }
    for command in ["keys new full/node.keys", "init --role exit --rate '2 Mbit/s' --dir full"] {
        let output = on_a_full_disk(folder, &format!("{binary} {command}"))?;
        let text = check(&output, code::INPUT_OUTPUT, &["full/", "No space left", "free some"]);
        assert!(
            !text.lines().any(|line| line.ends_with(".keys") && !line.contains(' ')),
            "half a file is left:\n{text}"
        );
    }
    Ok(())
}

#[test]
fn a_file_of_past_handshakes_that_is_none_is_refused() -> Outcome {
    let place = Place::new()?;
    let pipe = place.folder.join("exit.replay");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::from_raw_mode(0o600), 0)?;
    place.refused(
        &[],
        code::SYSTEM,
        &["file of past handshakes", "exit.replay", "not a regular file", "replay_file"],
    )?;
    std::fs::remove_file(&pipe)?;
    std::fs::create_dir(&pipe)?;
    place.refused(&[], code::SYSTEM, &["file of past handshakes", "exit.replay", "Is a directory"])?;
    Ok(())
}

#[test]
fn too_few_descriptors_are_one_sentence_whatever_lacks_first() -> Outcome {
    let place = Place::new()?;
    for limit in 5..=24 {
        // What other tests have open at the moment and hand down is none of its own.
        let shell = format!("exec 3<&- 4<&- 5<&- 6<&- 7<&- 8<&- 9<&-; ulimit -n {limit}; exec \"$0\" \"$@\"");
        place.refused(&["sh", "-c", &shell], code::SYSTEM, &["error: cannot ", "raise the limit of open files"])?;
    }
    Ok(())
}

#[test]
fn no_memory_for_the_segments_is_one_sentence() -> Outcome {
    let place = Place::new()?;
    // Address space for the program, but not for the queues; then for one segment and not for both.
    for kib in [200_000, 400_000] {
        let shell = format!("ulimit -v {kib}; exec \"$0\" \"$@\"");
        let parts = ["no memory for a shared segment of ", "fewer or smaller queues, or raise the memory limit"];
        place.refused(&["sh", "-c", &shell], code::SYSTEM, &parts)?;
    }
    let shell = "ulimit -f 1000; exec \"$0\" \"$@\"";
    place.refused(&["sh", "-c", shell], code::SYSTEM, &["shared segment of ", "File too large"])?;
    place.edit(|text| format!("{text}\n[queues]\nmax_flows = 4096\nqueue_size = \"4 MiB\"\n"))?;
    place.refused(&[], code::CONFIGURATION, &["queues.queue_size", "8 GiB", "lower queues.max_flows"])?;
    Ok(())
}

#[test]
fn a_state_folder_that_is_missing_is_named() -> Outcome {
    let place = Place::new()?;
    place.edit(|text| format!("replay_file = \"missing/exit.replay\"\n{text}"))?;
    place.refused(&[], code::SYSTEM, &["missing/exit.replay", "No such file", "replay_file"])?;
    place.edit(|text| {
        format!("{}\n[admin]\nsocket = \"taken\"\n", text.replace("missing/exit.replay", "exit.replay"))
    })?;
    private(&place.folder, "taken", "a file of somebody's")?;
    place.refused(&[], code::CANNOT_CREATE, &["taken exists and is no socket", "admin.socket"])?;
    Ok(())
}
