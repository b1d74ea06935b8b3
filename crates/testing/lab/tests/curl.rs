//! curl and nginx through the pair: HTTP and HTTPS, by SOCKS5, by HTTP CONNECT and by a plain forward.

use std::fs::File;
use std::io::BufReader;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use lab::load::{read_pattern, send_pattern};
use lab::pair::{Mode, Pair, PairConfig};
use lab::process;
use lab::programs;
use lab::scratch::Scratch;
use lab::servers::Nginx;

const MEGABYTE: u64 = 1_000_000;
const SHORT: Duration = Duration::from_secs(180);
/// A gigabyte at 30 Mbit/s.
const LONG: Duration = Duration::from_secs(300);

type Outcome = anyhow::Result<()>;

/// One way through the pair, as curl's arguments.
fn ways(pair: &Pair) -> Vec<Vec<String>> {
    let proxy = pair.proxy();
    vec![
        vec!["--socks5-hostname".to_owned(), proxy.to_string()],
        vec!["--proxytunnel".to_owned(), "--proxy".to_owned(), format!("http://{proxy}")],
    ]
}

fn curl(way: &[String]) -> anyhow::Result<Command> {
    let mut command = Command::new(programs::find("curl")?);
    command.args(["--silent", "--show-error", "--fail", "--noproxy", "", "--max-time", "600"]).args(way);
    Ok(command)
}

/// Downloads to a file and checks that it holds the bytes of the pattern from `first` on.
fn download(way: &[String], url: &str, more: &[&str], bytes: u64, within: Duration) -> Outcome {
    let scratch = Scratch::new()?;
    let file = scratch.join("download");
    process::run(curl(way)?.arg(url).args(more).arg("--output").arg(&file), within)?;
    assert_eq!(std::fs::metadata(&file)?.len(), bytes, "{url}");
    assert_eq!(read_pattern(&mut BufReader::new(File::open(&file)?))?, bytes, "{url}");
    Ok(())
}

fn pattern_file(scratch: &Scratch, bytes: u64) -> anyhow::Result<std::path::PathBuf> {
    let mut contents = Vec::new();
    send_pattern(&mut contents, bytes)?;
    Ok(scratch.write("body", contents)?)
}

fn pair(mode: Mode, nginx: &Nginx) -> anyhow::Result<Pair> {
    Pair::start(PairConfig::new(mode).with_forward(nginx.http.address))
}

#[test]
fn downloads_ranges_and_uploads_at_a_constant_rate() -> Outcome {
    let nginx = Nginx::start()?;
    let pair = pair(Mode::constant("20 Mbit/s"), &nginx)?;
    nginx.publish("object", 5 * MEGABYTE)?;
    let scratch = Scratch::new()?;
    let body = pattern_file(&scratch, 2 * MEGABYTE)?;
    for (number, way) in ways(&pair).iter().enumerate() {
        let url = format!("http://{}/object", nginx.http.address);
        download(way, &url, &[], 5 * MEGABYTE, SHORT)?;
        range(way, &url)?;
        upload(way, &nginx, number, &body)?;
        https(way, &nginx)?;
    }
    let url = format!("http://{}/object", pair.forward(0));
    download(&[], &url, &[], 5 * MEGABYTE, SHORT)
}

fn range(way: &[String], url: &str) -> Outcome {
    let scratch = Scratch::new()?;
    let file = scratch.join("part");
    process::run(curl(way)?.args(["--range", "1000001-3000000", url, "--output"]).arg(&file), SHORT)?;
    let mut whole = Vec::new();
    send_pattern(&mut whole, 3_000_001)?;
    assert!(std::fs::read(&file)? == whole[1_000_001..], "the part is not what stands there in the whole");
    Ok(())
}

fn upload(way: &[String], nginx: &Nginx, number: usize, body: &Path) -> Outcome {
    for (method, folder) in [("POST", "post"), ("PUT", "upload")] {
        let name = format!("{method}-{number}");
        let url = format!("http://{}/{folder}/{name}", nginx.http.address);
        let data = format!("@{}", body.display());
        process::run(curl(way)?.args(["--request", method, "--data-binary", &data, &url]), SHORT)?;
        assert!(std::fs::read(nginx.uploaded(&name))? == std::fs::read(body)?, "{method} changed the body");
    }
    Ok(())
}

fn https(way: &[String], nginx: &Nginx) -> Outcome {
    let certificate = nginx.certificate.display().to_string();
    let url = format!("https://localhost:{}/object", nginx.https.port());
    download(way, &url, &["--cacert", &certificate], 5 * MEGABYTE, SHORT)
}

#[test]
fn a_hundred_megabytes_come_through_whole() -> Outcome {
    let nginx = Nginx::start()?;
    let pair = pair(Mode::Off { congestion: "bbr" }, &nginx)?;
    nginx.publish("object", 100 * MEGABYTE)?;
    let url = format!("http://{}/object", nginx.http.address);
    for way in &ways(&pair) {
        download(way, &url, &[], 100 * MEGABYTE, SHORT)?;
    }
    Ok(())
}

#[test]
#[ignore = "takes minutes: cargo xtask long downloads"]
fn a_gigabyte_comes_through_whole() -> Outcome {
    let nginx = Nginx::start()?;
    nginx.publish("object", 1000 * MEGABYTE)?;
    let scratch = Scratch::new()?;
    let body = pattern_file(&scratch, 1000 * MEGABYTE)?;
    for mode in [Mode::Off { congestion: "bbr" }, Mode::Off { congestion: "cubic" }, Mode::constant("50 Mbit/s")] {
        let pair = pair(mode, &nginx)?;
        let way = &ways(&pair)[0];
        download(way, &format!("http://{}/object", nginx.http.address), &[], 1000 * MEGABYTE, LONG)?;
        let url = format!("http://{}/upload/gigabyte", nginx.http.address);
        process::run(curl(way)?.arg("--upload-file").arg(&body).arg(&url), LONG)?;
        let mut kept = BufReader::new(File::open(nginx.uploaded("gigabyte"))?);
        assert_eq!(read_pattern(&mut kept)?, 1000 * MEGABYTE);
    }
    Ok(())
}

#[test]
fn failures_reach_curl_as_what_they_are() -> Outcome {
    let nginx = Nginx::start()?;
    let mut config = PairConfig::new(Mode::Off { congestion: "bbr" });
    config.policy.insert(0, format!("deny 127.0.0.1/32:{}", nginx.https.port()));
    let pair = Pair::start(config)?;
    let closed = lab::scratch::free_tcp_address()?;
    let by_socks = ["--socks5-hostname".to_owned(), pair.proxy().to_string()];
    // Exit status 97 is "the proxy says no"; the message ends with the code of RFC 1928: 2 not allowed, 5 refused.
    let refused = status_and_text(&by_socks, &format!("http://{closed}/"))?;
    assert!(refused.0 == Some(97) && refused.1.contains("(5)"), "{refused:?}");
    let denied = status_and_text(&by_socks, &format!("https://127.0.0.1:{}/", nginx.https.port()))?;
    assert!(denied.0 == Some(97) && denied.1.contains("(2)"), "{denied:?}");
    let unknown = status_and_text(&by_socks, "http://no-such-name.invalid/")?;
    assert!(unknown.0 == Some(97) && unknown.1.contains("(4)"), "{unknown:?}");
    Ok(())
}

fn status_and_text(way: &[String], url: &str) -> anyhow::Result<(Option<i32>, String)> {
    let output = process::run_to_end(curl(way)?.arg(url), SHORT)?;
    Ok((output.status.code(), process::printed(&output)))
}

#[test]
fn many_requests_over_one_and_over_many_connections() -> Outcome {
    let nginx = Nginx::start()?;
    let pair = pair(Mode::constant("20 Mbit/s"), &nginx)?;
    nginx.publish("small", 10_000)?;
    let target: SocketAddr = pair.forward(0);
    let scratch = Scratch::new()?;
    let output = scratch.join("small-#1").display().to_string();
    let url = format!("http://{target}/small?[1-200]");
    for more in [&[][..], &["--parallel", "--parallel-immediate", "--parallel-max", "50"][..]] {
        process::run(curl(&[])?.args(more).args([&url, "--output", &output]), SHORT)?;
        for number in 1..=200 {
            let mut file = File::open(scratch.join(&format!("small-{number}")))?;
            assert_eq!(read_pattern(&mut file)?, 10_000, "request {number}");
        }
    }
    Ok(())
}
