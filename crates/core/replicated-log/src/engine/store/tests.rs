use super::*;

fn entries(bytes: &[u8]) -> Vec<Entry> {
    bytes.iter().map(|byte| Entry::from_bytes(&[*byte]).expect("a short entry")).collect()
}

/// Four entries, of which two are decided.
fn store() -> Store {
    let mut store = Store::new(Term(1), &Recovered::default(), 16, Box::new(NoReader));
    store.append_entries(entries(&[1, 2, 3, 4])).expect("it takes them");
    store.set_decided_idx(2).expect("it takes it");
    store
}

#[test]
fn what_is_decided_is_never_replaced() {
    for (from, after) in [(0, vec![1, 9]), (1, vec![]), (0, vec![1]), (1, vec![9, 3])] {
        let mut store = store();
        store.append_on_prefix(from, entries(&after)).expect("a failure is told apart");
        assert_eq!(store.failure(), Some(StoreFailure::Decided), "{after:?} from {from} on");
    }
}

#[test]
fn what_is_decided_may_come_again() {
    for (from, after) in [(0, vec![1, 2]), (1, vec![2, 7, 8]), (2, vec![9]), (2, vec![])] {
        let mut store = store();
        store.append_on_prefix(from, entries(&after)).expect("a failure is told apart");
        assert_eq!(store.failure(), None, "{after:?} from {from} on");
        assert_eq!(store.length(), LogIndex::at(from + after.len()));
    }
}

#[test]
fn a_decision_is_not_taken_back() {
    let mut one = store();
    one.set_decided_idx(1).expect("a failure is told apart");
    assert_eq!((one.failure(), one.decided()), (Some(StoreFailure::Decided), LogIndex(2)));
    let mut other = store();
    let ops = vec![StorageOp::SetDecidedIndex(1), StorageOp::AppendOnPrefix(2, entries(&[5]))];
    other.write_atomically(ops).expect("a failure is told apart");
    assert_eq!(other.failure(), Some(StoreFailure::Decided));
}
