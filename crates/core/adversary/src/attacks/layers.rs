//! The layers of a small neural network: each computes forwards, and backwards from the loss's slope by its output to
//! the slopes by its input and its weights.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// Positions that a pooling layer takes together.
pub(super) const POOLED: usize = 4;
/// Adam's constants (Kingma and Ba, 2015), the usual ones but for the step.
const STEP: f32 = 2e-3;
const FIRST_DECAY: f32 = 0.9;
const SECOND_DECAY: f32 = 0.999;
const TINY: f32 = 1e-8;

/// Numbers that are learnt, with the memory that Adam needs for each.
#[derive(Clone, Debug)]
pub(super) struct Weights {
    pub(super) values: Vec<f32>,
    pub(super) slopes: Vec<f32>,
    first: Vec<f32>,
    second: Vec<f32>,
    steps: i32,
}

impl Weights {
    /// Random weights for a layer with so many inputs to each output (He et al., 2015), and biases of zero behind them.
    fn new(count: usize, biases: usize, inputs: usize, generator: &mut ChaCha8Rng) -> Self {
        let scale = (6.0 / inputs as f32).sqrt();
        let mut values: Vec<f32> = (0..count).map(|_| generator.random_range(-scale..scale)).collect();
        values.resize(count + biases, 0.0);
        let zeroes = vec![0.0; values.len()];
        Self { values, slopes: zeroes.clone(), first: zeroes.clone(), second: zeroes, steps: 0 }
    }

    /// One step of Adam down the mean slope of a batch, and zeroes for the next.
    pub(super) fn learn(&mut self, batch: usize) {
        self.steps += 1;
        let (first_bias, second_bias) = (1.0 - FIRST_DECAY.powi(self.steps), 1.0 - SECOND_DECAY.powi(self.steps));
        let memory = self.first.iter_mut().zip(&mut self.second);
        for ((value, slope), (first, second)) in self.values.iter_mut().zip(&mut self.slopes).zip(memory) {
            let mean = *slope / batch.max(1) as f32;
            *first = FIRST_DECAY * *first + (1.0 - FIRST_DECAY) * mean;
            *second = SECOND_DECAY * *second + (1.0 - SECOND_DECAY) * mean * mean;
            *value -= STEP * (*first / first_bias) / ((*second / second_bias).sqrt() + TINY);
            *slope = 0.0;
        }
    }
}

/// Every output sees every input.
#[derive(Clone, Debug)]
pub(super) struct Dense {
    inputs: usize,
    outputs: usize,
    pub(super) weights: Weights,
}

impl Dense {
    pub(super) fn new(inputs: usize, outputs: usize, generator: &mut ChaCha8Rng) -> Self {
        Self { inputs, outputs, weights: Weights::new(inputs * outputs, outputs, inputs, generator) }
    }

    pub(super) fn forward(&self, input: &[f32]) -> Vec<f32> {
        let (rows, biases) = self.weights.values.split_at(self.inputs * self.outputs);
        let dot = |row: &[f32]| row.iter().zip(input).map(|(weight, value)| weight * value).sum::<f32>();
        rows.chunks_exact(self.inputs).zip(biases).map(|(row, bias)| dot(row) + bias).collect()
    }

    pub(super) fn backward(&mut self, input: &[f32], slopes: &[f32]) -> Vec<f32> {
        let (rows, _) = self.weights.values.split_at(self.inputs * self.outputs);
        let (row_slopes, bias_slopes) = self.weights.slopes.split_at_mut(self.inputs * self.outputs);
        let mut by_input = vec![0.0; self.inputs];
        for (output, &slope) in slopes.iter().enumerate() {
            let row = output * self.inputs..(output + 1) * self.inputs;
            add_scaled(&mut by_input, slope, &rows[row.clone()]);
            add_scaled(&mut row_slopes[row], slope, input);
            bias_slopes[output] += slope;
        }
        by_input
    }
}

/// Every output sees a neighbourhood of each input channel; what lies beyond the ends counts as zero.
#[derive(Clone, Debug)]
pub(super) struct Convolution {
    channels: usize,
    filters: usize,
    /// Neighbours that are seen, an odd number.
    width: usize,
    pub(super) weights: Weights,
}

impl Convolution {
    pub(super) fn new(channels: usize, filters: usize, width: usize, generator: &mut ChaCha8Rng) -> Self {
        let inputs = channels * width;
        Self { channels, filters, width, weights: Weights::new(inputs * filters, filters, inputs, generator) }
    }

    /// From `channels` sequences of equal length, one after the other, to `filters` of the same length.
    pub(super) fn forward(&self, input: &[f32]) -> Vec<f32> {
        let length = input.len() / self.channels;
        let biases = &self.weights.values[self.channels * self.filters * self.width..];
        let mut output: Vec<f32> = biases.iter().flat_map(|&bias| std::iter::repeat_n(bias, length)).collect();
        for (filter, channel, tap) in self.taps() {
            let weight = self.weights.values[self.place(filter, channel, tap)];
            let (to, from) = self.overlap(tap, length);
            add_scaled(&mut output[filter * length..][to], weight, &input[channel * length..][from]);
        }
        output
    }

    pub(super) fn backward(&mut self, input: &[f32], slopes: &[f32]) -> Vec<f32> {
        let length = input.len() / self.channels;
        let mut by_input = vec![0.0; input.len()];
        for (filter, channel, tap) in self.taps() {
            let place = self.place(filter, channel, tap);
            let (to, from) = self.overlap(tap, length);
            let slopes = &slopes[filter * length..][to];
            let seen = &input[channel * length..][from.clone()];
            self.weights.slopes[place] += slopes.iter().zip(seen).map(|(slope, value)| slope * value).sum::<f32>();
            add_scaled(&mut by_input[channel * length..][from], self.weights.values[place], slopes);
        }
        let biases = self.channels * self.filters * self.width;
        for (bias, slopes) in self.weights.slopes[biases..].iter_mut().zip(slopes.chunks_exact(length)) {
            *bias += slopes.iter().sum::<f32>();
        }
        by_input
    }

    fn taps(&self) -> impl Iterator<Item = (usize, usize, usize)> + use<> {
        let (filters, channels, width) = (self.filters, self.channels, self.width);
        (0..filters).flat_map(move |filter| {
            (0..channels).flat_map(move |channel| (0..width).map(move |tap| (filter, channel, tap)))
        })
    }

    fn place(&self, filter: usize, channel: usize, tap: usize) -> usize {
        (filter * self.channels + channel) * self.width + tap
    }

    /// The outputs that a tap contributes to, and the inputs that it sees for them.
    fn overlap(&self, tap: usize, length: usize) -> (std::ops::Range<usize>, std::ops::Range<usize>) {
        let middle = self.width / 2;
        let (ahead, behind) = (tap.saturating_sub(middle).min(length), middle.saturating_sub(tap).min(length));
        (behind..length - ahead, ahead..length - behind)
    }
}

/// The largest of each [`POOLED`] neighbours if it is positive, else zero; a rest at the end is dropped.
pub(super) fn pool(input: &[f32], channels: usize) -> Vec<f32> {
    let length = input.len() / channels;
    let groups = input.chunks_exact(length).flat_map(|channel| channel.chunks_exact(POOLED));
    groups.map(|group| group.iter().copied().fold(0.0, f32::max)).collect()
}

/// Hands each slope to the input that was the largest.
pub(super) fn pool_backward(input: &[f32], channels: usize, slopes: &[f32]) -> Vec<f32> {
    let length = input.len() / channels;
    let mut by_input = vec![0.0; input.len()];
    let groups = input.chunks_exact(length).zip(by_input.chunks_exact_mut(length));
    let groups = groups.flat_map(|(input, by_input)| input.chunks_exact(POOLED).zip(by_input.chunks_exact_mut(POOLED)));
    for ((group, by_group), &slope) in groups.zip(slopes) {
        let largest = (0..POOLED).max_by(|left, right| group[*left].total_cmp(&group[*right])).unwrap_or(0);
        if group[largest] > 0.0 {
            by_group[largest] = slope;
        }
    }
    by_input
}

fn add_scaled(sums: &mut [f32], factor: f32, values: &[f32]) {
    for (sum, value) in sums.iter_mut().zip(values) {
        *sum += factor * value;
    }
}
