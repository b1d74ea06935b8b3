//! A network to test with: four members whose secrets are numbers, of whom one may lie, and what hostile ends of streams do.

use directory_mirror::{Clock, Mirror, MirrorConfig, MirrorFiles, MirrorStatus, Profile, Sources};
use directory_stream::{Answers, Bytes, Open, OpenError, Opening, Stream, serve_stream};
use identity::{DoorKey, LinkSecret, NodeSecret, OperatorSecret};
use network_document::{
    Charter, Edition, EditionHead, EditionName, Electorate, Founding, Label, NetworkId, Roles, SignedEdition,
};
use relay_directory::{
    Admission, Answer, Command, CommandOutcome, Directory, Event, Keeper, Order, Promise, Request, ServiceAnswer,
    ServiceRequest, SignedOrder, Signer, SponsoredService,
};
use shaping::RateClass;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::time::{Instant, sleep};

/// When interval 0 of a network on virtual time begins.
pub(crate) const START_MS: u64 = 1_800_000_000_000;
/// Ten minutes.
pub(crate) const INTERVAL_MS: u64 = 600_000;
/// An hour: relays change their onion keys so often.
pub(crate) const KEY_INTERVALS: u64 = 6;
/// Editions are good for forty minutes.
pub(crate) const VALID_INTERVALS: u64 = 4;
/// Members say the time so often, on virtual time.
const TICK: Duration = Duration::from_secs(10);

pub(crate) fn member(number: u8) -> NodeSecret {
    NodeSecret::from_seed([number; 32])
}

fn operator() -> OperatorSecret {
    OperatorSecret::from_seed([100; 32])
}

pub(crate) fn relay(number: u8) -> NodeSecret {
    NodeSecret::from_seed([200 + number; 32])
}

pub(crate) fn label(text: &str) -> Label {
    Label::new(text, "operator").expect("a label")
}

fn electorate(term: u64, members: u8) -> Electorate {
    Electorate::new(term, (1..=members).map(|number| member(number).node_id()).collect(), 1).expect("enough")
}

pub(crate) fn profile(number: u8) -> Profile {
    Profile {
        link_key: LinkSecret::from_bytes([number; 32]).link_key(),
        next_link_key: None,
        door_key: DoorKey::from_bytes([number; 32]),
        next_door_key: None,
        addresses: vec![([192, 0, 2, number], 4433).into()],
        hop_ports: "40000-49999".parse().ok(),
        roles: Roles::parse("guard middle").expect("roles"),
        operator: label("alice"),
        bandwidth: RateClass::SLOWEST,
        exit_ports: None,
    }
}

/// Virtual time, a second after interval 0 begins.
fn virtual_clock() -> Clock {
    let origin = Instant::now();
    Clock::new(move || START_MS + 1_000 + origin.elapsed().as_millis() as u64)
}

/// The directory with all its members.
pub(crate) struct Members {
    state: Mutex<State>,
    /// The right one.
    pub(crate) clock: Clock,
}

pub(crate) struct State {
    pub(crate) directory: Directory,
    signers: Vec<Signer>,
    keeper: Keeper,
    /// When somebody asked for an edition, in milliseconds since 1970 UTC.
    pub(crate) asked_ms: Vec<u64>,
    /// How often somebody asked for a service's record.
    pub(crate) records_asked: usize,
}

impl Members {
    /// On virtual time; another `name` is another network. In the background members say the time and sign.
    pub(crate) fn start(name: &str) -> Arc<Self> {
        let founding = Founding::new(START_MS, electorate(1, 4));
        let founding = Founding { key_intervals: KEY_INTERVALS, valid_intervals: VALID_INTERVALS, ..founding };
        Self::with_founding(name, founding, virtual_clock(), TICK)
    }

    /// On real time, with intervals of a second.
    pub(crate) fn start_fast() -> Arc<Self> {
        let now_ms = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_millis() as u64;
        let mut founding = Founding::new(now_ms - 500, electorate(1, 4));
        (founding.interval_ms, founding.key_intervals, founding.valid_intervals) = (1_000, 100, 101);
        Self::with_founding("example", founding, Clock::system(), Duration::from_millis(20))
    }

    fn with_founding(name: &str, founding: Founding, clock: Clock, tick: Duration) -> Arc<Self> {
        let charter = Charter::new(label(name), Default::default(), vec![operator().operator_key()], 1);
        let charter = Arc::new(charter.and_then(|charter| charter.with_directory(founding)).expect("a charter"));
        let network = charter.network_id();
        let signers = (1..=5).map(|number| Signer::new(network, member(number), Promise::default())).collect();
        let directory = Directory::new(charter).expect("a directory");
        let state = State { directory, signers, keeper: Keeper::default(), asked_ms: Vec::new(), records_asked: 0 };
        let members = Arc::new(Self { state: Mutex::new(state), clock });
        members.turn();
        let at_work = Arc::clone(&members);
        tokio::spawn(async move {
            loop {
                sleep(tick).await;
                at_work.turn();
            }
        });
        members
    }

    /// A clock that is wrong by so many milliseconds.
    pub(crate) fn wrong_clock(&self, by_ms: i64) -> Clock {
        let clock = self.clock.clone();
        Clock::new(move || clock.now_ms().saturating_add_signed(by_ms))
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics within")
    }

    pub(crate) fn network(&self) -> NetworkId {
        self.state().directory.network_id()
    }

    /// The newest edition that enough signed.
    pub(crate) fn published(&self) -> SignedEdition {
        self.state().directory.published().expect("an edition").clone()
    }

    /// All members say the time, and sign what waits.
    pub(crate) fn turn(&self) {
        let (now_ms, mut state) = (self.clock.now_ms(), self.state());
        let State { directory, signers, keeper, .. } = &mut *state;
        let members = directory.electorate().clone();
        for signer in signers.iter_mut().filter(|signer| members.contains(&signer.member())) {
            directory.apply(&signer.tick(directory, now_ms).encode());
        }
        for signer in signers.iter_mut() {
            if let Ok(vow) = signer.consider(now_ms, directory) {
                directory.apply(&vow.command.encode());
            }
        }
        if let Some(edition) = directory.published() {
            keeper.keep(edition.clone());
        }
        let known = changes_kept(keeper);
        directory.successions().skip(known).for_each(|change| keeper.keep_succession(change.clone()));
    }

    /// The operator decides.
    pub(crate) fn order(&self, order: Order) {
        let mut state = self.state();
        let mut signed = SignedOrder::new(state.directory.next_order(), order);
        let network = state.directory.network_id();
        signed.sign(network, &operator());
        if matches!(signed.order, Order::Members(_)) {
            (1..=4).for_each(|number| signed.consent(network, &member(number)));
        }
        let events = state.directory.apply(&Command::Govern(Box::new(signed)).encode());
        assert!(!matches!(events[..], [Event::Refused(_)]), "{events:?}");
    }

    pub(crate) fn admit(&self, number: u8) {
        let roles = Roles::parse("guard middle exit").expect("roles");
        let admission = Admission { roles, bandwidth: RateClass::FASTEST, operator: label("alice") };
        self.order(Order::Admit { node: relay(number).node_id(), admission });
    }

    /// The next term: five members instead of four, or the reverse.
    pub(crate) fn change_members(&self) {
        let now = self.state().directory.electorate().clone();
        self.order(Order::Members(electorate(now.term() + 1, if now.members().len() == 4 { 5 } else { 4 })));
    }

    /// The newest edition without its relays and with another one before it, signed by all: what only liars do.
    pub(crate) fn forged(&self) -> SignedEdition {
        let published = self.published();
        let (edition, head) = (published.edition(), published.edition().head());
        let charter = Arc::new(edition.charter().clone());
        let previous = EditionName { index: edition.index() - 1, hash: [6; 32] };
        let (electorate, parameters) = (edition.electorate().clone(), head.parameters().clone());
        let head = EditionHead::new(charter, edition.index(), previous, electorate, parameters).expect("a head");
        let mut signed = SignedEdition::new(Arc::new(Edition::new(head, Vec::new()).expect("an edition")));
        (1..=4).for_each(|number| signed.sign(&member(number)).expect("a member"));
        signed
    }
}

/// How many changes of members it has.
fn changes_kept(keeper: &mut Keeper) -> usize {
    match keeper.answer(&Request::Successions { after: 0 }) {
        Answer::Successions(changes) => changes.len(),
        _ => 0,
    }
}

impl Answers for Members {
    type Stream = ();

    async fn answer(&self, (): &mut (), request: ServiceRequest) -> ServiceAnswer {
        let (now_ms, mut state) = (self.clock.now_ms(), self.state());
        match request {
            ServiceRequest::Fetch(request) => {
                if matches!(request, Request::Full | Request::Diff { .. }) {
                    state.asked_ms.push(now_ms);
                }
                ServiceAnswer::Fetch(state.keeper.answer(&request))
            }
            ServiceRequest::Submit(command) => {
                let events = state.directory.apply(&command);
                ServiceAnswer::Submit(match events[..] {
                    [Event::Refused(refusal)] => refusal.into(),
                    _ => CommandOutcome::new(0, ""),
                })
            }
            ServiceRequest::Publish(record) => {
                let (sponsor, network) = (member(1), state.directory.network_id());
                let judged = record.verify(network);
                let judged = judged.and_then(|()| state.directory.judge_record(&record, &sponsor.node_id()));
                let events = judged
                    .and_then(|()| SponsoredService::new(network, record, &sponsor))
                    .map(|service| state.directory.apply(&Command::PublishService(Box::new(service)).encode()));
                ServiceAnswer::Submit(match events.as_deref() {
                    Ok([Event::Refused(refusal)]) | Err(refusal) => (*refusal).into(),
                    Ok(_) => CommandOutcome::new(0, ""),
                })
            }
            ServiceRequest::Record { key } => {
                state.records_asked += 1;
                ServiceAnswer::Record(state.directory.service(&key).cloned())
            }
            ServiceRequest::Standing => ServiceAnswer::Standing(state.directory.standing()),
            ServiceRequest::Members => ServiceAnswer::Members(state.directory.members_standing()),
            ServiceRequest::Services => {
                ServiceAnswer::Services(state.directory.services_standing(&member(1).node_id()))
            }
        }
    }
}

/// Always the same edition, and the time of whoever asks is right.
pub(crate) struct Fixed(pub(crate) Answer);

impl Answers for Fixed {
    type Stream = ();

    async fn answer(&self, (): &mut (), request: ServiceRequest) -> ServiceAnswer {
        match request {
            ServiceRequest::Fetch(Request::Full | Request::Diff { .. }) => ServiceAnswer::Fetch(self.0.clone()),
            ServiceRequest::Fetch(Request::Successions { .. }) => ServiceAnswer::Fetch(Answer::Successions(Vec::new())),
            _ => ServiceAnswer::Fetch(Answer::Unknown),
        }
    }
}

/// Streams in memory to somebody.
pub(crate) struct Memory<A>(pub(crate) Arc<A>);

impl<A: Answers> Open for Memory<A> {
    fn open(&self) -> Opening<'_> {
        let answers = Arc::clone(&self.0);
        Box::pin(async move {
            let (here, there) = duplex(64 * 1024);
            tokio::spawn(async move { serve_stream(there, &*answers).await });
            Ok(Box::new(here) as Stream)
        })
    }

    fn describe(&self) -> String {
        "memory".to_owned()
    }
}

/// Says "try again" to the first record or command, which it takes or does not take, and goes on as the members do.
pub(crate) struct Hesitant {
    members: Arc<Members>,
    takes: bool,
    has_hesitated: AtomicBool,
}

impl Hesitant {
    /// Two ways to it: of those who are asked the first one hesitates.
    pub(crate) fn twice(members: &Arc<Members>, takes: bool) -> [Arc<dyn Open>; 2] {
        let hesitant = Arc::new(Self { members: Arc::clone(members), takes, has_hesitated: AtomicBool::new(false) });
        [(); 2].map(|()| Arc::new(Memory(Arc::clone(&hesitant))) as Arc<dyn Open>)
    }
}

impl Answers for Hesitant {
    type Stream = ();

    async fn answer(&self, stream: &mut (), request: ServiceRequest) -> ServiceAnswer {
        let hesitates = matches!(request, ServiceRequest::Publish(_) | ServiceRequest::Submit(_))
            && !self.has_hesitated.swap(true, Ordering::Relaxed);
        if !hesitates {
            return self.members.answer(stream, request).await;
        }
        if self.takes {
            self.members.answer(stream, request).await;
        }
        ServiceAnswer::Submit(CommandOutcome::try_again("too many commands wait"))
    }
}

/// What a hostile end does once it was asked.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Harm {
    /// Nothing, for ever.
    Silence,
    /// Ends the stream.
    Ends,
    /// Half a frame, then the end.
    Cuts,
    /// A frame without an end, a byte a second.
    Drips,
    /// Frames without an end.
    Floods,
    /// Bytes that are no answer.
    Babbles,
    /// No stream at all.
    Shut,
}

pub(crate) struct Hostile(pub(crate) Harm);

impl Open for Hostile {
    fn open(&self) -> Opening<'_> {
        let harm = self.0;
        Box::pin(async move {
            if let Harm::Shut = harm {
                return Err(OpenError::Tunnel("no relay answers".to_owned()));
            }
            let (here, there) = duplex(64 * 1024);
            tokio::spawn(do_harm(harm, there));
            Ok(Box::new(here) as Stream)
        })
    }

    fn describe(&self) -> String {
        "memory".to_owned()
    }
}

/// Until nobody listens any more.
async fn do_harm(harm: Harm, mut stream: impl Bytes) -> std::io::Result<()> {
    stream.read_exact(&mut [0; 5]).await?;
    match harm {
        Harm::Silence => std::future::pending().await,
        Harm::Ends | Harm::Shut => Ok(()),
        Harm::Cuts => stream.write_all(&[0, 0, 1, 0, 2, 3]).await,
        Harm::Babbles => stream.write_all(&[0, 0, 0, 3, 77, 1, 2]).await,
        Harm::Drips => {
            stream.write_all(&1_000_000u32.to_be_bytes()).await?;
            loop {
                stream.write_all(&[2]).await?;
                sleep(Duration::from_secs(1)).await;
            }
        }
        Harm::Floods => loop {
            stream.write_all(&[0, 0, 0, 1, 0]).await?;
        },
    }
}

/// A source that becomes another one.
#[derive(Clone)]
pub(crate) struct Switch(Arc<Mutex<Arc<dyn Open>>>);

impl Switch {
    pub(crate) fn to(source: impl Open) -> Self {
        Self(Arc::new(Mutex::new(Arc::new(source))))
    }

    pub(crate) fn turn_to(&self, source: impl Open) {
        *self.0.lock().expect("no test panics within") = Arc::new(source);
    }
}

impl Open for Switch {
    fn open(&self) -> Opening<'_> {
        let source = Arc::clone(&self.0.lock().expect("no test panics within"));
        Box::pin(async move { source.open().await })
    }

    fn describe(&self) -> String {
        "memory".to_owned()
    }
}

/// A folder of its own, which goes with the value.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("directory-mirror-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).expect("a folder");
        Self(folder)
    }

    pub(crate) fn files(&self) -> MirrorFiles {
        MirrorFiles {
            cache: self.0.join("directory.cache"),
            network: Some(self.0.join("network")),
            evidence: self.0.join("evidence"),
        }
    }

    pub(crate) fn config(&self, members: &Members, sources: Vec<Arc<dyn Open>>) -> MirrorConfig {
        let (network, clock) = (members.network(), members.clock.clone());
        MirrorConfig { network, sources: Sources::new(sources), files: self.files(), clock }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The index of the edition that a mirror goes by; 0 for none.
pub(crate) fn index(mirror: &Mirror) -> u64 {
    mirror
        .documents()
        .borrow()
        .as_deref()
        .and_then(|document| document.as_edition())
        .map_or(0, |of| of.edition().index())
}

/// Waits until a mirror goes by this edition or a later one.
pub(crate) async fn reach(mirror: &Mirror, wanted: u64) {
    let mut documents = mirror.documents();
    while index(mirror) < wanted {
        let changed = tokio::time::timeout(Duration::from_secs(7_200), documents.changed()).await;
        changed.unwrap_or_else(|_| panic!("{:?}", *mirror.status().borrow())).expect("the mirror is there");
    }
}

/// Waits until a mirror stands as wanted.
pub(crate) async fn stands(mirror: &Mirror, wanted: impl Fn(&MirrorStatus) -> bool) -> MirrorStatus {
    let mut status = mirror.status();
    let found = tokio::time::timeout(Duration::from_secs(86_400), status.wait_for(|status| wanted(status))).await;
    let found = found.map(|found| found.expect("the mirror is there").clone());
    found.unwrap_or_else(|_| panic!("{:?}", *mirror.status().borrow()))
}
