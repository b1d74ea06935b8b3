use super::*;
use crate::folder::Folder;
use identity::NodeId;
use replicated_log::apps::LogRequest;
use replicated_log::record::{Header, Record, encode_batch};
use replicated_log::{CheckpointHash, ClusterId, Command, Entry, Members, Sequence, Write};
use std::path::PathBuf;

const CLUSTER: ClusterId = ClusterId([9; 32]);
const OWN: NodeId = NodeId([1; 32]);
const FIRST: Term = Term(1);
const LATER: Term = Term(3);

/// A folder with the log of one term, and the history over it.
struct Rig {
    path: PathBuf,
    folder: Folder,
    checkpoint: Checkpoint,
    entries: u64,
    position: u64,
}

impl Rig {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("hushwire-history-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        let members = Members::new([1, 2, 3].map(|number| NodeId([number; 32]))).expect("three");
        let checkpoint = Checkpoint::genesis(CLUSTER, members);
        Folder::create(&path, (CLUSTER, OWN), FIRST, &checkpoint.encode()).expect("a new folder");
        let (folder, opened) = Folder::open(&path, (CLUSTER, OWN)).expect("its folder");
        let mut rig = Self { path, folder, checkpoint, entries: 0, position: opened.recovered.file_length };
        let session = SessionId::new(1).expect("not nobody");
        let start = Command::TermStart(CheckpointHash::of(&opened.checkpoint)).encode();
        rig.write(0, vec![start, Command::Open { session, log_time_ms: 0 }.encode()], None);
        rig
    }

    fn write(&mut self, from: u64, entries: Vec<Entry>, decided: Option<u64>) {
        let runs = vec![(LogIndex(from), entries.len())];
        self.entries = from + entries.len() as u64;
        let record =
            Record { decided: decided.map(LogIndex), entries: Some((LogIndex(from), entries)), ..Record::default() };
        let mut records = Vec::new();
        record.encode(&mut records);
        let (bytes, position) = (encode_batch(&records, self.position), self.position);
        self.position += bytes.len() as u64;
        self.folder.write(Write::Append { term: FIRST, position, bytes, runs }).expect("it is written");
    }

    /// Messages of the session with numbers from `first` on, and up to where the log is decided.
    fn say(&mut self, numbers: std::ops::Range<u64>, word: &str, decided: Option<u64>) {
        let session = SessionId::new(1).expect("not nobody");
        let entry = |number| {
            let body = LogRequest { topic: b"t", data: word.as_bytes() }.encode();
            Command::Submit { session, sequence: Sequence(number), app: apps::LOG, body }.encode()
        };
        self.write(self.entries, numbers.map(entry).collect(), decided);
    }

    fn begin_later_term(&mut self, base: u64) {
        let checkpoint = Checkpoint { term: LATER, base: Offset(base), ..self.checkpoint.clone() }.encode();
        let log_header = Header { cluster: CLUSTER, node: OWN, term: LATER }.encode();
        self.folder.write(Write::BeginTerm { term: LATER, checkpoint, log_header }).expect("it is written");
    }

    fn history(&self, end: u64) -> Arc<History> {
        let history = History::new(self.folder.archive(), Offset(end), Applications::default());
        // As after the node's start: what came before is in the files only.
        history.recent().first = Offset(u64::MAX);
        Arc::new(history)
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// All that is told until more is not kept, and from where on it is again.
fn told_until_horizon(follower: &mut Follower) -> (Vec<Vec<u8>>, Offset) {
    let mut told = Vec::new();
    loop {
        match follower.advance(8) {
            Ok(found) => told.extend(found.iter().filter_map(|told| told.data.clone())),
            Err(HistoryError::Horizon { oldest }) => return (told, oldest),
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn what_was_never_decided_is_not_told_when_the_term_ended_elsewhere() {
    let mut rig = Rig::new("restart");
    rig.say(1..5, "decided", Some(6));
    rig.say(5..400, "cut off", None);
    // The others went on without this node, which got a later term's checkpoint, and was started again.
    rig.begin_later_term(5_000);
    let mut follower = Follower::new(rig.history(5_000), Offset(0));
    let (told, oldest) = told_until_horizon(&mut follower);
    assert_eq!(told, vec![b"decided".to_vec(); 4], "no more than the node knew to be decided");
    assert_eq!(oldest, Offset(5_000));
    assert_eq!(follower.position(), Offset(6));
}

#[test]
fn one_who_reads_the_files_while_the_node_misses_entries_is_not_told_them_either() {
    let mut rig = Rig::new("beside");
    rig.say(1..400, "decided", Some(401));
    rig.say(400..900, "cut off", None);
    let history = rig.history(401);
    let mut follower = Follower::new(history.clone(), Offset(0));
    assert_eq!(follower.advance(8).expect("the log is there").len(), 254, "a piece, less the session's opening");
    rig.begin_later_term(5_000);
    history.skip_to(Offset(5_000));
    let (told, oldest) = told_until_horizon(&mut follower);
    assert_eq!((told.len(), oldest), (399 - 254, Offset(5_000)));
}
