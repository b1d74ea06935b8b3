//! What is denied fails with EPERM or EACCES, what is needed works, each in a process of its own.

use std::error::Error;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::Command;

use os_net::confine::{Confinement, Needs, PartState, Sockets, apply};

type Outcome = Result<(), Box<dyn Error>>;

/// The test that has a service to connect to.
const EGRESS: &str = "egress";

/// Runs one of the ignored tests below in a process of its own, since confinement is for good.
fn run_confined(name: &str) -> Outcome {
    let output = Command::new(std::env::current_exe()?)
        .args(["--ignored", "--exact", name, "--nocapture", "--test-threads=1"])
        .env("RUST_BACKTRACE", "0")
        .output()?;
    if name == EGRESS {
        // What a confined process makes it cannot remove.
        let _ = std::fs::remove_file(service_path(std::process::id()));
    }
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && text.contains("1 passed"), "{name}: {text}");
    Ok(())
}

/// The unix socket of a service, by the process that runs the tests. Only one of them uses it.
fn service_path(parent: u32) -> PathBuf {
    std::env::temp_dir().join(format!("os-net-confinement-{parent}.sock"))
}

#[test]
fn a_shaped_process_opens_no_files_and_no_tcp() -> Outcome {
    run_confined("shaped")
}

#[test]
fn an_ingress_accepts_and_does_not_connect() -> Outcome {
    run_confined("ingress")
}

#[test]
fn an_egress_connects_and_only_reads() -> Outcome {
    run_confined(EGRESS)
}

#[test]
fn a_panic_in_a_confined_process_is_still_a_panic() -> Outcome {
    run_confined("panics")
}

#[test]
fn real_time_priority_can_be_taken_after_the_capability_for_it_is_gone() -> Outcome {
    run_confined("real_time")
}

fn denied<T>(outcome: io::Result<T>) -> bool {
    // Landlock answers EACCES, seccomp EPERM. Both are this kind.
    matches!(outcome, Err(error) if error.kind() == io::ErrorKind::PermissionDenied)
}

/// On a kernel without landlock or seccomp the limits cannot be tested; the report must then say so.
fn in_force(confinement: &Confinement, part: &str) -> bool {
    let state = confinement.parts.iter().find(|other| other.name.contains(part)).map(|other| &other.state);
    matches!(state, Some(PartState::On | PartState::Partly))
}

/// What every role has lost.
fn common(confinement: &Confinement) -> Outcome {
    assert!(in_force(confinement, "seccomp"), "{}", confinement.summary());
    assert!(in_force(confinement, "core dumps"));
    let written = std::fs::write("/dev/null", b"x");
    assert!(denied(written), "writing to a file");
    assert!(denied(std::fs::create_dir("/tmp/os-net-confinement-test")), "making a directory");
    assert!(denied(std::fs::remove_file("/tmp/os-net-confinement-test")), "removing a file");
    assert!(denied(Command::new("/bin/true").status()), "starting a program");
    assert!(denied(
        rustix::process::test_kill_process(rustix::process::getppid().ok_or("no parent")?).map_err(Into::into)
    ));
    let listening = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|socket| Ok(rustix::net::listen(&socket, 1)?));
    assert!(denied(listening), "listening");
    use rustix::net::{AddressFamily, SocketType, socket};
    assert!(denied(socket(AddressFamily::INET, SocketType::RAW, None).map_err(Into::into)), "a raw socket");
    assert!(denied(socket(AddressFamily::PACKET, SocketType::DGRAM, None).map_err(Into::into)), "a packet socket");
    let memory = rustix::thread::capabilities(None)?;
    assert!(memory.effective.is_empty() && memory.permitted.is_empty(), "capabilities");
    assert!(rustix::thread::no_new_privs()?);
    // SAFETY: the address range is empty, so nothing is read or written even if the call were allowed.
    let traced = unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) };
    assert_eq!((traced, io::Error::last_os_error().raw_os_error()), (-1, Some(libc::EPERM)), "ptrace");
    // SAFETY: a call without pointers; the number belongs to the x32 interface (getpid).
    let x32 = unsafe { libc::syscall(0x4000_0000 + 39) };
    assert_eq!(x32, -1, "the x32 interface");

    let (one, other) = (UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?, UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?);
    one.send_to(b"works", other.local_addr()?)?;
    assert_eq!(other.recv(&mut [0; 16])?, 5);
    let sum = std::thread::spawn(|| (1..=4).sum::<u32>()).join().map_err(|_| "the thread panicked")?;
    assert_eq!(sum, 10, "threads start");
    tokio_works()
}

fn tokio_works() -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        assert_eq!(tokio::task::spawn_blocking(|| 7).await?, 7);
        Ok(())
    })
}

fn map_executable() -> io::Result<()> {
    use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
    let protection = ProtFlags::READ | ProtFlags::EXEC;
    // SAFETY: a fresh mapping at an address of the kernel's choice that nobody uses.
    unsafe { mmap_anonymous(std::ptr::null_mut(), 4096, protection, MapFlags::PRIVATE) }?;
    Ok(())
}

#[test]
#[ignore = "run in a process of its own by the tests above"]
fn shaped() -> Outcome {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    map_executable()?;
    let confinement = apply(&Needs::shaped(None));
    common(&confinement)?;
    assert!(denied(std::fs::read("/etc/hosts")), "reading a file");
    assert!(denied(TcpStream::connect(listener.local_addr()?)), "connecting");
    assert!(denied(listener.accept()), "accepting");
    assert!(denied(std::os::unix::net::UnixDatagram::unbound()), "a unix socket");
    assert!(denied(map_executable()), "executable memory");
    let socket = os_net::udp::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0).into())?;
    socket.send_batch(socket.local_addr()?, &[1; 2700], 1350)?;
    Ok(())
}

#[test]
#[ignore = "run in a process of its own by the tests above"]
fn ingress() -> Outcome {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut client = TcpStream::connect(listener.local_addr()?)?;
    let confinement = apply(&Needs::ingress());
    common(&confinement)?;
    assert!(denied(std::fs::read("/etc/hosts")), "reading a file");
    assert!(denied(TcpStream::connect(listener.local_addr()?)), "connecting");
    let (mut server, _) = listener.accept()?;
    client.write_all(b"hello")?;
    let mut text = [0; 5];
    server.read_exact(&mut text)?;
    assert_eq!(&text, b"hello");
    Ok(())
}

#[test]
#[ignore = "run in a process of its own by the tests above"]
fn egress() -> Outcome {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let own = std::env::current_exe()?;
    let service = service_path(std::os::unix::process::parent_id());
    let _service = std::os::unix::net::UnixListener::bind(&service)?;
    let confinement = apply(&Needs::egress());
    common(&confinement)?;
    if in_force(&confinement, "landlock") {
        assert!(denied(std::fs::read("/etc/passwd")), "reading a file that it does not need");
        assert!(denied(std::fs::read(own)), "reading its own program");
        assert!(denied(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))), "binding a TCP port");
    }
    assert!(!std::fs::read("/etc/hosts")?.is_empty());
    let addresses: Vec<_> = std::net::ToSocketAddrs::to_socket_addrs("localhost:80")?.collect();
    assert!(!addresses.is_empty(), "names are resolved");
    let _client = TcpStream::connect(listener.local_addr()?)?;
    assert!(denied(listener.accept()), "accepting");
    // As a local name service and the directory's service have.
    let _stream = std::os::unix::net::UnixStream::connect(&service)?;
    Ok(())
}

#[test]
#[ignore = "run in a process of its own by the tests above"]
fn real_time() -> Outcome {
    use os_net::schedule::{ScheduleError, set_fifo};
    let take = |priority| std::thread::spawn(move || set_fifo(priority)).join().map_err(|_| "the thread panicked");
    // A user without the right to it has nothing to keep.
    let before = take(5)?;
    apply(&Needs::shaped(Some(5)));
    assert_eq!(take(5)?, before);
    // Where the limit can be raised, no capability is kept, and no more than was asked for is to be had.
    if rustix::thread::capabilities(None)?.permitted.is_empty() {
        assert_eq!(take(6)?, Err(ScheduleError::NotPermitted(6)));
    }
    Ok(())
}

#[test]
#[ignore = "run in a process of its own by the tests above"]
fn panics() -> Outcome {
    let confinement = apply(&Needs { sockets: Sockets::Udp, ..Needs::shaped(None) });
    assert!(in_force(&confinement, "seccomp"));
    let outcome = std::thread::spawn(|| assert!(PathBuf::from("/").is_relative(), "as planned")).join();
    assert!(outcome.is_err());
    Ok(())
}
