//! Client and server over a real unix socket.

use admin::client::{AskError, ask, hop_status, status};
use admin::protocol::{Request, Response};
use admin::server::{BindError, Server};
use admin::status::{SCHEMA_VERSION, Status};
use std::error::Error;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

type TestResult = Result<(), Box<dyn Error>>;

/// A fresh folder that goes away with the value.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> std::io::Result<Self> {
        let path = std::env::temp_dir().join(format!("hushwire-admin-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn answer(request: Request) -> Response {
    match request {
        Request::Status => {
            let status = Status { schema: SCHEMA_VERSION, uptime_s: 7, ..Status::default() };
            Response::Status { status: Box::new(status) }
        }
        Request::HopStatus => Response::Refused { reason: "a node has no such state".into() },
        Request::Cluster(_) => Response::Refused { reason: "a node of a link is in no cluster".into() },
        Request::Stop => Response::Stopping,
        Request::Version => Response::Version { version: "1".into(), status_schema: SCHEMA_VERSION },
        Request::Parts(_) | Request::Mirror | Request::Relay => Response::Refused { reason: "none".into() },
    }
}

#[tokio::test]
async fn a_node_answers_over_a_socket_of_its_user_and_removes_it() -> TestResult {
    let folder = Folder::new("answers")?;
    let path = folder.0.join("node.admin");
    assert!(matches!(status(&path).await, Err(AskError::NotRunning(_))));

    let server = Server::bind(&path)?;
    assert_eq!(std::fs::metadata(&path)?.permissions().mode() & 0o777, 0o600);
    assert!(matches!(Server::bind(&path), Err(BindError::InUse(_))), "a second node must not take the socket");

    let serving = tokio::spawn(async move { server.serve(answer).await });
    assert_eq!(status(&path).await?.uptime_s, 7);
    assert_eq!(ask(&path, Request::Stop).await?, Response::Stopping);
    assert!(matches!(hop_status(&path).await, Err(AskError::NotUnderstood(_))), "a node is no hop proxy");
    assert!(matches!(ask(&path, Request::Version).await?, Response::Version { .. }));

    serving.abort();
    assert!(serving.await.is_err_and(|error| error.is_cancelled()));
    assert!(!path.exists(), "the socket's file goes with the server");
    Ok(())
}

#[tokio::test]
async fn a_dead_nodes_socket_is_replaced_and_other_files_are_not() -> TestResult {
    let folder = Folder::new("stale")?;
    let path = folder.0.join("node.admin");
    drop(std::os::unix::net::UnixListener::bind(&path)?);
    assert!(path.exists(), "the standard library leaves the file behind, as a killed node does");
    drop(Server::bind(&path)?);

    std::fs::write(&path, "precious")?;
    assert!(matches!(Server::bind(&path), Err(BindError::NotASocket(_))));
    assert_eq!(std::fs::read_to_string(&path)?, "precious");
    Ok(())
}

#[tokio::test]
async fn garbage_is_refused_within_bounds() -> TestResult {
    let folder = Folder::new("garbage")?;
    let path = folder.0.join("node.admin");
    let server = Server::bind(&path)?;
    let serving = tokio::spawn(async move { server.serve(answer).await });

    for garbage in [b"{}\n".to_vec(), b"\xff\xfe\n".to_vec(), vec![b'x'; admin::protocol::REQUEST_LINE_MAX]] {
        let mut stream = UnixStream::connect(&path).await?;
        stream.write_all(&garbage).await?;
        stream.shutdown().await?;
        let mut said = String::new();
        stream.read_to_string(&mut said).await?;
        assert_eq!(said, "{\"response\":\"refused\",\"reason\":\"this line is not a request that I know\"}\n");
    }
    assert!(status(&path).await.is_ok(), "the server is still there");
    serving.abort();
    Ok(())
}
