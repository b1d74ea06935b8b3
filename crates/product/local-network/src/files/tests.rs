use super::*;
use network_document::NetworkDocument;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use std::os::unix::fs::DirBuilderExt;
use std::sync::atomic::{AtomicU32, Ordering};
use tunnel_plan::{Choice, Guards, Relays};

static COUNT: AtomicU32 = AtomicU32::new(0);

struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("hushwire-local-{}-{number}", std::process::id()));
        std::fs::DirBuilder::new().mode(0o700).create(&path).expect("a folder for temporary files");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn plan(relays: usize, hops: u8, legs: u8) -> Plan {
    Plan::new(Shape { relays, hops, legs }, SocketAddr::from(([127, 0, 0, 1], 1080)))
}

fn document(folder: &Folder) -> NetworkDocument {
    let text = std::fs::read(folder.0.join(DOCUMENT)).expect("a document");
    NetworkDocument::parse(&text).expect("a document that its operator signed")
}

#[test]
fn every_relay_has_a_file_that_fits_the_document() {
    let folder = Folder::new();
    let limited = Plan { max_rate: RateClass::at_least(20_000_000).ok(), ..plan(6, 3, 2) };
    let network = LocalNetwork::write(&folder.0, &limited).expect("files");
    let document = document(&folder);
    assert_eq!((network.relays().len(), document.relays().len()), (5, 6));
    for relay in network.relays() {
        let file = config::load_relay(&relay.config).expect("a good file");
        let keys = config::read_keys(&file.key_file).expect("good keys");
        let own = document.relay(&keys.node_secret.node_id()).expect("it is in the document");
        assert_eq!((own.node_id, own.addresses[0]), (relay.node_id, file.listen));
        assert_eq!((file.max_rate, Some(own.bandwidth)), (limited.max_rate, limited.max_rate));
        let onion = config::read_secret_file(&file.onion_key_file).expect("a file of secrets");
        let secret = OnionKeyFile::parse(&onion).expect("onion secrets");
        assert_eq!(secret.of(INTERVAL).map(|secret| secret.onion_key()), own.onion_key(INTERVAL));
    }
    let again = LocalNetwork::write(&folder.0, &limited).expect_err("nothing is overwritten");
    assert!(again.to_string().contains("never overwritten"), "{again}");
}

#[test]
fn both_ends_are_given_a_rate_if_there_is_one() {
    let folder = Folder::new();
    let constant = RateClass::at_least(4_000_000).expect("a class");
    let network = LocalNetwork::write(&folder.0, &Plan { constant: Some(constant), ..plan(6, 3, 2) }).expect("files");
    let [entry, exit] = [network.entry_config(), network.exit().config.clone()]
        .map(|path| config::load(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())));
    assert_eq!([entry.shaping.mode.name(), exit.shaping.mode.name()], ["constant"; 2]);
    let config::Role::Entry(entry) = entry.role else { panic!("it is an entry") };
    let config::Role::Exit(exit) = exit.role else { panic!("it is an exit") };
    assert_eq!([entry.up, entry.down, exit.max_rate], [constant; 3]);
}

#[test]
fn the_least_number_of_relays_is_enough_and_one_less_is_not() {
    for (hops, legs) in [(1, 1), (2, 1), (2, 3), (3, 1), (3, 2), (3, 8)] {
        let folder = Folder::new();
        let least = plan(0, hops, legs).shape.least();
        let network = LocalNetwork::write(&folder.0, &plan(least, hops, legs)).expect("files");
        let document = document(&folder);
        let relays = Relays::new(&document);
        let mut rng = ChaCha20Rng::from_seed([hops * 16 + legs; 32]);
        let mut guards = Guards::new(document.network_id(), legs).expect("guards");
        guards.handle_relays(1, &relays, &mut rng);
        let (usable, rules) = (guards.usable(1), plan(least, hops, legs).shape.rules().expect("enough"));
        let choice = Choice { relays: &relays, rules, guards: &usable, allows: &|_| true, legs: &[] };
        let paths = choice.paths(&mut rng).expect("paths with nothing relaxed");
        assert_eq!(paths.len(), usize::from(legs));

        let left_out = network.relays().first().unwrap_or(network.exit()).node_id;
        let fewer: Vec<&Descriptor> = document.relays().filter(|relay| relay.node_id != left_out).collect();
        let fewer = Relays::from_descriptors(fewer);
        assert!(Choice { relays: &fewer, ..choice }.paths(&mut rng).is_err(), "{hops} hops, {legs} legs");
    }
}
