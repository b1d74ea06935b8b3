//! What a sample costs: `cargo bench -p shaping`.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use shaping::{NoiseGenerator, NoiseSeed, Sigma};
use std::hint::black_box;

/// Scales in bytes: the smallest, that of a web-like client (Delta 60 KB, epsilon 1), that of the video example
/// (Delta 2.5 MB, epsilon 1, delta 1e-6), the largest.
const SCALES: [u64; 4] = [1, 253_481, 10_561_693, 1 << 40];

fn samples(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("noise");
    group.throughput(Throughput::Elements(1));
    for bytes in SCALES {
        let sigma = Sigma::new(bytes).expect("the scales are in range");
        let mut generator = NoiseGenerator::new(NoiseSeed::for_tests(1));
        group.bench_function(format!("sigma {bytes}"), |bencher| {
            bencher.iter(|| black_box(generator.sample(sigma)));
        });
    }
    group.finish();
}

criterion_group!(benches, samples);
criterion_main!(benches);
