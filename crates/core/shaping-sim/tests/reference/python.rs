//! Python's `random.Random`, as far as the reference program uses it: the Mersenne Twister (Matsumoto and Nishimura 1998)
//! with Python's seeding by a number, and its distributions.

use std::f64::consts::TAU;

const WORDS: usize = 624;
const MIDDLE: usize = 397;

pub(crate) struct Random {
    state: [u32; WORDS],
    index: usize,
    gauss_next: Option<f64>,
}

impl Random {
    /// `random.Random(seed)` for a seed of at most 32 bits.
    pub(crate) fn new(seed: u32) -> Self {
        let mut state = [0_u32; WORDS];
        state[0] = 19_650_218;
        for i in 1..WORDS {
            let last = state[i - 1];
            state[i] = 1_812_433_253_u32.wrapping_mul(last ^ (last >> 30)).wrapping_add(i as u32);
        }
        let mut i = 1;
        let mut mix = |multiplier: u32, add: u32, subtract: bool| {
            let last = state[i - 1];
            let mixed = state[i] ^ (last ^ (last >> 30)).wrapping_mul(multiplier);
            state[i] = if subtract { mixed.wrapping_sub(i as u32) } else { mixed.wrapping_add(add) };
            i += 1;
            if i == WORDS {
                state[0] = state[WORDS - 1];
                i = 1;
            }
        };
        (0..WORDS).for_each(|_| mix(1_664_525, seed, false));
        (1..WORDS).for_each(|_| mix(1_566_083_941, 0, true));
        state[0] = 0x8000_0000;
        Self { state, index: WORDS, gauss_next: None }
    }

    /// `random()`.
    pub(crate) fn random(&mut self) -> f64 {
        let (high, low) = (self.word() >> 5, self.word() >> 6);
        (f64::from(high) * 67_108_864.0 + f64::from(low)) / 9_007_199_254_740_992.0
    }

    /// `uniform(0, high)`.
    pub(crate) fn uniform(&mut self, high: f64) -> f64 {
        high * self.random()
    }

    /// `lognormvariate(mu, sigma)`: by the ratio of uniform variables (Kinderman and Monahan 1977).
    pub(crate) fn lognormvariate(&mut self, mu: f64, sigma: f64) -> f64 {
        let magic = 4.0 * (-0.5_f64).exp() / 2.0_f64.sqrt();
        loop {
            let u1 = self.random();
            let u2 = 1.0 - self.random();
            let z = magic * (u1 - 0.5) / u2;
            if z * z / 4.0 <= -u2.ln() {
                return (mu + z * sigma).exp();
            }
        }
    }

    /// `gauss(0, sigma)`.
    pub(crate) fn gauss(&mut self, sigma: f64) -> f64 {
        let z = self.gauss_next.take().unwrap_or_else(|| {
            let angle = self.random() * TAU;
            let radius = (-2.0 * (1.0 - self.random()).ln()).sqrt();
            self.gauss_next = Some(angle.sin() * radius);
            angle.cos() * radius
        });
        z * sigma
    }

    fn word(&mut self) -> u32 {
        if self.index == WORDS {
            self.twist();
        }
        let mut y = self.state[self.index];
        self.index += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    fn twist(&mut self) {
        for i in 0..WORDS {
            let y = (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % WORDS] & 0x7fff_ffff);
            let odd = if y & 1 == 1 { 0x9908_b0df } else { 0 };
            self.state[i] = self.state[(i + MIDDLE) % WORDS] ^ (y >> 1) ^ odd;
        }
        self.index = 0;
    }
}

/// What Python 3.11 prints for `random.Random(5)`.
#[test]
fn it_is_pythons_generator() {
    let mut random = Random::new(5);
    assert_eq!([random.random(), random.random()], [0.622_901_694_889_701_9, 0.741_786_989_260_729_4]);
    assert!((Random::new(5).gauss(1.0) + 1.178_841_751_230_671_7).abs() < 1e-12);
    assert!((Random::new(5).lognormvariate(1.0, 0.5) - 4.088_875_675_653_25).abs() < 1e-12);
}
