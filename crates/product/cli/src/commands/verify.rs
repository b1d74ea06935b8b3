//! `hushwire verify`: what an observer of a link can see, from recordings of it.

use crate::args::VerifyArgs;
use crate::failure::{Code, Failure, Outcome};
use crate::terminal;
use adversary::capture::{End, Ends, LinkRecording, record};
use adversary::verdict::{self, Question, Recordings, Settings};
use adversary::{Sighting, judge};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Largest recording that is read, in bytes: one of ten minutes at 50 Mbit/s.
const FILE_BYTES_MAX: u64 = 4 << 30;
/// Fewest packets of a phase; the rest of a recording that is cut into phases.
const PHASE_PACKETS_MIN: usize = 100;

pub(crate) fn run(args: &VerifyArgs) -> Outcome {
    let packet = args.packet_size as usize;
    let settings = Settings::new(packet, Duration::from_millis(args.slot_ms.into()));
    let mut settings = settings.map_err(|error| Failure::from_error(Code::Usage, &error))?;
    if !args.strict {
        // They see shifts of single microseconds, which the programs beside a node cause too; lateness has bounds.
        settings = settings.reporting_only(Question::Distribution).reporting_only(Question::Classifier);
    }
    let read = |files: &[PathBuf]| files.iter().map(|file| read(file)).collect::<Result<Vec<_>, _>>();
    let (idle_files, loaded_files) = (read(&args.idle)?, read(&args.loaded)?);
    let (idle, loaded) = (recordings(&idle_files, &args.idle, args)?, recordings(&loaded_files, &args.loaded, args)?);
    let payloads = [0, 1].map(|way: usize| {
        let all = idle.iter().chain(&loaded).flat_map(|recording| recording.payloads[way].iter().copied());
        all.collect::<Vec<&[u8]>>()
    });
    let phases = |recordings: &[LinkRecording<'_>]| {
        recordings.iter().flat_map(|recording| phases(recording, args.phase)).collect::<Vec<_>>()
    };
    let (idle, loaded) = (phases(&idle), phases(&loaded));
    let verdict = judge(
        &Recordings { idle: &idle, loaded: &loaded, payloads: [payloads[0].as_slice(), payloads[1].as_slice()] },
        &settings,
    );
    if args.json {
        let text =
            serde_json::to_string_pretty(&verdict).map_err(|error| Failure::from_error(Code::Software, &error))?;
        terminal::say(&format!("{text}\n"));
    } else {
        terminal::say(&format!("{verdict}\n"));
    }
    match verdict.outcome {
        verdict::Outcome::Passes => Ok(()),
        verdict::Outcome::Fails => Err(Failure::new(Code::Data, "an observer of this link can tell idle from loaded")
            .remedy("see which question failed; on a busy machine set process.realtime, then record again")),
        verdict::Outcome::Undecided => Err(Failure::new(Code::Data, "these recordings are too short to decide")
            .remedy("record eight or more phases of each kind in turns, of three seconds or more each")),
    }
}

fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    let failed = |error: &std::io::Error| Failure::io(format!("cannot read {}", file.display()), error);
    let length = std::fs::metadata(file).map_err(|error| failed(&error))?.len();
    if length > FILE_BYTES_MAX {
        return Err(Failure::new(Code::Data, format!("{} is larger than 4 GiB", file.display()))
            .remedy("record for a shorter time, or only one port"));
    }
    std::fs::read(file).map_err(|error| failed(&error))
}

fn recordings<'a>(
    files: &'a [Vec<u8>],
    names: &[PathBuf],
    args: &VerifyArgs,
) -> Result<Vec<LinkRecording<'a>>, Failure> {
    files.iter().zip(names).map(|(bytes, name)| recording(bytes, name, args)).collect()
}

/// The link's packets of one file; what the file lacks is said.
fn recording<'a>(bytes: &'a [u8], name: &Path, args: &VerifyArgs) -> Result<LinkRecording<'a>, Failure> {
    let ends = Ends { near: End::default(), far: End { address: None, port: Some(args.port) } };
    let offload = NonZeroUsize::new(args.packet_size as usize).filter(|_| args.offload);
    let recording = record(bytes, ends, offload).map_err(|error| {
        Failure::new(Code::Data, format!("{}: {error}", name.display())).remedy("record with `tcpdump -w`")
    })?;
    if let Some(damage) = &recording.damage {
        terminal::complain(&format!("{}: {damage}; what stands before is used\n", name.display()));
    }
    if recording.left_out > 0 {
        terminal::complain(&format!("{}: {} packets too many were left out\n", name.display(), recording.left_out));
    }
    if recording.sightings.is_empty() {
        return Err(Failure::new(Code::Data, format!("{} has no packet of UDP port {}", name.display(), args.port))
            .remedy("name the exit's port, and record the interface that the link uses"));
    }
    Ok(recording)
}

/// One phase a file, or several of a length.
fn phases(recording: &LinkRecording<'_>, seconds: Option<u64>) -> Vec<Vec<Sighting>> {
    let Some(seconds) = seconds else { return vec![recording.sightings.clone()] };
    let (mut phases, mut rest) = (Vec::new(), recording.sightings.as_slice());
    while let Some(first) = rest.first() {
        let end = first.at + Duration::from_secs(seconds);
        let (phase, behind) = rest.split_at(rest.partition_point(|sighting| sighting.at < end));
        if phase.len() >= PHASE_PACKETS_MIN {
            phases.push(phase.to_vec());
        }
        rest = behind;
    }
    phases
}

#[cfg(test)]
mod tests {
    use super::*;
    use adversary::Direction;

    #[test]
    fn a_recording_is_cut_into_phases_and_a_short_rest_is_dropped() {
        let packet = |number: u32| Sighting {
            at: Duration::from_millis(10) * number,
            direction: Direction::Outward,
            length: 1350,
        };
        let recording = LinkRecording { sightings: (0..950).map(packet).collect(), ..LinkRecording::default() };
        let lengths = |seconds| phases(&recording, seconds).iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(lengths(None), [950]);
        assert_eq!(lengths(Some(3)), [300, 300, 300]);
        assert_eq!(lengths(Some(2)), [200, 200, 200, 200, 150]);
    }
}
