//! What a program's file tells about whether its sockets can be swapped.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Programs larger than this are looked at up to here.
const FILE_BYTES_MAX: u64 = 512 * 1024 * 1024;
/// `PT_INTERP`: names the loader, so there is one.
const INTERPRETER: u32 = 3;

/// What a file tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Swapped,
    NotElf,
    Static,
    Privileged,
    Go,
    IoUring,
}

/// The file of a program that is named as in a shell.
pub(super) fn find(program: &Path) -> PathBuf {
    if program.components().count() > 1 {
        return program.to_owned();
    }
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&folders).map(|folder| folder.join(program)).find(|path| path.is_file());
    found.unwrap_or_else(|| program.to_owned())
}

pub(super) fn inspect(path: &Path) -> io::Result<Verdict> {
    let file = File::open(path)?;
    let mode = file.metadata()?.permissions().mode();
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(judge(mode, &bytes))
}

fn judge(mode: u32, bytes: &[u8]) -> Verdict {
    let Some(interpreted) = has_interpreter(bytes) else { return Verdict::NotElf };
    if mode & 0o6000 != 0 {
        return Verdict::Privileged;
    }
    // The mark that every Go program carries for `go version`.
    if contains(bytes, b"\xff Go buildinf:") {
        return Verdict::Go;
    }
    if !interpreted {
        return Verdict::Static;
    }
    if contains(bytes, b"liburing.so") || contains(bytes, b"io_uring_setup") {
        return Verdict::IoUring;
    }
    Verdict::Swapped
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

/// Whether a 64-bit ELF file of this machine's kind names a loader. `None`: it is no such file.
fn has_interpreter(bytes: &[u8]) -> Option<bool> {
    let half = |at: usize| bytes.get(at..at + 2).map(|bytes| u16::from_le_bytes([bytes[0], bytes[1]]));
    let own_machine: u16 = if cfg!(target_arch = "aarch64") { 183 } else { 62 };
    // ELF, 64 bits, least significant byte first.
    if bytes.get(..6)? != b"\x7fELF\x02\x01" || half(18)? != own_machine {
        return None;
    }
    let table = usize::try_from(u64::from_le_bytes(bytes.get(32..40)?.try_into().ok()?)).ok()?;
    let (size, count) = (usize::from(half(54)?), usize::from(half(56)?));
    let kinds = (0..count).map_while(|place| {
        let at = table.checked_add(place.checked_mul(size)?)?;
        Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
    });
    Some(kinds.into_iter().any(|kind| kind == INTERPRETER))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(kinds: &[u32], more: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 64];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        let machine: u16 = if cfg!(target_arch = "aarch64") { 183 } else { 62 };
        bytes[18..20].copy_from_slice(&machine.to_le_bytes());
        bytes[32] = 64;
        bytes[54] = 56;
        bytes[56] = u8::try_from(kinds.len()).expect("few");
        for kind in kinds {
            bytes.extend_from_slice(&kind.to_le_bytes());
            bytes.extend_from_slice(&[0; 52]);
        }
        bytes.extend_from_slice(more);
        bytes
    }

    #[test]
    fn each_kind_is_told() {
        assert_eq!(judge(0o755, &program(&[6, INTERPRETER], b"")), Verdict::Swapped);
        assert_eq!(judge(0o755, &program(&[1], b"")), Verdict::Static);
        assert_eq!(judge(0o4755, &program(&[INTERPRETER], b"")), Verdict::Privileged);
        assert_eq!(judge(0o755, &program(&[INTERPRETER], b"\xff Go buildinf:")), Verdict::Go);
        assert_eq!(judge(0o755, &program(&[INTERPRETER], b"liburing.so.2")), Verdict::IoUring);
        assert_eq!(judge(0o755, b"#!/bin/sh\n"), Verdict::NotElf);
    }

    #[test]
    fn cut_and_lying_files_are_judged_without_a_panic() {
        let whole = program(&[INTERPRETER], b"");
        for length in 0..whole.len() {
            let _ = judge(0o755, &whole[..length]);
        }
        let mut far = whole;
        far[32..40].fill(0xff);
        assert_eq!(judge(0o755, &far), Verdict::Static);
    }

    #[test]
    fn this_test_can_be_swapped() {
        let own = std::env::current_exe().expect("a test knows where it is");
        assert!(matches!(inspect(&own), Ok(Verdict::Swapped | Verdict::IoUring)));
    }
}
