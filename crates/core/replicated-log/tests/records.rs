//! Log files that are cut, altered, or somebody else's.

use identity::NodeId;
use proptest::prelude::*;
use replicated_log::record::{
    BATCH_HEADER_LEN, DecodeError, HEADER_LEN, Header, LogDecoder, Places, Record, Recovered, Round, Tail, encode_batch,
};
use replicated_log::{ClusterId, Command, Entry, LogIndex, Term};

const HEADER: Header = Header { cluster: ClusterId([1; 32]), node: NodeId([2; 32]), term: Term(3) };

fn read(file: &[u8]) -> Result<(Vec<Record>, Tail), DecodeError> {
    let mut decoder = LogDecoder::new(HEADER);
    decoder.push(file);
    let mut records = Vec::new();
    while let Some((_, batch)) = decoder.poll_batch()? {
        records.extend(batch);
    }
    Ok((records, decoder.finish()?))
}

fn entry(number: u64) -> Entry {
    Command::Tick(number).encode()
}

fn entries(from: u64, numbers: std::ops::Range<u64>) -> Record {
    Record { entries: Some((LogIndex(from), numbers.map(entry).collect())), ..Record::default() }
}

/// A file of these batches, each synced before the next is written; also where each begins.
fn file(batches: &[Vec<Record>]) -> (Vec<u8>, Vec<usize>) {
    let (mut bytes, mut starts) = (HEADER.encode().to_vec(), Vec::new());
    for batch in batches {
        let mut records = Vec::new();
        batch.iter().for_each(|record| record.encode(&mut records));
        starts.push(bytes.len());
        let synced = bytes.len() as u64;
        bytes.extend(encode_batch(&records, synced));
    }
    (bytes, starts)
}

fn small() -> (Vec<u8>, Vec<usize>) {
    let round = Round { number: 4, priority: 0, engine_id: 2 };
    file(&[
        vec![Record { promise: Some(round), ..Record::default() }],
        vec![entries(0, 0..3), Record { decided: Some(LogIndex(2)), ..Record::default() }],
        vec![Record { accepted: Some(round), ..entries(2, 7..9) }],
    ])
}

#[test]
fn a_file_is_read_as_it_was_written() {
    let (bytes, _) = small();
    let (records, tail) = read(&bytes).expect("it is whole");
    assert_eq!(tail, Tail { length: bytes.len() as u64, cut: 0 });
    let mut recovered = Recovered::default();
    records.iter().for_each(|record| recovered.handle_record(record));
    assert_eq!((recovered.length, recovered.decided), (LogIndex(4), LogIndex(2)));
    assert_eq!(recovered.promise.map(|round| round.number), Some(4));
}

#[test]
fn cut_at_every_byte_the_whole_batches_before_it_stay() {
    let (bytes, starts) = small();
    for length in 0..bytes.len() {
        let (_, tail) = read(&bytes[..length]).unwrap_or_else(|error| panic!("cut at {length}: {error}"));
        let ends = starts.iter().skip(1).copied().chain([bytes.len()]).filter(|end| *end <= length);
        let head = if length >= HEADER_LEN { HEADER_LEN } else { 0 };
        assert_eq!(tail.length as usize, ends.max().unwrap_or(head), "cut at {length}");
        assert_eq!(tail.cut as usize, length - tail.length as usize);
    }
}

#[test]
fn every_flipped_bit_of_what_was_synced_is_refused_and_of_the_last_batch_cut() {
    let (bytes, starts) = small();
    let last = *starts.last().expect("three batches");
    for place in 0..bytes.len() * 8 {
        let mut altered = bytes.clone();
        altered[place / 8] ^= 1 << (place % 8);
        match read(&altered) {
            Err(DecodeError::NoLog | DecodeError::Foreign) => assert!(place / 8 < HEADER_LEN),
            Err(DecodeError::Damaged { position }) => {
                assert!((HEADER_LEN..last).contains(&(place / 8)), "bit {place}");
                assert!(starts.contains(&(position as usize)));
            }
            Ok((_, tail)) => assert_eq!((tail.length as usize, place / 8 >= last), (last, true), "bit {place}"),
            Err(error) => panic!("bit {place}: {error}"),
        }
    }
}

#[test]
fn a_torn_write_whose_end_came_before_its_beginning_is_cut() {
    // Two batches were written without a sync in between; the first one's sectors are lost, the second's are there.
    let (mut bytes, _) = small();
    let synced = bytes.len();
    for number in 0..2 {
        let mut records = Vec::new();
        entries(4 + number, 20 + number..21 + number).encode(&mut records);
        bytes.extend(encode_batch(&records, synced as u64));
    }
    bytes[synced..synced + BATCH_HEADER_LEN + 8].fill(0);
    let (_, tail) = read(&bytes).expect("nothing that was synced is damaged");
    assert_eq!(tail.length as usize, synced);
}

#[test]
fn the_log_of_another_node_cluster_or_term_is_refused() {
    let (bytes, _) = small();
    for header in [
        Header { cluster: ClusterId([9; 32]), ..HEADER },
        Header { node: NodeId([9; 32]), ..HEADER },
        Header { term: Term(4), ..HEADER },
    ] {
        let mut decoder = LogDecoder::new(header);
        decoder.push(&bytes);
        assert_eq!(decoder.poll_batch(), Err(DecodeError::Foreign));
    }
    let mut decoder = LogDecoder::new(HEADER);
    decoder.push(b"#!/bin/sh");
    assert_eq!(decoder.poll_batch(), Err(DecodeError::NoLog));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever was written and cut again, sparse marks find what a plain vector has; also when they are made anew.
    #[test]
    fn places_find_every_entry(
        steps in proptest::collection::vec((0_u64..40, 1_u64..90), 1..30),
        from in 0_u64..200,
        length in 1_u64..200,
    ) {
        let mut plain: Vec<Entry> = Vec::new();
        let mut batches = Vec::new();
        let mut next = 0;
        for (back, count) in steps {
            let at = plain.len() as u64 - (back.saturating_sub(20)).min(plain.len() as u64);
            plain.truncate(at as usize);
            plain.extend((next..next + count).map(entry));
            batches.push(vec![entries(at, next..next + count)]);
            next += count;
        }
        let (bytes, starts) = file(&batches);
        let mut places = Places::default();
        for (start, batch) in starts.iter().zip(&batches) {
            places.handle_batch(*start as u64, batch);
        }
        prop_assert_eq!(places.end(), LogIndex(plain.len() as u64));
        let from = from.min(plain.len() as u64 - 1);
        let to = (from + length).min(plain.len() as u64);
        let read_at = |position: u64, buffer: &mut [u8]| {
            let rest = &bytes[position as usize..];
            let length = rest.len().min(buffer.len());
            buffer[..length].copy_from_slice(&rest[..length]);
            Ok::<_, ()>(length)
        };
        let found = places.read(LogIndex(from), LogIndex(to), read_at).expect("all were written");
        prop_assert_eq!(&found[..], &plain[from as usize..to as usize]);
    }

    /// Any bytes behind a good file are cut or, by the header's rules, refused; what stands before them stays.
    #[test]
    fn noise_behind_a_good_file_changes_nothing(noise in proptest::collection::vec(any::<u8>(), 0..200)) {
        let (mut bytes, _) = small();
        let (records, good) = read(&bytes).expect("it is whole");
        bytes.extend(noise);
        let (again, tail) = read(&bytes).expect("noise claims no sync");
        prop_assert_eq!((again, tail.length), (records, good.length));
    }
}
