//! Random bytes for parts of a region that nobody reads, from a local AES-CTR stream: the system's source costs more than
//! two AEADs a cell.

use aes::Aes128;
use aes::cipher::{BlockEncrypt, KeyInit};

/// Blocks that are encrypted together: what AES-NI keeps in flight. The reserved 72 bytes take five of them.
const BATCH: usize = 8;

/// An endless stream of bytes that nobody else can guess.
pub struct Filler {
    key: Aes128,
    counter: u128,
}

impl Filler {
    /// Starts the stream of a key that comes from a cryptographic random source and is used for nothing else.
    pub fn new(key: &[u8; 16]) -> Self {
        Self { key: Aes128::new(key.into()), counter: 0 }
    }

    /// Fills `bytes`; blocks go through the cipher eight at a time.
    #[inline]
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(BATCH * 16) {
            let mut blocks = [aes::Block::default(); BATCH];
            for block in &mut blocks {
                *block = aes::Block::from(self.counter.to_be_bytes());
                self.counter += 1;
            }
            self.key.encrypt_blocks(&mut blocks);
            for (part, block) in chunk.chunks_mut(16).zip(&blocks) {
                part.copy_from_slice(&block[..part.len()]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_never_repeats_a_block_and_fills_to_the_end() {
        let mut filler = Filler::new(&[1; 16]);
        let (mut first, mut second) = ([0; 72], [0; 72]);
        filler.fill(&mut first);
        filler.fill(&mut second);
        assert_ne!(first, second);
        assert_ne!(first[64..], [0; 8]);
    }
}
