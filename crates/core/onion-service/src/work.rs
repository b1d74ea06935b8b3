//! Work that an introduction may have to show: a number behind which a hash begins with zero bits. It is bound to all other bytes of
//! the introduction, so each introduction has its own.

use crate::introduction::{INTRODUCTION_LEN, WORK_AT, WORK_END};
use aws_lc_rs::digest::{Context, SHA256};
use packet_crypto::keys::sha256;

/// What is searched for an introduction.
#[derive(Debug, Clone)]
pub(crate) struct Search {
    digest: [u8; 32],
    bits: u8,
    next: u64,
}

impl Search {
    /// Begins for an introduction whose other bytes are done.
    pub(crate) fn new(introduction: &[u8; INTRODUCTION_LEN], bits: u8) -> Self {
        Self { digest: digest(introduction), bits, next: 0 }
    }

    /// Tries so many numbers; the one that does it, if it is among them.
    pub(crate) fn run(&mut self, tries: u32) -> Option<u64> {
        for _ in 0..tries {
            let number = self.next;
            self.next = number.wrapping_add(1);
            if zeros(&self.digest, number) >= u32::from(self.bits) {
                return Some(number);
            }
        }
        None
    }
}

/// Zero bits that the work of an introduction shows.
pub(crate) fn shown(introduction: &[u8; INTRODUCTION_LEN]) -> u32 {
    let mut number = [0; 8];
    number.copy_from_slice(&introduction[WORK_AT..WORK_END]);
    zeros(&digest(introduction), u64::from_be_bytes(number))
}

/// Of everything but the number itself: also what an introduction is remembered by, so that another number makes no other one.
pub(crate) fn digest(introduction: &[u8; INTRODUCTION_LEN]) -> [u8; 32] {
    let mut hash = Context::new(&SHA256);
    hash.update(b"hushwire service work 1");
    hash.update(&introduction[..WORK_AT]);
    hash.update(&introduction[WORK_END..]);
    let mut digest = [0; 32];
    digest.copy_from_slice(hash.finish().as_ref());
    digest
}

fn zeros(digest: &[u8; 32], number: u64) -> u32 {
    let hash = sha256(&[digest.as_slice(), &number.to_be_bytes()].concat());
    let mut first = [0; 8];
    first.copy_from_slice(&hash[..8]);
    u64::from_be_bytes(first).leading_zeros()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_found_and_is_good_for_one_introduction() {
        let mut introduction = [7; INTRODUCTION_LEN];
        introduction[WORK_AT..WORK_END].fill(0);
        let mut search = Search::new(&introduction, 10);
        let number =
            std::iter::repeat_with(|| search.run(64)).take(10_000).flatten().next().expect("1,024 tries on average");
        introduction[WORK_AT..WORK_END].copy_from_slice(&number.to_be_bytes());
        assert!(shown(&introduction) >= 10);
        assert_eq!(digest(&introduction), search.digest, "the number is outside of it");
        let others = (0..INTRODUCTION_LEN).filter(|place| !(WORK_AT..WORK_END).contains(place)).step_by(97);
        let kept = others.filter(|place| {
            let mut bent = introduction;
            bent[*place] ^= 1;
            shown(&bent) >= 10
        });
        assert!(kept.count() <= 1, "it is lost with any other byte, but for luck of one in a thousand");
    }

    #[test]
    fn no_bits_need_no_search() {
        assert_eq!(Search::new(&[1; INTRODUCTION_LEN], 0).run(1), Some(0));
        assert_eq!(Search::new(&[1; INTRODUCTION_LEN], 0).run(0), None);
    }
}
