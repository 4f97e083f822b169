//! SHA-256 (FIPS 180-4) and SHA3-256 (FIPS 202), the two hash functions that everybody must know by XEP-0300, so that small
//! modules need no library for them. For passwords and secrets there is the server: this code does not run in constant time.

/// SHA-256.
pub fn sha256(data: &[u8]) -> [u8; 32] {
    let mut state = [
        0x6a09_e667,
        0xbb67_ae85,
        0x3c6e_f372,
        0xa54f_f53a,
        0x510e_527f,
        0x9b05_688c,
        0x1f83_d9ab,
        0x5be0_cd19,
    ];
    let mut blocks = data.chunks_exact(64);
    for block in &mut blocks {
        compress(&mut state, block);
    }
    let mut tail = blocks.remainder().to_vec();
    tail.push(0x80);
    while tail.len() % 64 != 56 {
        tail.push(0);
    }
    tail.extend_from_slice(&(data.len() as u64).wrapping_mul(8).to_be_bytes());
    for block in tail.chunks_exact(64) {
        compress(&mut state, block);
    }
    let mut digest = [0; 32];
    for (bytes, word) in digest.chunks_exact_mut(4).zip(state) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
    digest
}

/// The first 32 bits of the fractions of the cube roots of the first 64 primes.
const ROUND: [u32; 64] = cube_roots();

/// Found rather than written down: floor(cbrt(p) * 2^32) by bisection in whole numbers, of which the low word is kept.
const fn cube_roots() -> [u32; 64] {
    let mut constants = [0; 64];
    let (mut found, mut candidate) = (0, 2_u128);
    while found < 64 {
        let (mut divisor, mut is_prime) = (2, true);
        while divisor * divisor <= candidate {
            if candidate % divisor == 0 {
                is_prime = false;
            }
            divisor += 1;
        }
        if is_prime {
            // x^3 <= p * 2^96, and x < 7 * 2^32 because the largest of these primes is 311.
            let (mut low, mut high) = (0_u128, 7 << 32);
            while high - low > 1 {
                let middle = (low + high) / 2;
                if middle * middle * middle <= candidate << 96 {
                    low = middle;
                } else {
                    high = middle;
                }
            }
            constants[found] = (low & 0xffff_ffff) as u32;
            found += 1;
        }
        candidate += 1;
    }
    constants
}

fn compress(state: &mut [u32; 8], block: &[u8]) {
    let mut words = [0_u32; 64];
    for (word, bytes) in words.iter_mut().zip(block.chunks_exact(4)) {
        *word = bytes.iter().fold(0, |word, byte| word << 8 | u32::from(*byte));
    }
    for t in 16..64 {
        let (near, far) = (words[t - 2], words[t - 15]);
        let near = near.rotate_right(17) ^ near.rotate_right(19) ^ (near >> 10);
        let far = far.rotate_right(7) ^ far.rotate_right(18) ^ (far >> 3);
        words[t] = words[t - 16].wrapping_add(far).wrapping_add(words[t - 7]).wrapping_add(near);
    }
    let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = *state;
    for (word, constant) in words.into_iter().zip(ROUND) {
        let mixed = e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25);
        let chosen = (e & f) ^ (!e & g);
        let first = h.wrapping_add(mixed).wrapping_add(chosen).wrapping_add(constant).wrapping_add(word);
        let second = (a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22))
            .wrapping_add((a & b) ^ (a & c) ^ (b & c));
        (h, g, f, e) = (g, f, e, d.wrapping_add(first));
        (d, c, b, a) = (c, b, a, first.wrapping_add(second));
    }
    for (old, new) in state.iter_mut().zip([a, b, c, d, e, f, g, h]) {
        *old = old.wrapping_add(new);
    }
}

/// Bytes that one round of SHA3-256 takes in.
const RATE: usize = 136;

/// SHA3-256.
pub fn sha3_256(data: &[u8]) -> [u8; 32] {
    let mut state = [0_u64; 25];
    let mut blocks = data.chunks_exact(RATE);
    for block in &mut blocks {
        absorb(&mut state, block);
    }
    let mut tail = blocks.remainder().to_vec();
    tail.push(0x06);
    tail.resize(RATE, 0);
    tail[RATE - 1] |= 0x80;
    absorb(&mut state, &tail);
    let mut digest = [0; 32];
    for (bytes, lane) in digest.chunks_exact_mut(8).zip(state) {
        bytes.copy_from_slice(&lane.to_le_bytes());
    }
    digest
}

fn absorb(state: &mut [u64; 25], block: &[u8]) {
    for (lane, bytes) in state.iter_mut().zip(block.chunks_exact(8)) {
        *lane ^= bytes.iter().rev().fold(0, |lane, byte| lane << 8 | u64::from(*byte));
    }
    permute(state);
}

/// Keccak-f[1600] (FIPS 202 section 3.2); lane (x, y) is `state[x + 5 * y]`.
fn permute(state: &mut [u64; 25]) {
    let mut register = 1_u8;
    for _ in 0..24 {
        let column = |x: usize| (0..5).fold(0, |parity, y| parity ^ state[x + 5 * y]);
        let parity: [u64; 5] = std::array::from_fn(column);
        for (index, lane) in state.iter_mut().enumerate() {
            let x = index % 5;
            *lane ^= parity[(x + 4) % 5] ^ parity[(x + 1) % 5].rotate_left(1);
        }
        // Each lane moves to another place and is rotated by 0, 1, 3, 6, 10, ... bits on its way.
        let (mut x, mut y, mut moving) = (1, 0, state[1]);
        for step in 0..24_u32 {
            (x, y) = (y, (2 * x + 3 * y) % 5);
            let turned = moving.rotate_left((step + 1) * (step + 2) / 2 % 64);
            moving = std::mem::replace(&mut state[x + 5 * y], turned);
        }
        for row in state.chunks_exact_mut(5) {
            let old: [u64; 5] = std::array::from_fn(|x| row[x]);
            for (x, lane) in row.iter_mut().enumerate() {
                *lane ^= !old[(x + 1) % 5] & old[(x + 2) % 5];
            }
        }
        state[0] ^= round_constant(&mut register);
    }
}

/// Seven bits of the shift register of section 3.2.5, at the places 0, 1, 3, 7, 15, 31, 63.
fn round_constant(register: &mut u8) -> u64 {
    let mut constant = 0;
    for j in 0..7 {
        constant |= u64::from(*register & 1) << ((1 << j) - 1);
        let carry = *register >> 7;
        *register = (*register << 1) ^ (carry * 0x71);
    }
    constant
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sdk::digest::hex;

    const TWO_BLOCKS: &[u8] = b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";

    #[test]
    fn the_examples_of_fips_180_and_the_lengths_around_a_block() {
        let of = |data: &[u8]| hex(&sha256(data));
        assert_eq!(of(b""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!(of(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(of(TWO_BLOCKS), "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
        let million = of(&[b'a'; 1_000_000]);
        assert_eq!(million, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    }

    #[test]
    fn the_examples_of_fips_202_and_the_lengths_around_a_block() {
        let of = |data: &[u8]| hex(&sha3_256(data));
        assert_eq!(of(b""), "a7ffc6f8bf1ed76651c14756a061d662f580ff4de43b49fa82d80a4b80f8434a");
        assert_eq!(of(b"abc"), "3a985da74fe225b2045c172d6bd390bd855f086e3e9d525b46bfe24511431532");
        assert_eq!(of(TWO_BLOCKS), "41c0dba2a9d6240849100376a8235e2c82e1b9998a999e21db32dd97496d3376");
        let million = of(&[b'a'; 1_000_000]);
        assert_eq!(million, "5c8875ae474a3634ba4fd55ec85bffd661f32aca75c6d699d0cdcb6c115891c1");
        for length in RATE - 2..=RATE + 1 {
            assert_ne!(sha3_256(&vec![0; length]), sha3_256(&vec![0; length + 1]));
        }
    }
}
