//! Sessions and plans over the log alone.

use super::*;
use crate::apps::{LOG, LogRequest, built_in};
use crate::{Checkpoint, ClusterId};

struct World {
    machine: Machine,
    offset: u64,
}

impl World {
    fn new() -> Self {
        let members = Members::new([1, 2, 3].map(|number| NodeId([number; 32]))).expect("three");
        let checkpoint = Checkpoint::genesis(ClusterId([0; 32]), members);
        Self { machine: Machine::restore(&checkpoint, built_in()).expect("it is empty"), offset: 0 }
    }

    fn apply(&mut self, command: &Command) -> Outcome {
        self.offset += 1;
        self.machine.apply(Offset(self.offset), &command.encode()).outcome
    }

    fn open(&mut self, session: u128) -> Option<OpenRefusal> {
        let log_time_ms = self.machine.log_time_ms();
        match self.apply(&Command::Open { session: id(session), log_time_ms }) {
            Outcome::Opened { refusal, .. } => refusal,
            other => panic!("{other:?}"),
        }
    }

    fn submit(&mut self, session: u128, sequence: u64) -> Outcome {
        let body = LogRequest { topic: b"t", data: b"d" }.encode();
        self.apply(&Command::Submit { session: id(session), sequence: Sequence(sequence), app: LOG, body })
    }
}

fn planned(world: &World, change: Change) -> Command {
    Command::Plan { term: world.machine.term, change }
}

fn id(number: u128) -> SessionId {
    SessionId::new(number).expect("tests use no 0")
}

#[test]
fn a_repeated_message_has_one_effect_and_the_same_answer() {
    let mut world = World::new();
    assert_eq!(world.open(1), None);
    let Outcome::Done { result, .. } = world.submit(1, 1) else { panic!("the first counts") };
    let first = Offset(world.offset);
    world.submit(1, 2);
    assert_eq!(
        world.submit(1, 1),
        Outcome::Repeated { session: id(1), sequence: Sequence(1), first, result },
        "whatever came between"
    );
    assert_eq!(world.machine.app(LOG).expect("built in").query(b"t"), 2_u64.to_be_bytes());
}

#[test]
fn a_gap_is_refused_and_names_what_is_expected() {
    let mut world = World::new();
    world.open(1);
    let refusal = SubmitRefusal::Gap { expected: Sequence(1) };
    assert_eq!(world.submit(1, 2), Outcome::Refused { session: id(1), sequence: Sequence(2), refusal });
    assert!(refusal.to_string().contains("expects number 1"), "{refusal}");
}

#[test]
fn sixty_four_answers_are_kept() {
    let mut world = World::new();
    world.open(1);
    (1..=70).for_each(|number| drop(world.submit(1, number)));
    assert!(matches!(world.submit(1, 7), Outcome::Repeated { .. }));
    assert!(matches!(world.submit(1, 6), Outcome::Refused { refusal: SubmitRefusal::Old, .. }));
}

#[test]
fn sessions_end_by_the_logs_time_and_not_before() {
    let mut world = World::new();
    world.apply(&Command::Tick(1_000));
    world.open(1);
    world.submit(1, 1);
    world.apply(&Command::Tick(1_000 + SESSION_IDLE_MS));
    assert!(matches!(world.submit(1, 2), Outcome::Done { .. }), "a use renews it");
    world.apply(&Command::Tick(500));
    world.apply(&Command::Tick(1_001 + 2 * SESSION_IDLE_MS));
    assert!(matches!(world.submit(1, 3), Outcome::Refused { refusal: SubmitRefusal::NotOpen, .. }));
}

#[test]
fn the_longest_unused_makes_room_unless_it_is_in_use() {
    let mut world = World::new();
    let most = SESSIONS_MAX as u128;
    (1..=most).for_each(|session| assert_eq!(world.open(session), None));
    assert_eq!(world.open(most + 1), Some(OpenRefusal::Full));
    world.apply(&Command::Tick(2 * SESSION_OPEN_WINDOW_MS + 1));
    world.submit(1, 1);
    assert_eq!(world.open(most + 1), None);
    assert!(matches!(world.submit(2, 1), Outcome::Refused { refusal: SubmitRefusal::NotOpen, .. }), "2 was the oldest");
    assert!(matches!(world.submit(1, 2), Outcome::Done { .. }));
}

#[test]
fn a_leftover_opening_does_not_bring_a_forgotten_session_back() {
    let mut world = World::new();
    world.apply(&Command::Tick(1_000));
    let late = Command::Open { session: id(1), log_time_ms: 1_000 };
    world.apply(&late);
    world.submit(1, 1);
    world.apply(&Command::Tick(1_001 + SESSION_IDLE_MS));
    assert_eq!(world.apply(&late), Outcome::Opened { session: id(1), refusal: Some(OpenRefusal::Late) });
    assert!(matches!(world.submit(1, 1), Outcome::Refused { refusal: SubmitRefusal::NotOpen, .. }), "once is enough");
}

#[test]
fn the_whole_state_comes_back_and_goes_on_alike() {
    let mut world = World::new();
    world.apply(&Command::Tick(77));
    (1..9).for_each(|session| assert_eq!(world.open(session), None));
    (1..80).for_each(|number| drop((world.submit(3, number), world.submit(5, number))));
    let plan = Change { add: Some(NodeId([9; 32])), remove: None };
    assert_eq!(world.apply(&planned(&world, plan)), Outcome::Planned(true));
    let members = world.machine.members.clone();
    let checkpoint =
        Checkpoint { machine: world.machine.snapshot(), ..Checkpoint::genesis(ClusterId([0; 32]), members) };
    let copy = Machine::restore(&checkpoint, built_in()).expect("its own state");
    assert_eq!(copy.snapshot(), checkpoint.machine);
    assert_eq!((copy.plan(), copy.sessions), (Some(plan), world.machine.sessions));
    let cut = Checkpoint { machine: checkpoint.machine[..99].to_vec(), ..checkpoint };
    assert_eq!(Machine::restore(&cut, built_in()).map(|_| ()), Err(CheckpointError::Machine));
}

#[test]
fn one_change_of_members_at_a_time_and_only_the_planned_one() {
    let mut world = World::new();
    let (old, other) = (world.machine.members.clone(), NodeId([9; 32]));
    let add = Change { add: Some(other), remove: None };
    let end = |world: &World, members: &Members| Command::EndTerm {
        term: world.machine.term,
        members: members.clone(),
        behaviour: 1,
    };
    let new = old.changed(add).expect("four");
    assert_eq!(world.apply(&end(&world, &new)), Outcome::Ignored, "nobody planned it");
    for nonsense in [
        Change { add: None, remove: None },
        Change { add: None, remove: Some(other) },
        Change { add: Some(NodeId([1; 32])), remove: None },
    ] {
        assert_eq!(world.apply(&planned(&world, nonsense)), Outcome::Planned(false), "{nonsense:?}");
    }
    assert_eq!(world.apply(&planned(&world, add)), Outcome::Planned(true));
    assert_eq!(world.apply(&planned(&world, add)), Outcome::Planned(false), "one at a time");
    assert!(matches!(world.apply(&end(&world, &old)), Outcome::Ended { .. }), "a term may end without it");
    assert_eq!(world.machine.plan(), Some(add));
    assert!(matches!(world.apply(&end(&world, &new)), Outcome::Ended { .. }));
    assert_eq!((world.machine.plan(), &world.machine.members), (None, &new));
}

#[test]
fn what_was_meant_for_another_term_does_not_count() {
    let mut world = World::new();
    let members = world.machine.members.clone();
    let (term, change) = (Term(1), Change { add: Some(NodeId([9; 32])), remove: None });
    assert!(matches!(
        world.apply(&Command::EndTerm { term, members: members.clone(), behaviour: 1 }),
        Outcome::Ended { .. }
    ));
    assert_eq!(world.apply(&Command::Plan { term, change }), Outcome::Planned(false));
    assert_eq!(world.apply(&Command::EndTerm { term, members, behaviour: 1 }), Outcome::Ignored);
    assert_eq!(world.apply(&planned(&world, change)), Outcome::Planned(true));
    assert_eq!(world.apply(&Command::Unplan { term }), Outcome::Unplanned(false));
}
