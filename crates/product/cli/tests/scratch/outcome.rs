//! Commands whose end is known.

use crate::folder::Folder;

/// Runs a command that succeeds; what it printed.
pub(crate) fn good(folder: &Folder, args: &[&str]) -> String {
    let ran = folder.run(args).expect("the program can be run");
    assert_eq!(ran.code, Some(0), "{args:?}: {}", ran.err);
    ran.out
}

/// Runs a command that fails; what it complained.
pub(crate) fn bad(folder: &Folder, args: &[&str], code: i32) -> String {
    let ran = folder.run(args).expect("the program can be run");
    assert_eq!(ran.code, Some(code), "{args:?}: {}", ran.err);
    ran.err
}
