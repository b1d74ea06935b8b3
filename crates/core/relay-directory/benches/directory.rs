//! What an edition of 5,000 relays costs a client, and a command a member: `cargo bench -p relay-directory`.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use network::{Network, START_MS, announcement};
use network_document::{EDITION_RELAYS_MAX, EditionDiff, SignedEdition};
use relay_directory::{Checked, Command, Directory, DirectoryClient, Event};

#[path = "../tests/directory/network.rs"]
mod network;

const RELAYS: u32 = EDITION_RELAYS_MAX as u32;

/// 5,000 relays and seven members, just before the first edition.
fn filled() -> Network {
    let mut network = Network::new(7, 2);
    network.time(START_MS + 1);
    (1..=RELAYS).for_each(|number| network.join(number));
    network
}

fn editions(criterion: &mut Criterion) {
    let mut network = filled();
    network.turn();
    let first = network.publish();
    let now_ms = network.directory.time_ms();
    for number in (1..=RELAYS).step_by(24) {
        network.describe(announcement(number, 0, now_ms + 2), number);
    }
    network.turn();
    let second = network.publish();
    let base = SignedEdition::decode(&first).expect("an edition");
    let published = network.directory.published().expect("an edition");
    let diff = EditionDiff::between(base.edition(), published).encode();
    let id = network.charter.network_id();

    let mut group = criterion.benchmark_group("an edition of 5,000 relays");
    group.sample_size(20);
    group.bench_function(format!("verified, whole: {} bytes", second.len()), |bencher| {
        bencher.iter_batched_ref(
            || DirectoryClient::new(id),
            |client| client.handle_full(now_ms, &second).expect("a good edition"),
            BatchSize::LargeInput,
        );
    });
    group.bench_function(format!("verified, as a difference: {} bytes", diff.len()), |bencher| {
        bencher.iter_batched_ref(
            || {
                let mut client = DirectoryClient::new(id);
                client.handle_full(now_ms, &first).expect("a good edition");
                client
            },
            |client| client.handle_diff(now_ms, &diff).expect("a good difference"),
            BatchSize::LargeInput,
        );
    });
    group.bench_function("made by a member", |bencher| {
        let before = filled();
        bencher.iter_batched_ref(
            || Network { charter: before.charter.clone(), directory: before.directory.clone(), members: 7 },
            |network| assert!(network.turn().iter().any(|event| matches!(event, Event::Made(_)))),
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

fn commands(criterion: &mut Criterion) {
    let network = filled();
    let now_ms = network.directory.time_ms();
    let commands: Vec<Command> = (1..=RELAYS)
        .map(|number| Command::Describe(network.sign(announcement(number, 0, now_ms + 2), number)))
        .collect();
    let bytes: Vec<Vec<u8>> = commands.iter().map(Command::encode).collect();
    let id = network.charter.network_id();
    let checked: Vec<Checked> =
        commands.into_iter().map(|command| command.check(&network.charter, id).expect("good")).collect();
    let done = |directory: &Directory| assert_eq!(directory.relays().len(), EDITION_RELAYS_MAX);

    let mut group = criterion.benchmark_group("5,000 descriptors of 5,000 relays");
    group.sample_size(10);
    group.throughput(Throughput::Elements(u64::from(RELAYS)));
    group.bench_function("applied, with their signatures", |bencher| {
        bencher.iter_batched_ref(
            || network.directory.clone(),
            |directory| {
                bytes.iter().for_each(|bytes| assert!(matches!(directory.apply(bytes)[..], [Event::Described(_)])));
                done(directory);
            },
            BatchSize::LargeInput,
        );
    });
    group.bench_function("applied, signatures checked before", |bencher| {
        bencher.iter_batched(
            || (network.directory.clone(), checked.clone()),
            |(mut directory, checked)| {
                for checked in checked {
                    assert!(matches!(directory.apply_checked(checked)[..], [Event::Described(_)]));
                }
                done(&directory);
            },
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

criterion_group!(benches, editions, commands);
criterion_main!(benches);
