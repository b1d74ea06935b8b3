//! Files with secrets on a real disk.

use config::{SecretFileError, create_secret_file, read_keys, read_secret_file, read_users};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

type TestResult = Result<(), Box<dyn std::error::Error>>;

/// A fresh folder that goes away with the value.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> std::io::Result<Self> {
        let path = std::env::temp_dir().join(format!("hushwire-config-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    fn secret(&self, name: &str, content: &str) -> Result<PathBuf, SecretFileError> {
        let path = self.0.join(name);
        create_secret_file(&path, content).map(|()| path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_secret_is_made_for_its_owner_alone_and_never_overwritten() -> TestResult {
    let folder = Folder::new("create")?;
    let path = folder.secret("one", "precious")?;
    assert_eq!(path.metadata()?.permissions().mode() & 0o777, 0o600);
    let again = create_secret_file(&path, "other").expect_err("the file exists");
    assert!(matches!(again, SecretFileError::Exists { .. }) && !again.remedy().is_empty());
    assert_eq!(read_secret_file(&path)?, "precious");
    Ok(())
}

#[test]
fn a_secret_that_others_can_read_is_refused_with_the_command_that_helps() -> TestResult {
    let folder = Folder::new("mode")?;
    let path = folder.secret("one", "precious")?;
    for mode in [0o640, 0o604, 0o620, 0o666] {
        std::fs::set_permissions(&path, Permissions::from_mode(mode))?;
        let refused = read_secret_file(&path).expect_err("others can use it");
        assert!(refused.to_string().contains(&format!("has mode {mode:04o}")), "{refused}");
        assert_eq!(refused.remedy(), format!("run `chmod 600 {}`", path.display()));
    }
    for mode in [0o600, 0o400] {
        std::fs::set_permissions(&path, Permissions::from_mode(mode))?;
        assert_eq!(read_secret_file(&path)?, "precious");
    }
    Ok(())
}

#[test]
fn what_is_no_file_of_keys_is_refused() -> TestResult {
    let folder = Folder::new("keys")?;
    assert!(matches!(read_keys(&folder.0), Err(SecretFileError::NotAFile { .. })));
    let absent = read_keys(Path::new("/nowhere/entry.keys")).expect_err("there is no such file");
    assert_eq!(absent.remedy(), "check the path; `hushwire keys new /nowhere/entry.keys` makes new keys");
    let garbage = folder.secret("garbage", "hello\n")?;
    assert!(matches!(read_keys(&garbage), Err(SecretFileError::Keys { .. })));
    let keys = identity::KeyFile::from_random([[1; 32], [2; 32], [3; 32]]);
    let good = folder.secret("good", &keys.reveal())?;
    assert_eq!(read_keys(&good)?.node_secret.node_id(), keys.node_secret.node_id());
    Ok(())
}

#[test]
fn users_have_names_and_passwords() -> TestResult {
    let folder = Folder::new("users")?;
    let good = folder.secret("good", "# family\nann:one:two\n\nbob: three\n")?;
    let pair = |user: &str, password: &str| (user.to_owned(), password.to_owned());
    assert_eq!(read_users(&good)?, vec![pair("ann", "one:two"), pair("bob", " three")]);
    for (name, content, line) in [("a", "ann\n", 1), ("b", "ann:one\n:two\n", 2), ("c", "ann:\n", 1)] {
        let path = folder.secret(name, content)?;
        assert!(
            matches!(read_users(&path), Err(SecretFileError::User { line: found, .. }) if found == line),
            "{content}"
        );
    }
    Ok(())
}
