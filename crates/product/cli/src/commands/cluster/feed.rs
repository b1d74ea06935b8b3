//! `hushwire cluster feed`: each line that is written into a FIFO becomes a message.

use super::lines::{self, AtEnd};
use super::publish::summary;
use super::publisher::{LongLine, Publisher};
use super::session::Session;
use crate::args::cluster::ClusterFeedArgs;
use crate::commands::status::runtime;
use crate::failure::{Code, Failure, Outcome};
use crate::local::stop::StopSignals;
use crate::terminal;
use rustix::fs::{CWD, FileType, Mode, OFlags};
use std::fs::{File, TryLockError};
use std::io::{self, ErrorKind, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::time::Duration;

/// Mode of a FIFO that is made here.
const MODE: Mode = Mode::RUSR.union(Mode::WUSR);

pub(super) fn run(args: &ClusterFeedArgs) -> Outcome {
    let session = Session::drawn()?;
    let patience = Duration::from_secs(args.patience);
    let (report, failure) = runtime()?.block_on(async {
        // From the moment when there is a FIFO, being stopped loses nothing.
        let stop = StopSignals::new()?;
        let _made = make(&args.fifo)?;
        let input = (lines::read(Fifo::open(&args.fifo)?, AtEnd::GoOn), LongLine::LeaveOut);
        let publisher = Publisher::new(&args.pipe.path, args.topic.clone(), session, patience, input, stop);
        Ok::<_, Failure>(publisher.run().await)
    })?;
    terminal::complain(&summary(&report));
    failure.map_or(Ok(()), Err)
}

/// A FIFO that was made here, and goes away with this.
#[derive(Debug)]
struct Made<'a>(&'a Path);

impl Drop for Made<'_> {
    fn drop(&mut self) {
        // Somebody may have removed it before.
        let _ = std::fs::remove_file(self.0);
    }
}

/// Makes a FIFO unless one is there.
fn make(path: &Path) -> Result<Option<Made<'_>>, Failure> {
    match rustix::fs::mknodat(CWD, path, FileType::Fifo, MODE, 0) {
        Ok(()) => Ok(Some(Made(path))),
        Err(rustix::io::Errno::EXIST) => Ok(None),
        Err(error) => Err(Failure::io(format_args!("cannot make the FIFO {}", path.display()), &error.into())),
    }
}

/// The reading end. A read of nothing means that the last writer is gone; the next read waits for another one.
#[derive(Debug)]
struct Fifo {
    reader: File,
    /// A writing end of our own while there is no other, so that reading waits instead of ending.
    keeper: Option<File>,
}

impl Fifo {
    fn open(path: &Path) -> Result<Self, Failure> {
        let failed = |error: &io::Error| Failure::io(format_args!("cannot open the FIFO {}", path.display()), error);
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let reader = match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(reader) => File::from(reader),
            Err(rustix::io::Errno::LOOP | rustix::io::Errno::NXIO) => return Err(no_fifo(path)),
            Err(error) => return Err(failed(&error.into())),
        };
        if !reader.metadata().map_err(|error| failed(&error))?.file_type().is_fifo() {
            return Err(no_fifo(path));
        }
        // Two readers would tear the lines of writers apart.
        match reader.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Failure::new(Code::Unavailable, format!("another program feeds from {}", path.display()))
                    .remedy("end it, or use a FIFO of its own"));
            }
            Err(TryLockError::Error(error)) => return Err(failed(&error)),
        }
        let keeper = writing_end(&reader).map_err(|error| failed(&error))?;
        rustix::fs::fcntl_setfl(&reader, OFlags::empty()).map_err(|error| failed(&error.into()))?;
        Ok(Self { reader, keeper: Some(keeper) })
    }
}

/// By the descriptor, because the name may have gone to something else.
fn writing_end(reader: &File) -> io::Result<File> {
    File::options().write(true).open(format!("/proc/self/fd/{}", reader.as_raw_fd()))
}

fn no_fifo(path: &Path) -> Failure {
    Failure::new(Code::CannotCreate, format!("{} is there and is no FIFO", path.display()))
        .remedy("choose another path")
}

impl Read for Fifo {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.reader.read(buffer) {
                Ok(0) if self.keeper.is_none() => {
                    self.keeper = Some(writing_end(&self.reader)?);
                    return Ok(0);
                }
                // There is a writer, and so there is something to read or to wait for.
                Ok(0) => {}
                Ok(count) => {
                    self.keeper = None;
                    return Ok(count);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn place(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("hushwire-feed-{name}-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        path
    }

    fn write(path: &Path, text: &str) -> io::Result<()> {
        std::fs::write(path, text)
    }

    #[test]
    fn writers_come_and_go_and_nothing_is_lost_between_them() {
        let path = place("writers");
        let made = make(&path).expect("a FIFO");
        let mut lines = lines::read(Fifo::open(&path).expect("it is opened"), AtEnd::GoOn);
        let writer = std::thread::spawn({
            let path = path.clone();
            move || (0..500).try_for_each(|number| write(&path, &format!("a{number}\nb{number}")))
        });
        // A writer may come before the one before it was seen to be gone; then they share a line.
        let expected: String = (0..500).map(|number| format!("a{number}b{number}")).collect();
        let mut text = String::new();
        while text.len() < expected.len() {
            for piece in lines.blocking_recv().expect("it goes on") {
                let lines::Piece::Line(line) = piece else { panic!("{piece:?}") };
                text.push_str(&String::from_utf8_lossy(&line));
            }
        }
        writer.join().expect("it ends").expect("it is written");
        assert_eq!(text, expected);
        drop(made);
        assert!(!path.exists());
    }

    #[test]
    fn what_is_no_fifo_or_is_fed_from_already_is_refused() {
        let path = place("refused");
        std::fs::write(&path, "a file").expect("a file");
        assert!(make(&path).expect("it is there").is_none());
        let refused = Fifo::open(&path).expect_err("a file");
        assert!(format!("{refused:?}").contains("is no FIFO"), "{refused:?}");
        assert_eq!(std::fs::read_to_string(&path).expect("a file"), "a file");
        std::fs::remove_file(&path).expect("an own file");
        let _made = make(&path).expect("a FIFO");
        let _first = Fifo::open(&path).expect("it is opened");
        let refused = Fifo::open(&path).expect_err("it is in use");
        assert!(format!("{refused:?}").contains("another program feeds"), "{refused:?}");
    }
}
