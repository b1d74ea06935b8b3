//! Bytes that anybody can check: a function of their position, and no repetition that compression would find.

/// Fills `out` with the bytes from `position` on.
pub(crate) fn fill(position: u64, out: &mut [u8]) {
    let mut offset = 0;
    while offset < out.len() {
        let at = position + offset as u64;
        let word = word(at / 8).to_le_bytes();
        let skip = (at % 8) as usize;
        let length = (8 - skip).min(out.len() - offset);
        out[offset..offset + length].copy_from_slice(&word[skip..skip + length]);
        offset += length;
    }
}

/// The index-th output of SplitMix64 with seed 0 (Steele, Lea, Flood 2014).
fn word(index: u64) -> u64 {
    let mut mixed = index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_piece_is_the_same_piece_of_the_whole() {
        let mut whole = [0; 100];
        fill(1000, &mut whole);
        for start in 0..20 {
            let mut piece = [0; 33];
            fill(1000 + start as u64, &mut piece);
            assert_eq!(piece, whole[start..start + 33]);
        }
        // First output of the published generator with seed 0.
        assert_eq!(word(0), 0xe220_a839_7b1d_cdaf);
    }
}
