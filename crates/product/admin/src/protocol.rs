//! What goes over the admin socket: one line of JSON each way.

use crate::cluster::{ClusterAnswer, ClusterRequest};
use crate::hop_proxy::HopStatus;
use crate::mirror::MirrorStatus;
use crate::parts::{PartsAnswer, PartsRequest};
use crate::relay::RelayStatus;
use crate::status::Status;
use serde::{Deserialize, Serialize};

/// Bytes of the longest request line, with its end; a longer one closes the connection.
pub const REQUEST_LINE_MAX: usize = 4096;

/// Bytes of the longest answer line; a client stops reading there.
pub const RESPONSE_LINE_MAX: usize = 4 << 20;

/// What a client may ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub enum Request {
    /// The node's state.
    Status,
    /// The state of a stand-alone hop client or server.
    HopStatus,
    /// Something that only a node of a cluster knows.
    Cluster(ClusterRequest),
    /// Something that only a node of several parts knows.
    Parts(PartsRequest),
    /// The state of a mirror.
    Mirror,
    /// The state of a relay.
    Relay,
    /// End the node: processes get a deadline, then are killed.
    Stop,
    /// Which program answers.
    Version,
}

/// What the node answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "response", rename_all = "snake_case")]
pub enum Response {
    /// To [`Request::Status`].
    Status {
        /// The node's state.
        status: Box<Status>,
    },
    /// To [`Request::HopStatus`].
    HopStatus {
        /// The end's state.
        status: Box<HopStatus>,
    },
    /// To [`Request::Cluster`].
    Cluster {
        /// What became of it.
        answer: ClusterAnswer,
    },
    /// To [`Request::Parts`].
    Parts {
        /// What became of it.
        answer: PartsAnswer,
    },
    /// To [`Request::Mirror`].
    Mirror {
        /// The mirror's state.
        status: Box<MirrorStatus>,
    },
    /// To [`Request::Relay`].
    Relay {
        /// The relay's state.
        status: Box<RelayStatus>,
    },
    /// To [`Request::Stop`]: the node is on its way down.
    Stopping,
    /// To [`Request::Version`].
    Version {
        /// Version of the program.
        version: String,
        /// Version of the status schema.
        status_schema: u32,
    },
    /// The line was no request.
    Refused {
        /// Why, in a sentence.
        reason: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_written_as_documented() -> Result<(), serde_json::Error> {
        assert_eq!(serde_json::to_string(&Request::Status)?, r#"{"request":"status"}"#);
        assert_eq!(serde_json::from_str::<Request>(r#"{"request":"stop"}"#)?, Request::Stop);
        assert!(serde_json::from_str::<Request>(r#"{"request":"explode"}"#).is_err());
        let request = Request::Cluster(ClusterRequest::Change { add: Some("n4".into()), remove: None });
        let line = r#"{"request":"cluster","ask":"change","add":"n4","remove":null}"#;
        assert_eq!(serde_json::to_string(&request)?, line);
        assert_eq!(serde_json::from_str::<Request>(line)?, request);
        Ok(())
    }
}
