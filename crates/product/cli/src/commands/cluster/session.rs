//! Who publishes, and the file that remembers it.

use crate::failure::{Code, Failure};
use crate::settings;
use pipe_protocol::SessionId;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// No file of a session is longer: two lines.
const FILE_BYTES_MAX: u64 = 128;

/// A session, and where it is kept.
#[derive(Debug)]
pub(super) struct Session {
    id: SessionId,
    kept: Option<Kept>,
}

#[derive(Debug)]
struct Kept {
    path: PathBuf,
    /// Held and locked as long as the session is in use.
    file: File,
    counted: u64,
}

impl Session {
    /// One that ends with this program.
    pub(super) fn drawn() -> Result<Self, Failure> {
        Ok(Self { id: draw()?, kept: None })
    }

    /// The one that the file holds; a new one if there is no file.
    pub(super) fn of_file(path: &Path) -> Result<Self, Failure> {
        let cannot = |what: &str, error: &std::io::Error| {
            Failure::io(format_args!("cannot {what} the session file {}", path.display()), error)
        };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(|error| cannot("open", &error))?;
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => {
                Failure::new(Code::Unavailable, format!("the session file {} is in use", path.display()))
                    .remedy("wait until the other command ends, or use a file of its own")
            }
            TryLockError::Error(error) => cannot("lock", &error),
        })?;
        let about = file.metadata().map_err(|error| cannot("read", &error))?;
        if about.permissions().mode() & 0o077 != 0 {
            return Err(Failure::new(Code::Permission, format!("others may read the session file {}", path.display()))
                .remedy(format!("chmod 600 {}", path.display())));
        }
        let mut text = String::new();
        match (&mut file).take(FILE_BYTES_MAX).read_to_string(&mut text) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::InvalidData => return Err(unreadable(path)),
            Err(error) => return Err(cannot("read", &error)),
        }
        let (id, counted) =
            if text.is_empty() { (draw()?, 0) } else { parse(&text).ok_or_else(|| unreadable(path))? };
        let mut session = Self { id, kept: Some(Kept { path: path.to_owned(), file, counted }) };
        if text.is_empty() {
            session.write(counted)?;
        }
        Ok(session)
    }

    pub(super) fn id(&self) -> SessionId {
        self.id
    }

    /// Messages that surely counted in earlier runs; `None` for a session without any.
    pub(super) fn counted_earlier(&self) -> Option<u64> {
        self.kept.as_ref().map(|kept| kept.counted)
    }

    /// So many messages count. Should the cluster forget the session, the next run notices it by this.
    pub(super) fn note(&mut self, counted: u64) -> Result<(), Failure> {
        match &self.kept {
            Some(kept) if counted > kept.counted => self.write(counted),
            _ => Ok(()),
        }
    }

    fn write(&mut self, counted: u64) -> Result<(), Failure> {
        let Some(kept) = &mut self.kept else { return Ok(()) };
        // Always as long as before, so that a half of it never stays.
        let text = format!("session {}\ncounted {counted:020}\n", self.id);
        kept.counted = counted;
        kept.file
            .write_all_at(text.as_bytes(), 0)
            .map_err(|error| Failure::io(format_args!("cannot write the session file {}", kept.path.display()), &error))
    }
}

fn draw() -> Result<SessionId, Failure> {
    settings::random().map(SessionId::from_bytes)
}

fn parse(text: &str) -> Option<(SessionId, u64)> {
    let mut lines = text.lines();
    let id = lines.next()?.strip_prefix("session ")?.parse().ok()?;
    let counted = lines.next()?.strip_prefix("counted ")?.parse().ok()?;
    lines.next().is_none().then_some((id, counted))
}

fn unreadable(path: &Path) -> Failure {
    Failure::new(Code::Data, format!("{} is no file of a session", path.display()))
        .remedy("name another file, or one that does not exist yet")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_keeps_the_session_and_what_counted() {
        let path = std::env::temp_dir().join(format!("hushwire-session-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let mut session = Session::of_file(&path).expect("a new file");
        let id = session.id();
        assert_eq!(session.counted_earlier(), Some(0));
        session.note(12).expect("it is written");
        session.note(3).expect("what counted never goes back");
        assert!(format!("{:?}", Session::of_file(&path).expect_err("in use")).contains("is in use"));
        drop(session);
        let session = Session::of_file(&path).expect("the same file");
        assert_eq!((session.id(), session.counted_earlier()), (id, Some(12)));
        drop(session);
        for text in ["x", "session 12\ncounted 1\n", "session 00000000000000000000000000000001\n"] {
            std::fs::write(&path, text).expect("a file");
            assert!(format!("{:?}", Session::of_file(&path).expect_err(text)).contains("no file of a session"));
        }
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("an own file");
        assert!(format!("{:?}", Session::of_file(&path).expect_err("readable")).contains("others may read"));
        std::fs::remove_file(&path).expect("an own file");
    }
}
