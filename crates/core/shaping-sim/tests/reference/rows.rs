//! The rows of the reference program and what it printed for them.

use crate::python::Random;
use shaping::{
    DpParameters, DpSettings, Noise, Per1024, QueueSettings, RateClass, ReadyNoise, SendingStrategy, Sigma, SlotLength,
};
use shaping_sim::trace::{Client, Direction, Trace, Transfer};
use shaping_sim::{ConstantRate, Dp, FluidReport, Mode, Queue, RunError, Setup, run_fluid, video_segments};
use std::time::Duration;

const DELTA: f64 = 2.5e6;
const EPOCH_S: f64 = 5.0;
/// mu of epsilon 1 at delta 10^-6, the program's constant.
const MU: f64 = 0.236_704_38;
/// The program's noise multipliers for 5, 10 and 50 decisions in 5 s.
const MULTIPLIERS: [(u32, f64); 3] = [(1_000, 11.963_029), (500, 16.918), (100, 37.830)];
/// Length of its runs.
const SECONDS: u64 = 600;
/// No segment comes in the last 20 s of them.
const QUIET_S: u64 = 20;

#[derive(Debug, Clone, Copy)]
pub(crate) enum RowMode {
    Queue { interval_ms: u32 },
    Constant { multiple: f64 },
    Dp { gain: f64, margin: f64, errors: f64 },
}

use RowMode::{Constant, Dp as DpMode, Queue as QueueMode};

#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    clients: u32,
    mode: RowMode,
    /// Overhead, mean and 99th percentile of latency in milliseconds.
    pub(crate) expected: [f64; 3],
}

const fn row(clients: u32, mode: RowMode, expected: [f64; 3]) -> Row {
    Row { clients, mode, expected }
}

/// Printed by default: 600 s, the means of seeds 0 to 3.
#[rustfmt::skip]
pub(crate) const FULL: [Row; 30] = [
    row(1, QueueMode { interval_ms: 1_000 }, [7.1710, 1_800.2, 6_061.5]),
    row(1, QueueMode { interval_ms: 500 }, [15.2692, 978.4, 3_406.5]),
    row(1, QueueMode { interval_ms: 100 }, [81.0924, 179.4, 766.5]),
    row(1, Constant { multiple: 1.5 }, [0.5517, 3_475.3, 7_321.5]),
    row(1, Constant { multiple: 3.0 }, [2.1034, 1_678.1, 3_286.5]),
    row(1, DpMode { gain: 0.1, margin: 1.3, errors: 1.0 }, [7.5919, 887.9, 2_756.5]),
    row(1, DpMode { gain: 0.3, margin: 1.3, errors: 1.0 }, [9.6042, 772.9, 2_939.0]),
    row(1, DpMode { gain: 0.3, margin: 1.15, errors: 1.0 }, [9.6468, 752.0, 2_939.0]),
    row(1, DpMode { gain: 0.3, margin: 1.3, errors: 2.0 }, [13.1220, 483.0, 2_081.5]),
    row(1, DpMode { gain: 0.05, margin: 1.5, errors: 1.5 }, [7.9784, 787.8, 2_251.5]),
    row(16, QueueMode { interval_ms: 1_000 }, [5.3130, 1_558.3, 5_630.2]),
    row(16, QueueMode { interval_ms: 500 }, [12.2971, 782.4, 3_326.3]),
    row(16, QueueMode { interval_ms: 100 }, [73.2712, 156.6, 669.2]),
    row(16, Constant { multiple: 1.5 }, [0.5517, 357.4, 881.4]),
    row(16, Constant { multiple: 3.0 }, [2.1034, 131.9, 312.9]),
    row(16, DpMode { gain: 0.1, margin: 1.3, errors: 1.0 }, [0.7386, 585.7, 6_373.9]),
    row(16, DpMode { gain: 0.3, margin: 1.3, errors: 1.0 }, [1.0098, 1_187.4, 18_303.1]),
    row(16, DpMode { gain: 0.3, margin: 1.15, errors: 1.0 }, [0.8520, 1_269.4, 18_097.1]),
    row(16, DpMode { gain: 0.3, margin: 1.3, errors: 2.0 }, [1.6372, 325.0, 4_066.7]),
    row(16, DpMode { gain: 0.05, margin: 1.5, errors: 1.5 }, [0.9874, 263.3, 783.8]),
    row(128, QueueMode { interval_ms: 1_000 }, [1.0660, 1_384.1, 3_640.7]),
    row(128, QueueMode { interval_ms: 500 }, [3.0559, 758.0, 2_422.8]),
    row(128, QueueMode { interval_ms: 100 }, [33.3979, 161.4, 637.9]),
    row(128, Constant { multiple: 1.5 }, [0.5517, 65.0, 177.7]),
    row(128, Constant { multiple: 3.0 }, [2.1034, 26.8, 56.6]),
    row(128, DpMode { gain: 0.1, margin: 1.3, errors: 1.0 }, [0.3897, 83.6, 248.4]),
    row(128, DpMode { gain: 0.3, margin: 1.3, errors: 1.0 }, [0.4131, 81.0, 264.9]),
    row(128, DpMode { gain: 0.3, margin: 1.15, errors: 1.0 }, [0.2607, 116.0, 413.5]),
    row(128, DpMode { gain: 0.3, margin: 1.3, errors: 2.0 }, [0.4928, 70.7, 221.4]),
    row(128, DpMode { gain: 0.05, margin: 1.5, errors: 1.5 }, [0.6024, 60.7, 166.0]),
];

/// For the same rows with 600 s and seeds 0 to 255: means and their standard errors.
#[rustfmt::skip]
pub(crate) const MANY: [[(f64, f64); 3]; 30] = [
    [(7.000, 0.027), (1_786.5, 18.7), (6_449.5, 68.2)],
    [(15.007, 0.045), (906.6, 9.6), (3_260.0, 35.9)],
    [(79.533, 0.182), (187.9, 2.0), (661.1, 7.5)],
    [(0.552, 0.000), (3_464.0, 4.1), (7_310.1, 72.4)],
    [(2.103, 0.000), (1_677.0, 0.2), (3_431.3, 22.4)],
    [(6.901, 0.104), (988.8, 12.9), (3_079.0, 32.1)],
    [(9.302, 0.071), (821.4, 7.7), (2_947.8, 28.6)],
    [(9.328, 0.070), (802.8, 7.5), (2_914.9, 28.9)],
    [(12.636, 0.057), (516.1, 4.8), (2_383.4, 34.2)],
    [(6.975, 0.129), (923.5, 15.7), (2_866.9, 39.4)],
    [(5.330, 0.017), (1_569.3, 6.6), (5_883.1, 42.6)],
    [(12.269, 0.027), (793.0, 3.3), (3_219.2, 21.3)],
    [(72.674, 0.079), (160.9, 0.5), (679.6, 2.9)],
    [(0.552, 0.000), (381.2, 4.5), (958.4, 12.1)],
    [(2.103, 0.000), (139.8, 1.0), (333.9, 3.7)],
    [(0.696, 0.010), (1_154.2, 143.6), (6_771.4, 591.8)],
    [(0.980, 0.010), (1_331.5, 73.3), (11_852.5, 474.9)],
    [(0.826, 0.009), (1_485.4, 84.5), (12_150.9, 485.3)],
    [(1.612, 0.011), (313.3, 10.4), (3_270.0, 184.0)],
    [(0.919, 0.011), (352.5, 39.2), (1_316.6, 186.3)],
    [(1.080, 0.004), (1_396.9, 3.1), (3_624.9, 13.1)],
    [(3.054, 0.008), (757.3, 1.8), (2_462.4, 9.4)],
    [(33.174, 0.039), (160.7, 0.2), (655.1, 1.9)],
    [(0.552, 0.000), (64.2, 0.5), (179.5, 2.3)],
    [(2.103, 0.000), (26.9, 0.1), (57.3, 0.4)],
    [(0.385, 0.001), (84.2, 0.8), (247.9, 3.4)],
    [(0.411, 0.001), (81.5, 0.8), (263.5, 4.4)],
    [(0.259, 0.001), (120.9, 1.5), (442.4, 11.2)],
    [(0.490, 0.001), (70.6, 0.6), (217.2, 3.0)],
    [(0.594, 0.001), (60.7, 0.4), (169.7, 2.1)],
];

impl Row {
    /// The row through the real mechanisms, with the traffic and the noise of the program.
    pub(crate) fn run_theirs(&self, seed: u64) -> Result<FluidReport, RunError> {
        let trace = segments(self.clients, seed as u32);
        let mode = self.mode.build(self.clients, bytes_per_second(&trace));
        let random = Random::new(seed as u32 + 77);
        let noise = mode_sigma(&mode).map(|sigma| -> Box<dyn ReadyNoise> { Box::new(PythonNoise { random, sigma }) });
        run_fluid(&trace, &mode, &setup(seed), noise)
    }

    /// The row through the real mechanisms, with traffic and noise of this crate.
    pub(crate) fn run_ours(&self, seed: u64) -> Result<FluidReport, RunError> {
        let trace = our_segments(self.clients, seed);
        let mode = self.mode.build(self.clients, bytes_per_second(&trace));
        run_fluid(&trace, &mode, &setup(seed), None)
    }
}

fn our_segments(clients: u32, seed: u64) -> Trace {
    video_segments(clients, Duration::from_secs(SECONDS - QUIET_S), seed).expect("a few thousand segments")
}

fn setup(seed: u64) -> Setup {
    let slot = SlotLength::from_millis(10).expect("10 ms is a slot");
    Setup { slot, ..Setup::new(Duration::from_secs(SECONDS), seed) }
}

/// While segments come.
fn bytes_per_second(trace: &Trace) -> f64 {
    trace.bytes(Direction::Down) as f64 / (SECONDS - QUIET_S) as f64
}

/// The program's noise in whole bytes.
struct PythonNoise {
    random: Random,
    sigma: Sigma,
}

impl ReadyNoise for PythonNoise {
    fn take(&mut self) -> Option<Noise> {
        let bytes = self.random.gauss(self.sigma.bytes() as f64).round() as i64;
        Some(Noise::for_tests(bytes, self.sigma))
    }
}

/// The program's `segments`.
fn segments(clients: u32, seed: u32) -> Trace {
    let until_s = (SECONDS - QUIET_S) as f64;
    let mut random = Random::new(seed);
    let mut transfers = Vec::new();
    for client in 0..clients {
        let mut at_s = random.uniform(EPOCH_S);
        while at_s < until_s {
            let bytes = random.lognormvariate(4.2e5_f64.ln(), 0.35).min(1.7e6);
            transfers.push(Transfer {
                at: Duration::from_secs_f64(at_s),
                client: Client(client),
                direction: Direction::Down,
                bytes: bytes.round() as u64,
            });
            at_s += EPOCH_S;
        }
    }
    Trace::new(transfers).expect("a few thousand segments")
}

impl RowMode {
    fn build(self, clients: u32, bytes_per_second: f64) -> Mode {
        let cap = 1.4e6 * f64::from(clients);
        match self {
            Self::Constant { multiple } => {
                Mode::Constant(ConstantRate::Exact((8.0 * multiple * bytes_per_second).round() as u64))
            }
            Self::Queue { interval_ms } => {
                let known = MULTIPLIERS.iter().find(|(interval, _)| *interval == interval_ms);
                let settings = QueueSettings {
                    noise_multiplier: known.expect("a row of the program").1,
                    sensitivity: DELTA as u64,
                    min_decision_size: 0,
                    max_decision_size: cap as u64,
                    dp_creditor_loop_interval_us: interval_ms * 1_000,
                    sending_loop_interval_us: 10_000,
                    sending_strategy: SendingStrategy::Uniform,
                    keep_rest: false,
                };
                Mode::Queue(Queue { settings, window: Duration::from_secs(5) })
            }
            Self::Dp { gain, margin, errors } => {
                let class = |bytes: f64| RateClass::at_least((8.0 * bytes) as u64).expect("a rate of the program");
                let parts = |value: f64| Per1024::nearest(value).expect("a setting of the program");
                let floor = class(2.5e5);
                let settings = DpSettings {
                    epoch_s: 5,
                    delta_bytes: DELTA as u64,
                    sigma: Sigma::round_up(DELTA / MU).expect("10.6 MB"),
                    gain: parts(gain),
                    margin: parts(margin),
                    errors: parts(errors),
                    floor,
                    initial: floor,
                    ceiling: class(cap),
                    count_cap_bytes: 1 << 40,
                };
                let parameters = DpParameters::new(settings).expect("the program's settings make sense");
                Mode::Dp(Dp { parameters, estimate_bytes: Some((bytes_per_second * EPOCH_S) as u64) })
            }
        }
    }
}

fn mode_sigma(mode: &Mode) -> Option<Sigma> {
    match mode {
        Mode::Dp(Dp { parameters, .. }) => Some(parameters.settings().sigma),
        Mode::Queue(Queue { settings, .. }) => Sigma::round_up(settings.noise_multiplier * DELTA).ok(),
        Mode::Off | Mode::Constant(_) | Mode::Stepped(_) => None,
    }
}
