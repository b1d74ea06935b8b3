//! Streams in memory and at a socket: what goes well, and what hostile ends do.

use directory_stream::{
    Answers, AskError, Asker, CONNECTIONS_MAX, IDLE_MAX, Limits, ListenError, Open, Opening, REQUESTS_MAX, STALL_MAX,
    STRANGERS_MAX, Stream, UnixSource, listen, serve, serve_stream,
};
use relay_directory::{
    ANSWER_BYTES_MAX, Answer, CommandOutcome, OF_A_STRANGER, Request, ServiceAnswer, ServiceRequest, frame,
};
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::Instant;

/// Answers a fetch with so many bytes, a command with its length, and anything else not at all.
#[derive(Default)]
struct Lengths {
    asked: AtomicUsize,
}

impl Answers for Lengths {
    type Stream = ();

    async fn answer(&self, (): &mut (), request: ServiceRequest) -> ServiceAnswer {
        self.asked.fetch_add(1, Ordering::Relaxed);
        match request {
            ServiceRequest::Fetch(Request::Successions { after }) => {
                ServiceAnswer::Fetch(Answer::Full(vec![7; after as usize]))
            }
            ServiceRequest::Submit(command) => {
                ServiceAnswer::Submit(CommandOutcome::new(0, &command.len().to_string()))
            }
            _ => ServiceAnswer::Fetch(Answer::Unknown),
        }
    }
}

fn fetch(bytes: u64) -> ServiceRequest {
    ServiceRequest::Fetch(Request::Successions { after: bytes })
}

/// A client's end, and the hostile one's.
fn ends() -> (Asker, DuplexStream) {
    let (here, there) = duplex(64 * 1024);
    (Asker::new(Box::new(here)), there)
}

/// What an asker makes of these bytes, after which the stream ends.
async fn told(bytes: &[u8]) -> AskError {
    let (mut asker, mut there) = ends();
    let bytes = bytes.to_vec();
    let other = tokio::spawn(async move {
        let mut request = [0; 5];
        there.read_exact(&mut request).await.expect("a request");
        // A hostile end does not care whether anybody reads.
        let _ = there.write_all(&bytes).await;
    });
    let error = asker.ask(&ServiceRequest::Standing).await.expect_err("no answer");
    other.await.expect("it is done");
    error
}

#[tokio::test]
async fn one_stream_carries_one_answer_after_the_other() {
    let (here, there) = duplex(1_000);
    let service = tokio::spawn(async move { serve_stream(there, &Lengths::default()).await });
    let mut asker = Asker::new(Box::new(here) as Stream);
    for bytes in [0, 1, 70_000, 2_000_000] {
        let answer = asker.ask(&fetch(bytes)).await.expect("an answer");
        assert_eq!(answer, ServiceAnswer::Fetch(Answer::Full(vec![7; bytes as usize])));
    }
    let outcome = asker.ask(&ServiceRequest::Submit(vec![1; 300])).await.expect("an answer");
    assert_eq!(outcome, ServiceAnswer::Submit(CommandOutcome::new(0, "300")));
    let unknown = asker.ask(&ServiceRequest::Members).await.expect("an answer");
    assert_eq!(unknown, ServiceAnswer::Fetch(Answer::Unknown));
    drop(asker);
    assert!(service.await.expect("it is done").is_ok(), "the client left");
}

#[tokio::test]
async fn requests_that_come_at_once_are_answered_in_order() {
    let (mut here, there) = duplex(1_000_000);
    let service = tokio::spawn(async move { serve_stream(there, &Lengths::default()).await });
    let requests: Vec<u8> = (1..=20).flat_map(|bytes| frame(&fetch(bytes).encode())).collect();
    here.write_all(&requests).await.expect("room");
    here.shutdown().await.expect("an end");
    let mut all = Vec::new();
    here.read_to_end(&mut all).await.expect("answers");
    let expected: Vec<u8> =
        (1..=20).flat_map(|bytes| frame(&ServiceAnswer::Fetch(Answer::Full(vec![7; bytes])).encode())).collect();
    assert_eq!(all, expected);
    assert!(service.await.expect("it is done").is_ok());
}

#[tokio::test]
async fn whatever_a_hostile_end_says_is_an_error_with_words() {
    let said = async |bytes: &[u8]| told(bytes).await.to_string();
    assert_eq!(said(&[]).await, "the stream ended before an answer");
    assert_eq!(said(&[0, 0, 0, 9, 1, 2]).await, "the stream ended within an answer");
    let long = (ANSWER_BYTES_MAX as u32 + 1).to_be_bytes();
    assert!(said(&long).await.starts_with("a frame of 2000065 bytes"));
    assert!(said(&[0, 0, 0, 0]).await.starts_with("a frame of 0 bytes"));
    assert!(said(&frame(&[77])).await.starts_with("what came is no answer"));
    let other = frame(&ServiceAnswer::Submit(CommandOutcome::new(0, "")).encode());
    assert_eq!(said(&other).await, "the answer is to another question");
    let two = [frame(&[0]), frame(&[0])].concat();
    assert_eq!(said(&two).await, "the answer is to another question", "nobody asked for the second one");
}

#[tokio::test]
async fn what_is_no_request_ends_the_stream_and_no_other() {
    let folder = Folder::new("one");
    let path = folder.0.join("service");
    let answers = Arc::new(Lengths::default());
    let service = tokio::spawn(serve(listen(&path).expect("a socket"), Arc::clone(&answers)));
    assert!(matches!(listen(&path), Err(ListenError::Served(_))));
    let source = UnixSource::new(&path);
    for bytes in [&[0, 0, 0, 0][..], &[0xff; 4], &[0, 0, 0, 1, 99], &[0, 0, 0, 2, 6, 6]] {
        let mut stream = source.open().await.expect("a stream");
        stream.write_all(bytes).await.expect("it is taken");
        // Closed with bytes unread, a socket says so in its own way.
        assert!(!matches!(stream.read(&mut [0; 10]).await, Ok(1..)), "closed without a word");
    }
    assert_eq!(answers.asked.load(Ordering::Relaxed), 0);
    let mut asker = Asker::open(&source).await.expect("a stream");
    assert!(asker.ask(&fetch(3)).await.is_ok());
    service.abort();
    assert!(service.await.is_err());
    assert!(asker.ask(&fetch(3)).await.is_err(), "streams go with their service");
    let error = Asker::open(&source).await.err().expect("nobody is there").to_string();
    assert!(error.contains("is the node that serves it running?"), "{error}");
    assert!(listen(&path).is_ok(), "nobody serves it any more");
    std::fs::write(folder.0.join("file"), b"x").expect("a file");
    assert!(matches!(listen(&folder.0.join("file")), Err(ListenError::Occupied(_))));
}

#[tokio::test(start_paused = true)]
async fn a_service_waits_for_nobody_without_end() {
    // Nothing is asked.
    let (idle, there) = duplex(1_000);
    let begin = Instant::now();
    let error = serve_stream(there, &Lengths::default()).await.expect_err("nobody asks");
    assert_eq!((error.kind(), begin.elapsed().as_secs()), (ErrorKind::TimedOut, IDLE_MAX.as_secs()));
    drop(idle);
    // A request without an end, a byte now and then.
    let (mut slow, there) = duplex(1_000);
    let drip = tokio::spawn(async move {
        while slow.write_all(&[0]).await.is_ok() {
            tokio::time::sleep(Duration::from_secs(20)).await;
        }
    });
    let begin = Instant::now();
    let error = serve_stream(there, &Lengths::default()).await.expect_err("no request");
    assert_eq!((error.kind(), begin.elapsed().as_secs()), (ErrorKind::TimedOut, IDLE_MAX.as_secs()));
    drip.await.expect("it is done");
    // The answer is not taken.
    let (mut deaf, there) = duplex(1_000);
    deaf.write_all(&frame(&fetch(2_000_000).encode())).await.expect("room");
    let begin = Instant::now();
    let error = serve_stream(there, &Lengths::default()).await.expect_err("nobody reads");
    assert_eq!((error.kind(), begin.elapsed().as_secs()), (ErrorKind::TimedOut, STALL_MAX.as_secs()));
}

#[tokio::test]
async fn one_stream_has_so_many_requests_and_no_more() {
    let (here, there) = duplex(1_000);
    let service = tokio::spawn(async move { serve_stream(there, &Lengths::default()).await });
    let mut asker = Asker::new(Box::new(here));
    for _ in 0..REQUESTS_MAX {
        asker.ask(&fetch(1)).await.expect("an answer");
    }
    assert!(asker.ask(&fetch(1)).await.is_err());
    assert!(service.await.expect("it is done").is_ok());
}

#[tokio::test]
async fn one_stream_too_many_waits_for_another_to_end() {
    let folder = Folder::new("many");
    let path = folder.0.join("service");
    let service = tokio::spawn(serve(listen(&path).expect("a socket"), Arc::new(Lengths::default())));
    let source = UnixSource::new(&path);
    let mut idle = Vec::new();
    for _ in 0..CONNECTIONS_MAX {
        let mut asker = Asker::open(&source).await.expect("a stream");
        asker.ask(&fetch(1)).await.expect("an answer");
        idle.push(asker);
    }
    let mut late = Asker::open(&source).await.expect("the socket takes it");
    let request = fetch(1);
    let mut answer = Box::pin(late.ask(&request));
    assert!(tokio::time::timeout(Duration::from_millis(200), &mut answer).await.is_err(), "nobody has room");
    idle.pop();
    assert!(answer.await.is_ok());
    service.abort();
}

/// [`Lengths`] for strangers who may ask twice, in two seconds, and a program that may take its time.
#[derive(Default)]
struct Strict(Lengths);

impl Answers for Strict {
    type Stream = ();

    const STRANGERS: Limits = Limits { idle: Duration::from_secs(2), requests: 2, ..Limits::STRANGERS };

    async fn answer(&self, stream: &mut (), request: ServiceRequest) -> ServiceAnswer {
        self.0.answer(stream, request).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_stranger_has_less_than_a_program_of_the_machine() {
    let served = |first: &'static [u8]| {
        let (mut here, there) = duplex(1_000);
        let service = tokio::spawn(async move { serve_stream(there, &Strict::default()).await });
        async move {
            here.write_all(first).await.expect("room");
            (Asker::new(Box::new(here)), service)
        }
    };
    let (mut own, _service) = served(&[]).await;
    for _ in 0..3 {
        own.ask(&fetch(1)).await.expect("an answer");
    }
    let (mut stranger, service) = served(&OF_A_STRANGER).await;
    for _ in 0..2 {
        stranger.ask(&fetch(1)).await.expect("an answer");
    }
    assert!(stranger.ask(&fetch(1)).await.is_err() && service.await.expect("it is done").is_ok());
    let (stranger, service) = served(&OF_A_STRANGER).await;
    let begin = Instant::now();
    let error = service.await.expect("it is done").expect_err("nothing is asked");
    assert_eq!((error.kind(), begin.elapsed().as_secs()), (ErrorKind::TimedOut, 2));
    drop(stranger);
    // It says so first, or what it says is no request.
    let (mut late, _service) = served(&[]).await;
    late.ask(&fetch(1)).await.expect("an answer");
    let (mut here, there) = duplex(1_000);
    here.write_all(&[&frame(&fetch(1).encode())[..], &OF_A_STRANGER].concat()).await.expect("room");
    let error = serve_stream(there, &Strict::default()).await.expect_err("no request");
    assert_eq!(error.kind(), ErrorKind::InvalidData);
}

#[tokio::test]
async fn strangers_too_many_are_closed_and_leave_places_to_others() {
    let folder = Folder::new("strangers");
    let path = folder.0.join("service");
    let service = tokio::spawn(serve(listen(&path).expect("a socket"), Arc::new(Lengths::default())));
    let source = UnixSource::new(&path);
    let stranger = async || {
        let mut stream = source.open().await.expect("a stream");
        stream.write_all(&OF_A_STRANGER).await.expect("it is taken");
        Asker::new(stream)
    };
    let mut places = Vec::new();
    for _ in 0..STRANGERS_MAX {
        let mut asker = stranger().await;
        asker.ask(&fetch(1)).await.expect("an answer");
        places.push(asker);
    }
    assert!(stranger().await.ask(&fetch(1)).await.is_err(), "one too many");
    let mut own = Vec::new();
    for _ in STRANGERS_MAX..CONNECTIONS_MAX {
        let mut asker = Asker::open(&source).await.expect("a stream");
        asker.ask(&fetch(1)).await.expect("this machine's programs have places");
        own.push(asker);
    }
    service.abort();
}

/// Never has an answer, and says whether somebody waits for one.
#[derive(Default)]
struct Patient {
    waiting: AtomicUsize,
}

/// Counts while it is there.
struct Waits<'a>(&'a AtomicUsize);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Answers for Patient {
    type Stream = ();

    fn ends_with_its_asker(&self, request: &ServiceRequest) -> bool {
        matches!(request, ServiceRequest::Record { .. })
    }

    async fn answer(&self, (): &mut (), request: ServiceRequest) -> ServiceAnswer {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waits = Waits(&self.waiting);
        match request {
            ServiceRequest::Record { .. } => std::future::pending().await,
            _ => tokio::time::sleep(Duration::from_secs(5)).await,
        }
        ServiceAnswer::Fetch(Answer::Unknown)
    }
}

#[tokio::test(start_paused = true)]
async fn a_question_is_dropped_with_its_asker_and_nothing_else_is() {
    let answers = Arc::new(Patient::default());
    let (mut here, there) = duplex(1_000);
    let serving = Arc::clone(&answers);
    let service = tokio::spawn(async move { serve_stream(there, &*serving).await });
    here.write_all(&frame(&ServiceRequest::Record { key: [1; 32] }.encode())).await.expect("room");
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert_eq!(answers.waiting.load(Ordering::Relaxed), 1, "the asker is there");
    drop(here);
    assert!(service.await.expect("it is done").is_ok());
    assert_eq!(answers.waiting.load(Ordering::Relaxed), 0);
    // Whoever says a command and closes its end gets its answer.
    let (mut here, there) = duplex(1_000);
    let service = tokio::spawn(async move { serve_stream(there, &Patient::default()).await });
    here.write_all(&frame(&ServiceRequest::Submit(vec![1]).encode())).await.expect("room");
    here.shutdown().await.expect("an end");
    let mut answer = Vec::new();
    here.read_to_end(&mut answer).await.expect("an answer");
    assert_eq!(answer, frame(&ServiceAnswer::Fetch(Answer::Unknown).encode()));
    assert!(service.await.expect("it is done").is_ok());
}

/// Nobody is there.
struct Nowhere;

impl Open for Nowhere {
    fn open(&self) -> Opening<'_> {
        Box::pin(std::future::ready(Err(directory_stream::OpenError::Tunnel("no relay answers".to_owned()))))
    }

    fn describe(&self) -> String {
        "a directory tunnel".to_owned()
    }
}

#[tokio::test]
async fn what_cannot_be_opened_says_why() {
    let error = Asker::open(&Nowhere).await.err().expect("nobody").to_string();
    assert_eq!(error, "no directory stream through a tunnel: no relay answers");
}

/// A folder of its own, which goes with the value.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("directory-stream-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        Self(folder)
    }
}
