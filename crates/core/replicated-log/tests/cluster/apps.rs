//! Applications, built in and not.

use crate::shell::Cluster;
use replicated_log::apps::{App, Context, KV, KvRequest, KvResult, LOG, LogRequest, Output, PING_PONG, RestoreError};
use replicated_log::{AppId, Tuning};
use std::collections::BTreeMap;

/// A third-party application: whoever asks first has the lock, until they give it back.
#[derive(Default)]
struct Lock {
    holder: Option<u128>,
}

impl App for Lock {
    fn apply(&mut self, context: Context, body: &[u8]) -> Output {
        let own = context.session.bits();
        match body {
            b"take" => {
                let holder = *self.holder.get_or_insert(own);
                Output::answer(if holder == own { *b"yours" } else { *b"taken" })
            }
            b"give" if self.holder == Some(own) => {
                self.holder = None;
                Output::answer(*b"given")
            }
            _ => Output::answer(*b"no"),
        }
    }

    fn snapshot(&self) -> Vec<u8> {
        self.holder.unwrap_or_default().to_be_bytes().to_vec()
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), RestoreError> {
        let bits = u128::from_be_bytes(bytes.try_into().map_err(|_| RestoreError)?);
        self.holder = (bits != 0).then_some(bits);
        Ok(())
    }
}

#[test]
fn an_application_of_a_third_party_takes_less_than_sixty_lines() {
    const LOCK: AppId = AppId(900);
    let mut cluster =
        Cluster::with(3, Tuning::default(), || BTreeMap::from([(LOCK, Box::<Lock>::default() as Box<dyn App>)]));
    cluster.run(500);
    (1..=2).for_each(|client| cluster.open(client, u128::from(client)));
    let mut ask = |client: u8, sequence: u64, body: &[u8]| {
        cluster.submit(client, (u128::from(client), sequence), LOCK, body);
        cluster.run(100);
        cluster.answers(client).pop().expect("an answer").2
    };
    assert_eq!(ask(1, 1, b"take"), b"yours");
    assert_eq!(ask(2, 1, b"take"), b"taken");
    assert_eq!(ask(1, 2, b"give"), b"given");
    assert_eq!(ask(2, 2, b"take"), b"yours");
    cluster.assert_alike();
}

#[test]
fn ping_is_answered_with_pong() {
    let mut cluster = Cluster::new(3);
    cluster.run(500);
    cluster.open(2, 5);
    (1..=3).for_each(|sequence| cluster.submit(2, (5, sequence), PING_PONG, b"ping"));
    cluster.run(100);
    let answers: Vec<Vec<u8>> = cluster.answers(2).into_iter().map(|answer| answer.2).collect();
    assert_eq!(answers, [b"pong 1", b"pong 2", b"pong 3"]);
}

#[test]
fn topics_and_keys_live_side_by_side() {
    let mut cluster = Cluster::new(3);
    cluster.run(500);
    cluster.open(1, 5);
    cluster.submit(1, (5, 1), LOG, &LogRequest { topic: b"t", data: b"hello" }.encode());
    let put = KvRequest { key: b"k".to_vec(), if_version: Some(0), value: Some(b"v".to_vec()) };
    cluster.submit(1, (5, 2), KV, &put.encode());
    cluster.submit(1, (5, 3), AppId(77), b"?");
    cluster.run(100);
    let answers = cluster.answers(1);
    assert_eq!(answers[0].2, 0_u64.to_be_bytes());
    assert_eq!(KvResult::decode(&answers[1].2), Some(KvResult::Done { version: 1 }));
    assert_eq!(answers[2].2, b"no such application");
    cluster.assert_alike();
}
