//! How far this machine's clock is from the directory's (docs/spec/relay-directory.md, section 10, request 6).

use os_net::clock;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The frame that asks how the directory stands.
const REQUEST: [u8; 5] = [0, 0, 0, 1, 6];
/// The kind of its answer.
const ANSWER: u8 = 6;
/// Kind and time: what is looked at.
const LOOKED_AT: usize = 1 + 8;
/// An answer that says more than this is none. Today's has 59 bytes.
const ANSWER_MAX: usize = 256;

/// The difference of two clocks, measured over a tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockSkew {
    /// Milliseconds by which this machine's clock is ahead of the directory's; negative: behind.
    pub ahead_ms: i64,
    /// The measurement is good to about this: half of the time that the answer took. The directory's time moves in steps of its
    /// members' ticks, which comes on top.
    pub uncertainty: Duration,
}

impl ClockSkew {
    /// True when the clocks differ by more than the measurement explains and `tolerated` together.
    pub fn exceeds(&self, tolerated: Duration) -> bool {
        u128::from(self.ahead_ms.unsigned_abs()) > (self.uncertainty + tolerated).as_millis()
    }
}

/// Asks on a fresh stream; `None` when what comes back is no answer.
pub(crate) async fn ask(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> Option<ClockSkew> {
    let asked = clock::unix_time();
    stream.write_all(&REQUEST).await.ok()?;
    let length = usize::try_from(stream.read_u32().await.ok()?).ok()?;
    if !(LOOKED_AT..=ANSWER_MAX).contains(&length) {
        return None;
    }
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer).await.ok()?;
    measure(asked, &answer, clock::unix_time())
}

fn measure(asked: Duration, answer: &[u8], answered: Duration) -> Option<ClockSkew> {
    let (kind, rest) = answer.split_first()?;
    let theirs = u64::from_be_bytes(*rest.first_chunk()?);
    let uncertainty = answered.saturating_sub(asked) / 2;
    let ours = i128::try_from((asked + uncertainty).as_millis()).ok()?;
    let ahead_ms = i64::try_from(ours - i128::from(theirs)).ok()?;
    (*kind == ANSWER).then_some(ClockSkew { ahead_ms, uncertainty })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(kind: u8, theirs_ms: u64) -> Vec<u8> {
        let mut bytes = vec![kind];
        bytes.extend_from_slice(&theirs_ms.to_be_bytes());
        bytes.extend_from_slice(&[9; 50]);
        bytes
    }

    #[test]
    fn the_middle_of_the_exchange_is_compared() {
        let (asked, answered) = (Duration::from_millis(10_000), Duration::from_millis(10_400));
        let skew = |theirs| measure(asked, &answer(6, theirs), answered);
        let is = |ahead_ms| Some(ClockSkew { ahead_ms, uncertainty: Duration::from_millis(200) });
        assert_eq!((skew(10_200), skew(10_000), skew(13_200)), (is(0), is(200), is(-3_000)));
        assert_eq!(measure(asked, &answer(5, 10_200), answered), None);
        assert_eq!(measure(asked, &[6, 0, 0], answered), None);
        assert_eq!(measure(asked, &answer(6, u64::MAX), answered), None);
        let behind = skew(13_200).expect("an answer");
        assert!(behind.exceeds(Duration::from_secs(2)) && !behind.exceeds(Duration::from_secs(3)));
    }

    #[tokio::test]
    async fn what_is_no_answer_is_none() {
        for wrong in
            [vec![0, 0, 0, 8], vec![0, 0, 1, 1], vec![0xff; 4], vec![0, 0, 0, 9, 5, 0, 0, 0, 0, 0, 0, 0, 0], vec![0]]
        {
            let (here, mut there) = tokio::io::duplex(1024);
            there.write_all(&wrong).await.expect("room");
            there.shutdown().await.expect("an end");
            assert_eq!(ask(here).await, None, "{wrong:?}");
        }
    }
}
