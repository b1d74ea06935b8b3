//! What goes through: generated clients, or a recording.

use crate::args::{SimOptions, TrafficArg};
use crate::failure::{Code, Failure};
use crate::terminal;
use admin::render::decimal;
use shaping_sim::trace::{Direction, TRACE_LENGTH_MAX, Trace, parse_csv, pcap::parse_pcap};
use shaping_sim::{Answers, Exchanges, Pace, REQUEST_BYTES, SMALL_ANSWER_BYTES, TrafficError, Workload};
use std::io::Read;
use std::path::Path;
use std::time::Duration;

/// Largest recording that is read, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 30;
/// Length of a run with generated traffic.
const LENGTH: Duration = Duration::from_secs(300);
/// How files of libpcap begin: microseconds and nanoseconds in either byte order, and the newer format.
const CAPTURE_MAGICS: [[u8; 4]; 5] = [
    [0xd4, 0xc3, 0xb2, 0xa1],
    [0xa1, 0xb2, 0xc3, 0xd4],
    [0x4d, 0x3c, 0xb2, 0xa1],
    [0xa1, 0xb2, 0x3c, 0x4d],
    [0x0a, 0x0d, 0x0d, 0x0a],
];

/// Traffic, and how long it is looked at.
pub(super) struct Traffic {
    pub(super) workload: Workload,
    /// In one line, for people.
    pub(super) about: String,
    pub(super) measured: Duration,
}

impl Traffic {
    pub(super) fn new(options: &SimOptions) -> Result<Self, Failure> {
        let seconds = options.seconds.map(Duration::from_secs);
        if let Some(file) = &options.trace {
            return Self::recorded(file, seconds);
        }
        let exchanges = generated(options.traffic, options.clients, options.closed_loop)
            .map_err(|error| Failure::from_error(Code::Usage, &error))?;
        let clients = if options.clients == 1 { "1 client".to_owned() } else { format!("{} clients", options.clients) };
        let looped = if options.closed_loop { "closed loop" } else { "open loop" };
        let about = format!("{}, {clients}, {looped}", options.traffic.name());
        Ok(Self { workload: Workload::Exchanges(exchanges), about, measured: seconds.unwrap_or(LENGTH) })
    }

    fn recorded(file: &Path, seconds: Option<Duration>) -> Result<Self, Failure> {
        let bytes = read(file)?;
        let trace = if CAPTURE_MAGICS.iter().any(|magic| bytes.starts_with(magic)) {
            capture(&bytes, file)?
        } else {
            csv(&bytes, file)?
        };
        let [up, down] = [Direction::Up, Direction::Down].map(|direction| decimal(trace.bytes(direction)));
        let count = trace.transfers().len();
        // Titles of pictures have no room for a whole path.
        let name = file.file_name().unwrap_or(file.as_os_str()).display();
        let about = format!("{name}, {} client(s), {count} transfer(s), {up} up, {down} down", trace.clients());
        // The second in which the last transfer begins belongs to it.
        let length = (trace.length() + Duration::from_secs(1)).min(TRACE_LENGTH_MAX);
        let whole = Duration::from_secs(length.as_secs());
        Ok(Self { workload: Workload::Replay(trace), about, measured: seconds.unwrap_or(whole) })
    }

    /// Whether it ends by itself.
    pub(super) fn is_recorded(&self) -> bool {
        matches!(self.workload, Workload::Replay(_))
    }
}

fn generated(traffic: TrafficArg, clients: u32, closed_loop: bool) -> Result<Exchanges, TrafficError> {
    match (traffic, closed_loop) {
        (TrafficArg::Video, false) => Exchanges::video(clients),
        (TrafficArg::Video, true) => Exchanges::waiting_video(clients),
        (TrafficArg::Web, false) => Exchanges::web(clients),
        (TrafficArg::Web, true) => Exchanges::waiting_web(clients),
        (TrafficArg::Small, false) => Exchanges::small_requests(clients),
        (TrafficArg::Small, true) => {
            let answers = Answers::Between(SMALL_ANSWER_BYTES, SMALL_ANSWER_BYTES);
            Exchanges::new(clients, REQUEST_BYTES, answers, Pace::Thinking(Duration::from_secs(1)))
        }
    }
}

/// The whole file; one that grows while it is read, or that has no length, ends with the same error.
fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    let failed = |error: &std::io::Error| Failure::io(format!("cannot read {}", file.display()), error);
    let opened = std::fs::File::open(file).map_err(|error| failed(&error).remedy("check the path"))?;
    let mut bytes = Vec::new();
    opened.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| failed(&error))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(Failure::new(Code::Data, format!("{} is larger than 1 GiB", file.display()))
            .remedy("take a shorter part of it, or record headers only with `tcpdump -s 96`"));
    }
    Ok(bytes)
}

fn csv(bytes: &[u8], file: &Path) -> Result<Trace, Failure> {
    let shown = file.display();
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let line = 1 + bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
        Failure::new(Code::Data, format!("{shown} is no text in line {line}, and no recording of packets either"))
            .remedy("give CSV in UTF-8, or a file that `tcpdump -w` wrote")
    })?;
    parse_csv(text).map_err(|error| {
        Failure::new(Code::Data, format!("{shown}, line {}: {}", error.line, error.problem))
            .remedy("write one transfer a line: seconds,client,direction,bytes")
    })
}

/// What the file lacks is said.
fn capture(bytes: &[u8], file: &Path) -> Result<Trace, Failure> {
    let shown = file.display();
    let capture = parse_pcap(bytes).map_err(|error| {
        Failure::new(Code::Data, format!("{shown}: {error}")).remedy("record with `tcpdump -w`, at the clients' side")
    })?;
    if capture.is_cut {
        terminal::complain(&format!("{shown}: the file ends within a packet; what stands before is used\n"));
    }
    if capture.skipped_packets > 0 {
        let count = capture.skipped_packets;
        terminal::complain(&format!("{shown}: {count} packet(s) that are no TCP and no UDP were left out\n"));
    }
    Ok(capture.trace)
}
