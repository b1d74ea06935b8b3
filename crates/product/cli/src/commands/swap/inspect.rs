//! What a program's file tells about whether its sockets can be swapped.

use rustix::process::{getgid, getuid};
use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Programs larger than this are looked at up to here.
const FILE_BYTES_MAX: u64 = 512 * 1024 * 1024;
/// `PT_INTERP`: names the loader, so there is one.
const INTERPRETER: u32 = 3;
/// A script may be run by a script, and so on; the kernel follows so many.
const SCRIPTS_MAX: u32 = 5;
/// Where a file carries rights of its own beside its mode.
const CAPABILITIES: &str = "security.capability";

/// What a file tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Swapped,
    NotElf,
    Static,
    Musl,
    Privileged,
    Go,
    IoUring,
}

/// A file, and what it tells.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Inspected {
    pub(super) verdict: Verdict,
    /// What runs it, if it is a script: the verdict is about that.
    pub(super) interpreter: Option<PathBuf>,
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

/// What a file tells, or the file that could not be read: it or one that runs it.
pub(super) fn inspect(path: &Path) -> Result<Inspected, (PathBuf, io::Error)> {
    let mut runs = path.to_owned();
    for _ in 0..=SCRIPTS_MAX {
        let (about, bytes) = read(&runs).map_err(|error| (runs.clone(), error))?;
        let Some(next) = interpreter(&bytes) else {
            let verdict = judge(has_other_rights(&runs, &about), &bytes);
            return Ok(Inspected { verdict, interpreter: (runs != path).then_some(runs) });
        };
        // The rights of a script count for nothing.
        runs = next;
    }
    Err((runs, io::Error::other("scripts that run scripts, more than the kernel would follow")))
}

fn read(path: &Path) -> io::Result<(Metadata, Vec<u8>)> {
    let file = File::open(path)?;
    let about = file.metadata()?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok((about, bytes))
}

/// The program that the first line of a script names; the one behind `env`, where that is to find it.
fn interpreter(bytes: &[u8]) -> Option<PathBuf> {
    let line = bytes.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let mut words = line.split(|byte| byte.is_ascii_whitespace()).filter(|word| !word.is_empty());
    let first = Path::new(OsStr::from_bytes(words.next()?));
    let is_for_env = |word: &[u8]| word.starts_with(b"-") || word.contains(&b'=');
    match words.find(|word| !is_for_env(word)) {
        Some(named) if first.ends_with("env") => Some(find(Path::new(OsStr::from_bytes(named)))),
        _ => Some(first.to_owned()),
    }
}

/// Whether the kernel gives the program rights that its caller, this process's user, does not have.
fn has_other_rights(path: &Path, about: &Metadata) -> bool {
    let (mode, me, my_group) = (about.mode(), getuid(), getgid());
    // Without the right to run it, the group's mark means something else.
    let is_of_other_group = mode & 0o2010 == 0o2010 && about.gid() != my_group.as_raw();
    let has_capabilities = || rustix::fs::getxattr(path, CAPABILITIES, &mut [0u8; 64][..]).is_ok();
    mode & 0o4000 != 0 && about.uid() != me.as_raw() || is_of_other_group || !me.is_root() && has_capabilities()
}

fn judge(has_other_rights: bool, bytes: &[u8]) -> Verdict {
    let Some(loader) = loader(bytes) else { return Verdict::NotElf };
    if has_other_rights {
        return Verdict::Privileged;
    }
    // What every Go program carries for `go version`.
    if section(bytes, b".go.buildinfo").is_some() {
        return Verdict::Go;
    }
    let Some(loader) = loader else { return Verdict::Static };
    if contains(loader, b"/ld-musl-") {
        return Verdict::Musl;
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

/// The loader that a 64-bit ELF file of this machine's kind names, or `Some(None)` where it names none. `None`: it is no such file.
fn loader(bytes: &[u8]) -> Option<Option<&[u8]>> {
    let own_machine = if cfg!(target_arch = "aarch64") { 183 } else { 62 };
    // ELF, 64 bits, least significant byte first.
    if bytes.get(..6)? != b"\x7fELF\x02\x01" || number::<2>(bytes, 18)? != own_machine {
        return None;
    }
    let place = |at| number::<8>(bytes, at).and_then(|number| usize::try_from(number).ok());
    let table = place(32)?;
    let half = |at| number::<2>(bytes, at).and_then(|number| usize::try_from(number).ok());
    let (size, count) = (half(54)?, half(56)?);
    let headers = (0..count).filter_map(|number| table.checked_add(number.checked_mul(size)?));
    let mut of_loader = headers.filter(|at| number::<4>(bytes, *at) == Some(u64::from(INTERPRETER)));
    Some(of_loader.next().map(|at| {
        let name = || {
            let (begin, length) = (place(at.checked_add(8)?)?, place(at.checked_add(32)?)?);
            bytes.get(begin..begin.checked_add(length)?)
        };
        name().unwrap_or_default()
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GLIBC: &[u8] = b"/lib64/ld-linux-x86-64.so.2\0";

    fn program(kinds: &[u32], section: (&[u8], &[u8])) -> Vec<u8> {
        program_of(GLIBC, kinds, section)
    }

    /// A file with this loader, these program headers and one section more than that of the sections' names.
    fn program_of(loader: &[u8], kinds: &[u32], (name, content): (&[u8], &[u8])) -> Vec<u8> {
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
        // All headers name the same loader, which begins behind them.
        let loader_at = bytes.len() as u64;
        bytes.extend_from_slice(loader);
        for header in 0..kinds.len() {
            let at = 64 + header * 56;
            bytes[at + 8..at + 16].copy_from_slice(&loader_at.to_le_bytes());
            bytes[at + 32..at + 40].copy_from_slice(&(loader.len() as u64).to_le_bytes());
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
        assert_eq!(judge(false, &program(&[6, INTERPRETER], (b"", b""))), Verdict::Swapped);
        assert_eq!(judge(false, &program(&[1], (b"", b""))), Verdict::Static);
        assert_eq!(judge(true, &program(&[INTERPRETER], (b"", b""))), Verdict::Privileged);
        assert_eq!(judge(false, &program(&[INTERPRETER], (b".go.buildinfo", b"x"))), Verdict::Go);
        assert_eq!(judge(false, &program(&[INTERPRETER], (b".dynstr", b"liburing.so.2"))), Verdict::IoUring);
        let speaks_of_it = (b".rodata".as_slice(), b"\xff Go buildinf: .go.buildinfo liburing.so.2".as_slice());
        assert_eq!(judge(false, &program(&[INTERPRETER], speaks_of_it)), Verdict::Swapped);
        let of_musl = program_of(b"/lib/ld-musl-x86_64.so.1\0", &[6, INTERPRETER], (b"", b""));
        assert_eq!(judge(false, &of_musl), Verdict::Musl);
        let mut of_32_bits = program(&[INTERPRETER], (b"", b""));
        of_32_bits[4] = 1;
        assert_eq!(judge(false, &of_32_bits), Verdict::NotElf);
        assert_eq!(judge(false, b"only text\n"), Verdict::NotElf);
    }

    #[test]
    fn scripts_name_what_runs_them() {
        let named = |line: &str| interpreter(line.as_bytes()).map(|path| path.display().to_string());
        assert_eq!(named("#!/bin/sh\n"), Some("/bin/sh".to_owned()));
        assert_eq!(named("#! /usr/bin/awk -f\nBEGIN"), Some("/usr/bin/awk".to_owned()));
        assert_eq!(named("#!/usr/bin/env /bin/cat\n"), Some("/bin/cat".to_owned()));
        assert_eq!(named("#!/usr/bin/env -S A=b /bin/cat -u\n"), Some("/bin/cat".to_owned()));
        assert_eq!(named("#!/usr/bin/env"), Some("/usr/bin/env".to_owned()));
        assert_eq!(named("#!\n/bin/sh"), None);
        assert_eq!(named("/bin/sh\n"), None);
    }

    #[test]
    fn cut_and_lying_files_are_judged_without_a_panic() {
        let whole = program(&[INTERPRETER], (b"", b""));
        for length in 0..whole.len() {
            let _ = judge(false, &whole[..length]);
        }
        let mut far = whole;
        far[32..40].fill(0xff);
        assert_eq!(judge(false, &far), Verdict::Static);
    }

    #[test]
    fn this_test_can_be_swapped() {
        let own = std::env::current_exe().expect("a test knows where it is");
        assert_eq!(inspect(&own).ok(), Some(Inspected { verdict: Verdict::Swapped, interpreter: None }));
    }
}
