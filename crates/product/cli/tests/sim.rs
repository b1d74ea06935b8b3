//! `hushwire sim`, as a person and a script see it.

use crate::folder::Folder;
use std::error::Error;

type TestResult = Result<(), Box<dyn Error>>;

/// Two clients for a few seconds.
const TRACE: &str =
    "seconds,client,direction,bytes\n0,alice,up,500\n0.2,alice,down,50000\n3,bob,up,500\n3.1,bob,down,700000\n";

#[test]
fn every_mode_is_shown_beside_the_others() -> TestResult {
    let folder = Folder::new("sim-every")?;
    let ran = folder.run(&["sim", "--clients", "16", "--seconds", "60", "--seed", "1"])?;
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{ran:?}");
    insta::assert_snapshot!(ran.out);
    assert_eq!(
        folder.run(&["sim", "--clients", "16", "--seconds", "60", "--seed", "1"])?.out,
        ran.out,
        "a seed replays"
    );
    let other = folder.run(&["sim", "--clients", "16", "--seconds", "60", "--seed", "2"])?;
    assert_ne!(other.out, ran.out);
    Ok(())
}

#[test]
fn a_script_reads_the_same_figures() -> TestResult {
    let folder = Folder::new("sim-json")?;
    let ran = folder.run(&["sim", "--mode", "dp", "--clients", "128", "--seconds", "60", "--json"])?;
    let object: serde_json::Value = serde_json::from_str(&ran.out)?;
    let mode = &object["modes"][0];
    assert_eq!(mode["mode"], "dp");
    let number = |value: &serde_json::Value| value.as_f64().ok_or_else(|| format!("no number: {value}"));
    assert!((0.2..0.8).contains(&number(&mode["overhead"])?), "{mode}");
    assert!((number(&mode["down"]["epsilon_of_window"])? - 1.0).abs() < 1e-3, "{mode}");
    // Twelve epochs of which the last has not ended.
    assert!((11.0..=12.0).contains(&number(&mode["down"]["releases"])?), "{mode}");
    assert_eq!(mode["down"]["dropped_bytes"], 0);
    assert!(number(&mode["latency"]["p50_ms"])? < number(&mode["latency"]["p99_ms"])?);

    let closed =
        folder.run(&["sim", "--mode", "off", "--closed-loop", "--traffic", "small", "--seconds", "20", "--json"])?;
    let object: serde_json::Value = serde_json::from_str(&closed.out)?;
    assert_eq!(object["modes"][0]["down"]["bits"], serde_json::Value::Null, "without a schedule nothing is bounded");
    Ok(())
}

#[test]
fn a_network_is_simulated() -> TestResult {
    let folder = Folder::new("sim-network")?;
    let small = ["sim", "network", "--relays", "40", "--clients", "50", "--hours", "1", "--hostile", "10"];
    let ran = folder.run(&[&small[..], &["--json"]].concat())?;
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{ran:?}");
    let object: serde_json::Value = serde_json::from_str(&ran.out)?;
    assert_eq!((&object["scenario"]["relays"], &object["directory"]["intervals"]), (&40.into(), &6.into()));
    assert_eq!(object["exposure"][0]["bandwidth"], 0.1);
    assert_eq!(object["checks"]["broken_rules"], 0);
    let table = folder.run(&small)?;
    let begin = "40 relays, 50 clients, 1 h, 4 members, seed 0";
    assert!(table.out.starts_with(begin) && table.out.contains("checks: all hold"), "{table:?}");
    let refused = folder.run(&["sim", "network", "--relays", "3"])?;
    assert_eq!(refused.code, Some(65), "{refused:?}");
    assert!(
        refused.err.contains("3 relays are outside 30 to 5000") && refused.err.contains("\n  try: "),
        "{refused:?}"
    );
    Ok(())
}

#[test]
fn a_recording_is_replayed() -> TestResult {
    let folder = Folder::new("sim-trace")?;
    std::fs::write(folder.0.join("office.csv"), TRACE)?;
    let rates = ["--mode", "constant", "--up", "256 kbit/s", "--down", "10 Mbit/s"];
    let arguments = [&["sim", "--trace", "office.csv", "--json"], &rates[..]].concat();
    let ran = folder.run(&arguments)?;
    let object: serde_json::Value = serde_json::from_str(&ran.out)?;
    assert_eq!((&object["clients"], &object["seconds"]), (&2.into(), &4.into()), "{ran:?}");
    let down = &object["modes"][0]["down"];
    assert_eq!(down["application_bytes"], 750_000, "all of it has left in time: {down}");
    // 11.59 Mbit/s of session bytes, for 4 s.
    let wire = down["wire_bytes"].as_f64().ok_or("a number")?;
    assert!((wire / (11_585_248.0 / 8.0 * 4.0 * 1350.0 / 1222.0) - 1.0).abs() < 0.01, "{wire}");
    assert_eq!(down["bits"], 0.0);
    let all = folder.run(&["sim", "--trace", "office.csv"])?;
    assert!(all.code == Some(0) && all.out.contains("2 client(s), 4 transfer(s), 1.0 kB up, 750.0 kB down"), "{all:?}");
    Ok(())
}

#[test]
fn a_capture_is_known_by_its_first_bytes() -> TestResult {
    let folder = Folder::new("sim-capture")?;
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../fuzz/corpus/trace_capture/");
    let run = |name: &str| folder.run(&["sim", "--mode", "off", "--trace", &format!("{corpus}{name}")]);
    let good = run("ethernet_tcp")?;
    assert!(good.code == Some(0) && good.out.contains("1 client(s)"), "{good:?}");
    for (bad, words) in [("pcapng", "pcapng"), ("other_link", "link")] {
        let ran = run(bad)?;
        assert_eq!(ran.code, Some(65), "{ran:?}");
        assert!(ran.err.contains(words) && ran.err.contains("\n  try: "), "{ran:?}");
    }
    Ok(())
}

#[test]
fn bad_input_is_refused_with_its_line_and_a_remedy() -> TestResult {
    let folder = Folder::new("sim-refusals")?;
    let write = |name: &str, text: &[u8]| std::fs::write(folder.0.join(name), text);
    write("sideways.csv", b"seconds,client,direction,bytes\n0,a,up,1\n1,a,sideways,5\n")?;
    write("short.csv", b"0,a,up,1\n\n# a comment\n1,a,up\n")?;
    write("late.csv", b"0,a,up,1\n604801,a,up,1\n")?;
    write("empty.csv", b"")?;
    write("binary.csv", b"0,a,up,1\n\xff\xfe\n")?;
    let cases: &[(&[&str], i32, &str)] = &[
        (&["--trace", "sideways.csv"], 65, "sideways.csv, line 3: the third field is no direction"),
        (&["--trace", "short.csv"], 65, "short.csv, line 4: 3 fields instead of 4"),
        (&["--trace", "late.csv"], 65, "late.csv, line 2: the first field is no moment"),
        (&["--trace", "empty.csv"], 65, "empty.csv, line 1: nothing is transferred"),
        (&["--trace", "binary.csv"], 65, "binary.csv is no text in line 2"),
        (&["--trace", "nowhere.csv"], 66, "cannot read nowhere.csv"),
        (&["--epsilon", "0"], 65, "--epsilon 0 is outside 0.001..=100"),
        (&["--epsilon", "NaN"], 65, "--epsilon NaN is outside"),
        (&["--down", "fast"], 65, "--down \"fast\""),
        (&["--mode", "dp", "--clients", "65536"], 65, "mode dp cannot carry this traffic"),
        (&["--config", "nowhere.toml"], 66, "nowhere.toml"),
        (&["reaction", "--load", "0.9"], 65, "service of 90 %"),
        (&["reaction", "--load", "NaN"], 65, "--load NaN is no ratio"),
        (&["reaction", "--clients", "0"], 65, "0 clients are outside"),
        (&["reaction", "--quota", "much"], 65, "--quota \"much\""),
    ];
    for (arguments, code, words) in cases {
        let ran = folder.run(&[&["sim"], *arguments].concat())?;
        assert_eq!(ran.code, Some(*code), "{arguments:?}: {ran:?}");
        assert!(
            ran.out.is_empty() && ran.err.contains(words) && ran.err.contains("\n  try: "),
            "{arguments:?}: {ran:?}"
        );
    }
    for arguments in
        [&["--clients", "0"][..], &["--trace", "x", "--clients", "2"], &["--seconds", "0"], &["--mode", "fast"]]
    {
        assert_eq!(folder.run(&[&["sim"], arguments].concat())?.code, Some(64), "{arguments:?}");
    }
    Ok(())
}

#[test]
fn the_files_of_two_nodes_say_the_mode() -> TestResult {
    let folder = Folder::new("sim-config")?;
    let exit = ["init", "--role", "exit", "--rate", "50 Mbit/s", "--public-address", "exit.example:4433"];
    let made = folder.run(&exit)?;
    let line = made.out.lines().find(|line| line.starts_with("hushwire:")).ok_or("the line for the entry")?;
    folder.run(&["init", "--role", "entry", "--rate", "10 Mbit/s", "--peer", line])?;
    let edit = |file: &str, from: &str, to: &str| -> std::io::Result<()> {
        let path = folder.0.join(file);
        let text = std::fs::read_to_string(&path)?;
        assert!(text.contains(from), "{file} has {from:?}: {text}");
        std::fs::write(&path, text.replace(from, to))
    };
    let run = |arguments: &[&str]| folder.run(&[&["sim", "--clients", "4", "--seconds", "60"], arguments].concat());
    let rate = |text: &str| -> Result<f64, Box<dyn Error>> {
        let object: serde_json::Value = serde_json::from_str(text)?;
        Ok(object["modes"][0]["down"]["wire_bits_per_second"].as_f64().ok_or("a rate")?)
    };
    let constant = run(&["--config", "entry.toml", "exit.toml", "--json"])?;
    assert!(constant.out.contains("\"constant, as configured\""), "{constant:?}");
    assert!((rate(&constant.out)? / (11_585_248.0 * 1350.0 / 1222.0) - 1.0).abs() < 0.01, "the slower of the two");

    let both = run(&["--config", "exit.toml", "exit.toml"])?;
    assert!(both.code == Some(64) && both.err.contains("are both of an exit"), "{both:?}");
    let mut line = "# mode = \"constant\"".to_owned();
    for mode in ["stepped", "dp", "queue"] {
        let next = format!("mode = \"{mode}\"");
        edit("entry.toml", &line, &next)?;
        let differ = run(&["--config", "entry.toml", "exit.toml"])?;
        assert!(differ.code == Some(78) && differ.err.contains("`shaping.mode` is"), "{differ:?}");
        edit("exit.toml", &line, &next)?;
        for files in [&["entry.toml"][..], &["exit.toml"], &["exit.toml", "entry.toml"]] {
            let ran = run(&[&["--config"], files].concat())?;
            assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{mode}, {files:?}: {ran:?}");
            assert!(ran.out.contains(&format!("{mode}, as configured")), "{ran:?}");
        }
        line = next;
    }
    let compared = run(&["--config", "entry.toml", "--compare"])?;
    assert!(compared.out.contains("queue, as configured") && compared.out.contains("\ndp "), "{compared:?}");
    Ok(())
}

#[test]
fn pictures_are_written_once() -> TestResult {
    let folder = Folder::new("sim-plot")?;
    let arguments = ["sim", "--mode", "dp", "--clients", "2", "--seconds", "30", "--plot", "made/pictures"];
    let ran = folder.run(&arguments)?;
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{ran:?}");
    for (name, words) in [("wire-dp.svg", "Mbit/s"), ("overhead-latency.svg", "constant, by class")] {
        let text = std::fs::read_to_string(folder.0.join("made/pictures").join(name))?;
        assert!(text.starts_with("<svg") && text.contains(words), "{name}");
    }
    let again = folder.run(&arguments)?;
    assert_eq!(again.code, Some(73), "{again:?}");
    assert!(again.err.contains("cannot write made/pictures/wire-dp.svg"), "{again:?}");
    Ok(())
}

#[test]
fn one_client_moves_the_others_further_where_they_react() -> TestResult {
    let folder = Folder::new("sim-reaction")?;
    let arguments = ["sim", "reaction", "--clients", "4,8", "--epochs", "20", "--load", "1.3,2", "--runs", "2"];
    let ran = folder.run(&arguments)?;
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{ran:?}");
    insta::assert_snapshot!(ran.out);
    let json = folder.run(&[&arguments[..], &["--json"]].concat())?;
    let rows: serde_json::Value = serde_json::from_str(&json.out)?;
    let rows = rows.as_array().ok_or("a list")?;
    assert_eq!(rows.len(), 4);
    for row in rows {
        let mean = |name: &str| row[name]["mean"].as_f64().unwrap_or(f64::NAN);
        assert!(mean("open_loop") <= 1.0 && mean("closed_loop") > mean("open_loop"), "{row}");
    }
    Ok(())
}
