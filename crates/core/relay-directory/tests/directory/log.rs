//! The directory as an application of the replicated log.

use crate::network::{Network, START_MS, announcement};
use relay_directory::{Answer, CHANNEL, Command, DirectoryApp, DirectoryClient, Refusal, Request, Taken};
use replicated_log::apps::{App, Context, Output};
use replicated_log::{Offset, RESULT_BYTES_MAX, SessionId};

fn apply(app: &mut DirectoryApp, command: &Command) -> Output {
    let context = Context { offset: Offset(0), log_time_ms: 0, session: SessionId::new(1).expect("not 0") };
    app.apply(context, &command.encode())
}

#[test]
fn commands_have_answers_and_editions_are_told_and_fetched() {
    let mut network = Network::new(4, 1);
    network.time(START_MS + 1);
    network.join(1);
    network.turn();
    let mut app = DirectoryApp::new(network.directory.clone());
    let early = Command::Describe(network.sign(announcement(9, 0, START_MS), 9));
    let refused = apply(&mut app, &early);
    assert_eq!(refused.result[0], Refusal::NotAdmitted.code());
    assert!(refused.result[1..].ends_with(b"invitation") && refused.notices.is_empty());
    assert_eq!(app.query(&Request::Full.encode()), Answer::Unknown.encode());
    let name = network.directory.pending().expect("an edition").edition().name();
    let mut notices = Vec::new();
    for number in 1..=4 {
        let vote = relay_directory::Vote::new(network.charter.network_id(), &crate::network::member(number), name);
        let output = apply(&mut app, &Command::Sign(vote));
        assert_eq!(output.result, [&[0][..], b"done"].concat());
        notices.extend(output.notices);
    }
    assert_eq!(notices.len(), 1);
    assert_eq!((notices[0].channel.as_slice(), notices[0].sequence), (CHANNEL, 0));
    assert_eq!(notices[0].body, [&1_u64.to_be_bytes()[..], &name.hash].concat());

    let mut client = DirectoryClient::new(network.charter.network_id());
    let answer = app.query(&client.poll_request().encode());
    assert_eq!(client.handle_answer(network.directory.time_ms(), &answer), Ok(Taken::Edition(name)));
    assert!(app.query(b"?").is_empty());

    let mut copy = DirectoryApp::new(network.directory.clone());
    copy.restore(&app.snapshot()).expect("its own state");
    assert_eq!((copy.snapshot(), copy.directory()), (app.snapshot(), app.directory()));
    assert!(copy.restore(&app.snapshot()[9..]).is_err());
}

#[test]
fn every_refusal_has_a_number_and_a_sentence_that_fits() {
    use Refusal as R;
    let all = [
        R::Malformed,
        R::Signature,
        R::OtherNetwork,
        R::TooFewOperators { found: 1, needed: 2 },
        R::TooFewMembers,
        R::OrderNumber { expected: 1 },
        R::Term { expected: 1 },
        R::TooManySuccessions,
        R::TooManyRelays,
        R::NotAdmitted,
        R::NotVouchedFor,
        R::HopPorts,
        R::Old,
        R::Ahead,
        R::Expired,
        R::Lasting,
        R::OnionKeys,
        R::SharedKey,
        R::SharedAddress,
        R::Quota,
        R::SponsorQuota,
        R::Bulky,
        R::NotMember,
        R::OtherIndex,
        R::OtherEdition,
        R::OldTick,
        R::NotDescribed,
    ];
    for (place, refusal) in all.iter().enumerate() {
        assert_eq!(usize::from(refusal.code()), place + 1);
        assert!((10..RESULT_BYTES_MAX).contains(&refusal.to_string().len()), "{refusal}");
    }
}
