//! `hushwire plan` as a person and as a program see it. Simulations have fixed seeds.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

type TestResult = Result<(), Box<dyn Error>>;

/// A fresh folder that goes away with the value.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> std::io::Result<Self> {
        let path = std::env::temp_dir().join(format!("hushwire-plan-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs the program in a folder; exit code, stdout, stderr.
fn hushwire(folder: &Path, arguments: &[&str]) -> std::io::Result<(Option<i32>, String, String)> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hushwire"));
    let ran = command.args(arguments).current_dir(folder).stdin(Stdio::null()).output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok((ran.status.code(), text(&ran.stdout), text(&ran.stderr)))
}

fn plan(options: &[&str]) -> Result<String, Box<dyn Error>> {
    let arguments: Vec<&str> = ["plan"].iter().chain(options).copied().collect();
    match hushwire(Path::new("."), &arguments)? {
        (Some(0), out, err) if err.is_empty() => Ok(out),
        (code, out, err) => Err(format!("{options:?}: {code:?}\n{out}\n{err}").into()),
    }
}

#[test]
fn sixteen_players() -> TestResult {
    let options =
        "--clients 16 --traffic video --delta-down 2.5MB --delta-up 256KB --epoch 5s --epsilon 1 --delta 1e-6";
    insta::assert_snapshot!(plan(&options.split(' ').collect::<Vec<_>>())?);
    Ok(())
}

#[test]
fn one_player() -> TestResult {
    let shown = plan(&["--clients", "1"])?;
    let options =
        "--clients 1 --traffic video --delta-down 2.5MB --speed-up 409.6kbit/s --epoch 5s --epsilon 1 --delta 1e-6";
    assert_eq!(shown, plan(&options.split(' ').collect::<Vec<_>>())?, "these are the defaults");
    insta::assert_snapshot!(shown);
    Ok(())
}

#[test]
fn a_latency_for_readers_far_away() -> TestResult {
    let options =
        ["--clients", "40", "--traffic", "web", "--latency", "600ms", "--round-trip", "40ms", "--busy-hours", "10"];
    insta::assert_snapshot!(plan(&options)?);
    Ok(())
}

#[test]
fn programs_get_the_same_figures() -> TestResult {
    let json: serde_json::Value = serde_json::from_str(&plan(&["--clients", "1", "--json"])?)?;
    let shown = plan(&["--clients", "1"])?;
    assert_eq!(json["recommended"]["mode"], "constant");
    let reason = json["recommended"]["reason"].as_str().ok_or("a sentence")?;
    assert!(shown.replace("\n ", "").contains(reason), "{reason}");
    assert_eq!(json["dp"]["down"]["speed_limit_bits_per_second"], 4_000_000);
    for pointer in [
        "/promises/nobody_reacts/one_client/day/best_accuracy",
        "/promises/measured_with_reaction/factor",
        "/promises/whatever_reacts/ceiling/hour/leakage_bits",
        "/stepped/bits_per_day",
        "/netshaper_model/overhead_down",
        "/constant/performance/bytes_per_month/down",
        "/simulated/seconds",
    ] {
        assert!(json.pointer(pointer).is_some_and(serde_json::Value::is_number), "{pointer}");
    }
    Ok(())
}

#[test]
fn nonsense_is_a_usage_error_that_says_what_would_work() -> TestResult {
    for (options, part) in [
        ("--clients 0", "1 to 8192 can"),
        ("--clients 4 --epsilon 0", "outside 0.001..=100"),
        ("--clients 4 --epsilon -1", "outside 0.001..=100"),
        ("--clients 4 --epsilon nan", "outside 0.001..=100"),
        ("--clients 4 --delta 1", "above 0 and below 1"),
        ("--clients 4 --epoch 7s", "10 s would"),
        ("--clients 4 --delta-down 1KB", "of one cell"),
        ("--clients 4 --speed-down 1kbit/s", "of one cell"),
        ("--clients 4 --latency 1ms", "slots and network alone"),
        ("--clients 4 --budget 1GB", "a constant rate that carries it needs"),
        ("--clients 4 --budget lots", "a budget is a size such as"),
        ("--clients 4 --budget 1TB --epsilon 1", "cannot be used with"),
        ("", "--clients"),
    ] {
        let arguments: Vec<&str> = ["plan"].into_iter().chain(options.split_whitespace()).collect();
        let (code, out, err) = hushwire(Path::new("."), &arguments)?;
        assert_eq!((code, out.as_str()), (Some(64), ""), "{options}: {err}");
        assert!(err.contains(part), "{options}: {err}");
    }
    Ok(())
}

/// A pair as `init` makes it, with what a plan recommends put in the place of its `[shaping]`.
fn planned_pair(folder: &Path, options: &[&str]) -> TestResult {
    let run = |arguments: &[&str]| -> Result<String, Box<dyn Error>> {
        let (code, out, err) = hushwire(folder, arguments)?;
        if code == Some(0) { Ok(out) } else { Err(format!("{arguments:?}: {err}").into()) }
    };
    let line = |text: &str| text.lines().find(|line| line.starts_with("hushwire:")).map(str::to_owned).ok_or("a line");
    let exit_line =
        line(&run(&["init", "--role", "exit", "--rate", "10 Mbit/s", "--public-address", "exit.example:4433"])?)?;
    let entry_line = line(&run(&["init", "--role", "entry", "--rate", "256 kbit/s", "--peer", &exit_line])?)?;
    let arguments: Vec<&str> = ["plan", "--json"].iter().chain(options).copied().collect();
    let made: serde_json::Value = serde_json::from_str(&run(&arguments)?)?;
    for (role, key, other) in [("entry", "peer", &exit_line), ("exit", "peers", &entry_line)] {
        let snippet = made["configuration"][role].as_str().ok_or("a snippet")?;
        let other = if role == "exit" { format!("[{other:?}]") } else { format!("{other:?}") };
        let listen = if role == "entry" {
            "[[listen]]\nkind = \"proxy\"\naddress = \"127.0.0.1:1080\"\n"
        } else {
            "[network]\nbind = \"0.0.0.0:4433\"\npublic_address = \"exit.example:4433\"\n"
        };
        let text = format!("role = \"{role}\"\nkey_file = \"{role}.keys\"\n{key} = {other}\n\n{snippet}\n{listen}");
        let file = format!("{role}.toml");
        std::fs::write(folder.join(&file), text)?;
        let checked = run(&["check", "-c", &file])?;
        assert!(!checked.contains("warning"), "{checked}");
    }
    Ok(())
}

#[test]
fn what_is_recommended_passes_the_check() -> TestResult {
    for (mode, options) in [
        ("constant", vec!["--clients", "1"]),
        ("stepped", vec!["--clients", "1", "--busy-hours", "1"]),
        ("dp", CROWD.to_vec()),
        ("dp", [&CROWD[..], &["--traffic", "web", "--epoch", "10s", "--delta-up", "51201B"]].concat()),
    ] {
        let folder = Folder::new(mode)?;
        planned_pair(&folder.0, &options)?;
        let text = std::fs::read_to_string(folder.0.join("entry.toml"))?;
        assert!(text.contains(&format!("mode = \"{mode}\"")), "{options:?}: {text}");
    }
    Ok(())
}

/// Players for whom `dp` is recommended: half of the day nobody is there.
const CROWD: [&str; 4] = ["--clients", "16", "--busy-hours", "12"];

#[test]
fn the_tables_of_both_files_are_planned_for() -> TestResult {
    let folder = Folder::new("config")?;
    planned_pair(&folder.0, &CROWD)?;
    let both = [&["plan"], &CROWD[..], &["--config", "entry.toml", "--config", "exit.toml"]].concat();
    let (code, out, err) = hushwire(&folder.0, &both)?;
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(out, plan(&CROWD)?, "the files say what was recommended");

    let path = folder.0.join("exit.toml");
    let text = std::fs::read_to_string(&path)?;
    std::fs::write(&path, text.replace("margin = 1.3", "margin = 1.7"))?;
    let (_, changed, _) = hushwire(&folder.0, &both)?;
    assert_ne!(changed, out);
    assert!(changed.contains("1.700         1.300"), "{changed}");

    std::fs::write(&path, text.replace("max_rate = \"23170 kbit/s\"", "max_rate = \"100 Mbit/s\""))?;
    let (_, faster, _) = hushwire(&folder.0, &both)?;
    assert!(faster.contains("ceiling class         23.17 Mbit/s"), "the entry asks for no more: {faster}");

    std::fs::write(&path, text.replace("epsilon = 1.0", "epsilon = 2.0"))?;
    let (code, _, err) = hushwire(&folder.0, &both)?;
    assert!(code == Some(78) && err.contains("another epsilon"), "{code:?} {err}");

    std::fs::write(&path, text.replace("mode = \"dp\"", "mode = \"constant\""))?;
    let (code, _, err) = hushwire(&folder.0, &both)?;
    assert!(code == Some(78) && err.contains("is in mode constant"), "{code:?} {err}");
    let (code, _, err) = hushwire(&folder.0, &["plan", "--clients", "16", "--config", "exit.toml", "--epsilon", "1"])?;
    assert!(code == Some(64) && err.contains("cannot be used with"), "{code:?} {err}");
    Ok(())
}
