//! The seven bytes that each side puts into the link handshake (docs/spec/link.md, "Parameters").
//!
//! ```text
//! mode 1 | class of the sender's direction 1 | class asked of the other side 1 | zero 4
//! ```

use shaping::RateClass;
use wire::read::{DecodeError, Reader};

/// How a link is paced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Mode {
    /// No schedule: a cell leaves when there is a packet and the controller allows.
    Off = 0,
    /// A fixed rate on the slot grid.
    Constant = 1,
    /// Rates of a few classes, chosen at slow edges.
    Stepped = 2,
    /// A rate that follows noisy counts.
    Dp = 3,
    /// NetShaper's own mechanism.
    Queue = 4,
}

impl Mode {
    /// Whether cells leave on the slot grid, by a schedule.
    pub fn is_shaped(self) -> bool {
        self != Self::Off
    }

    /// As the configuration and `status` say it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Constant => "constant",
            Self::Stepped => "stepped",
            Self::Dp => "dp",
            Self::Queue => "queue",
        }
    }
}

/// What a side tells the other when a link starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameters {
    /// How the sender paces its direction.
    pub mode: Mode,
    /// The rate of the sender's direction.
    pub own: RateClass,
    /// The rate that the sender wants in the other direction.
    pub asked: RateClass,
}

impl Parameters {
    /// Bytes of the encoding.
    pub const LEN: usize = 7;

    /// The bytes in the handshake message.
    pub fn encode(self) -> [u8; Self::LEN] {
        [self.mode as u8, self.own.number(), self.asked.number(), 0, 0, 0, 0]
    }

    /// Reads what [`Parameters::encode`] wrote. The last four bytes are for later versions and not looked at.
    pub fn decode(bytes: &[u8; Self::LEN]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let mode = match reader.u8()? {
            0 => Mode::Off,
            1 => Mode::Constant,
            2 => Mode::Stepped,
            3 => Mode::Dp,
            4 => Mode::Queue,
            _ => return Err(DecodeError::Unknown("mode")),
        };
        let class = |number| RateClass::new(number).map_err(|_| DecodeError::Range("rate class"));
        Ok(Self { mode, own: class(reader.u8()?)?, asked: class(reader.u8()?)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_set_survives_a_round_trip_and_nonsense_is_refused() {
        let modes = [Mode::Off, Mode::Constant, Mode::Stepped, Mode::Dp, Mode::Queue];
        for (mode, own, asked) in modes.into_iter().zip(0..).map(|(mode, class)| (mode, class, 52 - class)) {
            let class = |number| RateClass::new(number).expect("an existing class");
            let parameters = Parameters { mode, own: class(own), asked: class(asked) };
            assert_eq!(Parameters::decode(&parameters.encode()), Ok(parameters));
        }
        assert_eq!(Parameters::decode(&[5, 0, 0, 0, 0, 0, 0]), Err(DecodeError::Unknown("mode")));
        assert_eq!(Parameters::decode(&[1, 53, 0, 0, 0, 0, 0]), Err(DecodeError::Range("rate class")));
    }
}
