use super::*;
use std::error::Error;

type TestResult = Result<(), Box<dyn Error>>;

const LEN: usize = 16 * 4096;

#[test]
fn what_the_owner_writes_the_other_reads() -> TestResult {
    let segment = Segment::create("test", LEN)?;
    let own = OwnSegment::map(segment.writable(), LEN)?;
    let other = OtherSegment::map(segment.read_only(), LEN)?;
    own.store(LEN - 8, 42, Ordering::Release);
    own.copy_in(4095, b"page border");
    let mut bytes = [MaybeUninit::new(0); 11];
    other.copy_out(4095, &mut bytes);
    // SAFETY: initialised above.
    assert_eq!(bytes.map(|byte| unsafe { byte.assume_init() }), *b"page border");
    assert_eq!(other.load(LEN - 8, Ordering::Acquire), 42);
    Ok(())
}

#[test]
fn the_reader_cannot_get_write_access() -> TestResult {
    let segment = Segment::create("test", LEN)?;
    let fd = segment.read_only();
    assert_eq!(OwnSegment::map(fd, LEN).map(|_| ()), Err(SegmentError::System { call: "mmap", errno: Errno::ACCESS }));
    assert_eq!(rustix::io::write(fd, &[1]), Err(Errno::BADF));
    assert_eq!(rustix::fs::ftruncate(fd, 0), Err(Errno::INVAL));
    let mapped = OtherSegment::map(fd, LEN)?;
    let base = mapped.0.base.as_ptr().cast();
    // SAFETY: changes access to our own mapping only, and is expected to fail.
    let upgraded = unsafe { rustix::mm::mprotect(base, LEN, rustix::mm::MprotectFlags::WRITE) };
    assert_eq!(upgraded, Err(Errno::ACCESS));
    // SAFETY: would zero shared bytes, which are never referenced; expected to fail.
    let punched = unsafe { rustix::mm::madvise(base, LEN, Advice::LinuxRemove) };
    assert_eq!(punched, Err(Errno::ACCESS));
    Ok(())
}

#[test]
fn nobody_can_resize_or_unseal() -> TestResult {
    let segment = Segment::create("test", LEN)?;
    assert_eq!(rustix::fs::ftruncate(segment.writable(), 4096), Err(Errno::PERM));
    assert_eq!(rustix::fs::ftruncate(segment.writable(), 2 * LEN as u64), Err(Errno::PERM));
    assert_eq!(rustix::fs::fcntl_add_seals(segment.writable(), SealFlags::WRITE), Err(Errno::PERM));
    Ok(())
}

#[test]
fn short_and_unsealed_segments_are_refused() -> TestResult {
    let segment = Segment::create("test", LEN)?;
    let too_short = SegmentError::TooShort { found: LEN as u64, needed: LEN + 1 };
    assert_eq!(OtherSegment::map(segment.read_only(), LEN + 1).map(|_| ()), Err(too_short));

    let open = rustix::fs::memfd_create("test", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    rustix::fs::ftruncate(&open, LEN as u64)?;
    assert_eq!(OtherSegment::map(open.as_fd(), LEN).map(|_| ()), Err(SegmentError::Unsealed));
    rustix::fs::fcntl_add_seals(&open, SealFlags::SHRINK | SealFlags::GROW)?;
    assert_eq!(OtherSegment::map(open.as_fd(), LEN).map(|_| ()), Err(SegmentError::Unsealed));
    rustix::fs::fcntl_add_seals(&open, SealFlags::SEAL)?;
    assert_eq!(OtherSegment::map(open.as_fd(), LEN).map(|_| ()), Ok(()));

    let (pipe, _other_end) = rustix::pipe::pipe()?;
    assert_eq!(OtherSegment::map(pipe.as_fd(), LEN).map(|_| ()), Err(SegmentError::Unsealed));
    Ok(())
}

/// Touching a hole in one could raise SIGBUS, and it cannot be unmapped in the length of a segment.
#[test]
fn a_file_of_huge_pages_is_refused() -> TestResult {
    let huge = rustix::fs::memfd_create("test", MemfdFlags::ALLOW_SEALING | MemfdFlags::HUGETLB)?;
    rustix::fs::fcntl_add_seals(&huge, SEALS)?;
    assert_eq!(OtherSegment::map(huge.as_fd(), LEN).map(|_| ()), Err(SegmentError::Unsealed));
    Ok(())
}

#[test]
fn a_segment_beyond_the_address_space_is_refused_in_one_sentence() -> TestResult {
    let huge = 1 << 60;
    let mapped =
        Segment::create("test", huge).and_then(|segment| OwnSegment::map(segment.writable(), huge).map(|_| ()));
    let error = mapped.err().ok_or("an exabyte was mapped")?;
    assert!(matches!(error, SegmentError::NoMemory { bytes, .. } if bytes == huge), "{error:?}");
    assert!(error.to_string().starts_with("no memory for a shared segment of 1152921504606846976 bytes"), "{error}");
    assert_eq!(io::Error::from(error).kind(), io::ErrorKind::OutOfMemory);
    Ok(())
}

#[test]
fn given_back_pages_read_as_zeros_and_their_neighbours_stay() -> TestResult {
    let segment = Segment::create("test", LEN)?;
    let own = OwnSegment::map(segment.writable(), LEN)?;
    let other = OtherSegment::map(segment.read_only(), LEN)?;
    let page = page_size();
    for offset in (0..LEN).step_by(page) {
        own.store(offset, 7, Ordering::Release);
    }
    let blocks = || rustix::fs::fstat(segment.writable()).map(|stat| stat.st_blocks);
    let before = blocks()?;
    own.give_back(page - 8, 2 * page + 16)?;
    let words: Vec<u64> = (0..4).map(|index| other.load(index * page, Ordering::Acquire)).collect();
    assert_eq!(words, [7, 0, 0, 7]);
    own.give_back(0, LEN)?;
    assert!(blocks()? < before);
    Ok(())
}

#[test]
#[should_panic(expected = "outside the segment")]
fn an_offset_of_ours_past_the_end_is_a_bug_not_an_access() {
    let segment = Segment::create("test", LEN).expect("a small segment");
    OwnSegment::map(segment.writable(), LEN).expect("fresh").copy_in(LEN - 1, &[1, 2]);
}

#[test]
fn a_writers_own_segment_can_be_written_by_nobody_else() -> TestResult {
    let (own, fd) = OwnSegment::create(c"test", LEN)?;
    let other = OtherSegment::map(fd.as_fd(), LEN)?;
    own.word(64).store(7, Ordering::Release);
    assert_eq!(other.load(64, Ordering::Acquire), 7, "the first mapping stays writable");
    let refused = SegmentError::System { call: "mmap", errno: Errno::PERM };
    assert_eq!(OwnSegment::map(fd.as_fd(), LEN).map(|_| ()), Err(refused));
    assert_eq!(rustix::io::pwrite(&fd, &[1], 0), Err(Errno::PERM));
    assert_eq!(rustix::fs::ftruncate(&fd, 0), Err(Errno::PERM));
    assert_eq!(rustix::fs::fcntl_add_seals(&fd, SealFlags::WRITE), Err(Errno::PERM));
    Ok(())
}

/// Whatever place and length: the bytes, and nothing before or behind them.
#[test]
fn copies_past_the_caches_are_copies() -> TestResult {
    const LEN: usize = 4096;
    let (own, fd) = OwnSegment::create(c"past-caches", LEN)?;
    let other = OtherSegment::map(fd.as_fd(), LEN)?;
    let bytes: Vec<u8> = (0..400u32).map(|index| (index * 7 + 1) as u8).collect();
    for at in (0..130).chain([LEN - 400]) {
        for count in [0, 1, 15, 63, 64, 65, 127, 128, 200, 400] {
            own.copy_in(0, &[0; LEN]);
            // SAFETY: there are as many bytes.
            unsafe { own.copy_in_past_caches(at, bytes.as_ptr(), count) };
            let mut all = [MaybeUninit::uninit(); LEN];
            other.copy_out(0, &mut all);
            // SAFETY: `copy_out` has filled all of it.
            let all = all.map(|byte| unsafe { byte.assume_init() });
            assert_eq!(all[at..at + count], bytes[..count], "{count} bytes at {at}");
            assert!(all[..at].iter().chain(&all[at + count..]).all(|byte| *byte == 0), "{count} bytes at {at}");
        }
    }
    Ok(())
}
