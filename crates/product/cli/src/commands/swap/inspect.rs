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
    // What every Go program carries for `go version`.
    if section(bytes, b".go.buildinfo").is_some() {
        return Verdict::Go;
    }
    if !interpreted {
        return Verdict::Static;
    }
    // The names of the libraries that it needs and of the calls that it takes from them.
    let names = section(bytes, b".dynstr").unwrap_or_default();
    if contains(names, b"liburing.so") || contains(names, b"io_uring_setup") {
        return Verdict::IoUring;
    }
    Verdict::Swapped
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

/// The little-endian number at a place of a file.
fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<u64> {
    let mut whole = [0; 8];
    whole[..N].copy_from_slice(bytes.get(at..at.checked_add(N)?)?);
    Some(u64::from_le_bytes(whole))
}

/// What stands in the section of that name.
fn section<'a>(bytes: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let place = |at| number::<8>(bytes, at).and_then(|number| usize::try_from(number).ok());
    let half = |at| number::<2>(bytes, at).and_then(|number| usize::try_from(number).ok());
    let (table, size, count, of_names) = (place(40)?, half(58)?, half(60)?, half(62)?);
    let header = |number: usize| table.checked_add(number.checked_mul(size)?);
    let content = |header: usize| {
        let (begin, length) = (place(header.checked_add(24)?)?, place(header.checked_add(32)?)?);
        bytes.get(begin..begin.checked_add(length)?)
    };
    let names = content(header(of_names)?)?;
    let is_named = |header: usize| {
        let begin = number::<4>(bytes, header).and_then(|number| usize::try_from(number).ok())?;
        let rest = names.get(begin..)?.strip_prefix(name)?;
        (rest.first() == Some(&0)).then_some(header)
    };
    (0..count).filter_map(header).find_map(is_named).and_then(content)
}

/// Whether a 64-bit ELF file of this machine's kind names a loader. `None`: it is no such file.
fn has_interpreter(bytes: &[u8]) -> Option<bool> {
    let own_machine = if cfg!(target_arch = "aarch64") { 183 } else { 62 };
    // ELF, 64 bits, least significant byte first.
    if bytes.get(..6)? != b"\x7fELF\x02\x01" || number::<2>(bytes, 18)? != own_machine {
        return None;
    }
    let place = |number: u64| usize::try_from(number).ok();
    let table = place(number::<8>(bytes, 32)?)?;
    let (size, count) = (place(number::<2>(bytes, 54)?)?, place(number::<2>(bytes, 56)?)?);
    let kinds = (0..count).map_while(|place| {
        let at = table.checked_add(place.checked_mul(size)?)?;
        number::<4>(bytes, at)
    });
    Some(kinds.into_iter().any(|kind| kind == u64::from(INTERPRETER)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with these program headers and one section more than that of the sections' names.
    fn program(kinds: &[u32], (name, content): (&[u8], &[u8])) -> Vec<u8> {
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
        let sections = [[name, b"\0"].concat(), content.to_vec()].map(|content| {
            let begin = bytes.len();
            bytes.extend_from_slice(&content);
            (begin, content.len())
        });
        // The first section has the names: its own is empty, at the end of the other's.
        let table = bytes.len();
        for (place, (begin, length)) in sections.into_iter().enumerate() {
            let mut header = [0; 64];
            header[0] = if place == 0 { u8::try_from(name.len()).expect("short") } else { 0 };
            header[24..32].copy_from_slice(&(begin as u64).to_le_bytes());
            header[32..40].copy_from_slice(&(length as u64).to_le_bytes());
            bytes.extend_from_slice(&header);
        }
        bytes[40..48].copy_from_slice(&(table as u64).to_le_bytes());
        (bytes[58], bytes[60]) = (64, 2);
        bytes
    }

    #[test]
    fn each_kind_is_told() {
        assert_eq!(judge(0o755, &program(&[6, INTERPRETER], (b"", b""))), Verdict::Swapped);
        assert_eq!(judge(0o755, &program(&[1], (b"", b""))), Verdict::Static);
        assert_eq!(judge(0o4755, &program(&[INTERPRETER], (b"", b""))), Verdict::Privileged);
        assert_eq!(judge(0o755, &program(&[INTERPRETER], (b".go.buildinfo", b"x"))), Verdict::Go);
        assert_eq!(judge(0o755, &program(&[INTERPRETER], (b".dynstr", b"liburing.so.2"))), Verdict::IoUring);
        let speaks_of_it = (b".rodata".as_slice(), b"\xff Go buildinf: .go.buildinfo liburing.so.2".as_slice());
        assert_eq!(judge(0o755, &program(&[INTERPRETER], speaks_of_it)), Verdict::Swapped);
        assert_eq!(judge(0o755, b"#!/bin/sh\n"), Verdict::NotElf);
    }

    #[test]
    fn cut_and_lying_files_are_judged_without_a_panic() {
        let whole = program(&[INTERPRETER], (b"", b""));
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
        assert_eq!(inspect(&own).ok(), Some(Verdict::Swapped));
    }
}
