//! The original's first application, as a worked example.

use super::{App, Context, Output, RestoreError};

/// Answers `ping` with `pong` and the number of pings so far.
#[derive(Clone, Debug, Default)]
pub struct PingPong {
    pings: u64,
}

impl App for PingPong {
    fn apply(&mut self, _: Context, body: &[u8]) -> Output {
        if body != b"ping" {
            return Output::answer(*b"say ping");
        }
        self.pings += 1;
        Output::answer(format!("pong {}", self.pings))
    }

    fn snapshot(&self) -> Vec<u8> {
        self.pings.to_be_bytes().to_vec()
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), RestoreError> {
        self.pings = u64::from_be_bytes(bytes.try_into().map_err(|_| RestoreError)?);
        Ok(())
    }
}
