//! A random forest (Breiman, 2001): many decision trees, each grown on its own draw of the observations and asked about
//! a random choice of features at each split; their leaves' class shares are averaged.
//!
//! Features are coded by rank first ([`Coded`]), so the best cut of a feature is one pass over at most 64 counters. A
//! seed decides everything, on every machine.

use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::table::{CODES_MAX, Coded};

/// How a forest is grown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Growth {
    /// Number of trees, at least 1.
    pub(crate) trees: u16,
    /// Splits from the root to a leaf at most.
    pub(crate) depth_max: u16,
    /// Observations (with repetitions) that a leaf holds at least, at least 1.
    pub(crate) leaf_min: u32,
}

/// A grown forest.
#[derive(Clone, Debug)]
pub(crate) struct Forest {
    trees: Vec<Tree>,
    classes: usize,
}

#[derive(Clone, Debug)]
struct Tree {
    nodes: Vec<Node>,
    /// Class shares of the leaves, one after the other.
    shares: Vec<f32>,
}

#[derive(Clone, Copy, Debug)]
enum Node {
    /// Codes up to `code` go to the node `below`, all others to the one after it.
    Split { column: u32, code: u8, below: u32 },
    /// Class shares from this place on.
    Leaf { shares: u32 },
}

impl Forest {
    /// Grows a forest from some rows of a table. `classes[row]` is the class of a row, below `class_count`.
    pub(crate) fn grow(
        table: &Coded,
        classes: &[u16],
        class_count: usize,
        rows: &[usize],
        growth: Growth,
        seed: u64,
    ) -> Self {
        let mut grower = Grower {
            table,
            classes,
            class_count,
            growth,
            generator: ChaCha8Rng::seed_from_u64(seed),
            columns: (0..table.columns()).collect(),
            counts: vec![0; CODES_MAX * class_count],
        };
        Self { trees: (0..growth.trees.max(1)).map(|_| grower.tree(rows)).collect(), classes: class_count }
    }

    /// The share of each class that the trees give a row: its chances, in the forest's opinion. They add up to 1.
    pub(crate) fn shares(&self, table: &Coded, row: usize) -> Vec<f32> {
        let mut shares = vec![0.0; self.classes];
        for tree in &self.trees {
            for (sum, share) in shares.iter_mut().zip(tree.leaf(table, row, self.classes)) {
                *sum += share;
            }
        }
        shares.iter_mut().for_each(|share| *share /= self.trees.len() as f32);
        shares
    }
}

impl Tree {
    fn leaf(&self, table: &Coded, row: usize, classes: usize) -> &[f32] {
        let mut node = 0;
        loop {
            match self.nodes[node] {
                Node::Split { column, code, below } => {
                    let is_above = table.column(column as usize)[row] > code;
                    node = below as usize + usize::from(is_above);
                }
                Node::Leaf { shares } => return &self.shares[shares as usize..shares as usize + classes],
            }
        }
    }
}

/// What is the same for all trees, and the memory that they use in turn.
struct Grower<'a> {
    table: &'a Coded,
    classes: &'a [u16],
    class_count: usize,
    growth: Growth,
    generator: ChaCha8Rng,
    /// All features, in an order that changes.
    columns: Vec<usize>,
    /// Observations by code and class, of the node and feature that are looked at.
    counts: Vec<u32>,
}

/// A part of the drawn rows that waits for its node.
struct Waiting {
    node: usize,
    from: usize,
    to: usize,
    depth: u16,
}

#[derive(Clone, Copy)]
struct Cut {
    gain: f64,
    column: usize,
    code: u8,
}

impl Grower<'_> {
    fn tree(&mut self, rows: &[usize]) -> Tree {
        let mut drawn: Vec<usize> = rows.iter().map(|_| rows[self.generator.random_range(0..rows.len())]).collect();
        let mut tree = Tree { nodes: vec![Node::Leaf { shares: 0 }], shares: Vec::new() };
        let mut waiting = vec![Waiting { node: 0, from: 0, to: drawn.len(), depth: 0 }];
        while let Some(next) = waiting.pop() {
            let part = &mut drawn[next.from..next.to];
            let cut = if next.depth < self.growth.depth_max { self.best_cut(part) } else { None };
            let Some(cut) = cut else {
                tree.nodes[next.node] = Node::Leaf { shares: tree.shares.len() as u32 };
                self.add_shares(part, &mut tree.shares);
                continue;
            };
            let codes = self.table.column(cut.column);
            let middle = next.from + partition(part, |row| codes[row] <= cut.code);
            let below = tree.nodes.len();
            tree.nodes[next.node] = Node::Split { column: cut.column as u32, code: cut.code, below: below as u32 };
            tree.nodes.extend([Node::Leaf { shares: 0 }; 2]);
            let depth = next.depth + 1;
            waiting.push(Waiting { node: below, from: next.from, to: middle, depth });
            waiting.push(Waiting { node: below + 1, from: middle, to: next.to, depth });
        }
        tree
    }

    fn add_shares(&self, part: &[usize], shares: &mut Vec<f32>) {
        let start = shares.len();
        shares.resize(start + self.class_count, 0.0);
        for &row in part {
            shares[start + usize::from(self.classes[row])] += 1.0 / part.len() as f32;
        }
    }

    /// The cut among a random choice of features that leaves the purest two parts; `None` if no cut makes them purer
    /// than the whole.
    fn best_cut(&mut self, part: &[usize]) -> Option<Cut> {
        // As many features as the square root of all, which is the usual choice for classes.
        let tried = (self.columns.len() as f64).sqrt().ceil() as usize;
        let chosen = self.columns.partial_shuffle(&mut self.generator, tried).0.to_vec();
        let mut best: Option<Cut> = None;
        for column in chosen {
            let found = self.best_code(part, column);
            if found.is_some_and(|found| best.is_none_or(|best| found.gain > best.gain)) {
                best = found;
            }
        }
        best
    }

    /// The best place to cut one feature: the one with the smallest Gini impurity of the two parts.
    fn best_code(&mut self, part: &[usize], column: usize) -> Option<Cut> {
        /// What counts as purer, so that rounding does not.
        const GAIN_MIN: f64 = 1e-9;
        let codes = self.table.column(column);
        let mut sizes = [0u32; CODES_MAX];
        self.counts.fill(0);
        let mut sweep = Sweep::new(self.class_count, part.len() as u32);
        for &row in part {
            let (code, class) = (usize::from(codes[row]), usize::from(self.classes[row]));
            self.counts[code * self.class_count + class] += 1;
            sizes[code] += 1;
            sweep.above[class] += 1;
        }
        let whole = sweep.start();
        let mut best: Option<Cut> = None;
        for (code, &size) in sizes.iter().enumerate().filter(|(_, size)| **size > 0) {
            let purity = sweep.move_below(&self.counts[code * self.class_count..][..self.class_count], size);
            let leaves_enough = sweep.below_size.min(sweep.above_size) >= self.growth.leaf_min.max(1);
            if leaves_enough && purity - whole > best.map_or(GAIN_MIN, |best| best.gain) {
                best = Some(Cut { gain: purity - whole, column, code: code as u8 });
            }
        }
        best
    }
}

/// The classes below and above a cut that moves upwards, and the sums of their squares.
struct Sweep {
    below: Vec<u32>,
    above: Vec<u32>,
    below_size: u32,
    above_size: u32,
    below_squares: u64,
    above_squares: u64,
}

impl Sweep {
    fn new(class_count: usize, size: u32) -> Self {
        let none = vec![0; class_count];
        Self { below: none.clone(), above: none, below_size: 0, above_size: size, below_squares: 0, above_squares: 0 }
    }

    /// Called when all stand above; returns the purity of the whole.
    fn start(&mut self) -> f64 {
        self.above_squares = self.above.iter().map(|&count| u64::from(count).pow(2)).sum();
        self.purity()
    }

    /// Moves the observations of one code and returns the purity of both parts together.
    fn move_below(&mut self, of_code: &[u32], size: u32) -> f64 {
        for ((below, above), &count) in self.below.iter_mut().zip(&mut self.above).zip(of_code) {
            let (moved, was_below, was_above) = (u64::from(count), u64::from(*below), u64::from(*above));
            self.below_squares += moved * (2 * was_below + moved);
            self.above_squares -= moved * (2 * was_above - moved);
            *below += count;
            *above -= count;
        }
        self.below_size += size;
        self.above_size -= size;
        self.purity()
    }

    /// The sum of squared class counts over the size, of each part: the larger, the purer.
    fn purity(&self) -> f64 {
        let part = |squares: u64, size: u32| squares as f64 / f64::from(size.max(1));
        part(self.below_squares, self.below_size) + part(self.above_squares, self.above_size)
    }
}

/// Moves what `is_below` to the front and returns how many that are.
fn partition(rows: &mut [usize], is_below: impl Fn(usize) -> bool) -> usize {
    let mut below = 0;
    for index in 0..rows.len() {
        if is_below(rows[index]) {
            rows.swap(below, index);
            below += 1;
        }
    }
    below
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Table;

    const GROWTH: Growth = Growth { trees: 30, depth_max: 8, leaf_min: 2 };

    /// Ten features of noise; with a shift, feature 3 of class 1 lies higher.
    fn observations(seed: u64, rows: u16, classes: u16, shift: f64) -> (Coded, Vec<u16>) {
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        let mut table = Table::default();
        let of_row: Vec<u16> = (0..rows).map(|row| row % classes).collect();
        for &class in &of_row {
            let mut row = [0.0; 10];
            row.iter_mut().for_each(|value| *value = generator.random_range(0.0..1.0));
            row[3] += shift * f64::from(class);
            table.push(&row).expect("the rows are alike");
        }
        (Coded::new(&table), of_row)
    }

    fn hits(seed: u64, classes: u16, shift: f64) -> usize {
        let (table, of_row) = observations(seed, 400, classes, shift);
        let (training, tests): (Vec<usize>, Vec<usize>) = (0..400).partition(|row| row % 8 < 4);
        let forest = Forest::grow(&table, &of_row, usize::from(classes), &training, GROWTH, seed);
        let guess = |row| {
            let shares = forest.shares(&table, row);
            (0..shares.len()).max_by(|left, right| shares[*left].total_cmp(&shares[*right])).expect("there are classes")
        };
        tests.iter().filter(|&&row| guess(row) == usize::from(of_row[row])).count()
    }

    #[test]
    fn what_differs_is_learnt_and_noise_is_not() {
        for seed in 0..10 {
            let learnt = hits(seed, 4, 2.0);
            assert!(learnt >= 190, "seed {seed}: {learnt} of 200");
            let by_chance = hits(seed, 4, 0.0);
            assert!((25..80).contains(&by_chance), "seed {seed}: {by_chance} of 200, 50 expected");
        }
    }

    #[test]
    fn two_features_that_only_together_tell_are_learnt() {
        let mut generator = ChaCha8Rng::seed_from_u64(9);
        let mut table = Table::default();
        let mut classes = Vec::new();
        for _ in 0..600 {
            let row: [f64; 2] = [generator.random_range(-1.0..1.0), generator.random_range(-1.0..1.0)];
            classes.push(u16::from(row[0] * row[1] > 0.0));
            table.push(&row).expect("the rows are alike");
        }
        let table = Coded::new(&table);
        let training: Vec<usize> = (0..300).collect();
        let forest = Forest::grow(&table, &classes, 2, &training, GROWTH, 9);
        let right = (300..600).filter(|&row| (forest.shares(&table, row)[1] > 0.5) == (classes[row] == 1)).count();
        assert!(right > 260, "{right} of 300");
    }

    #[test]
    fn a_seed_replays_a_forest_and_shares_add_up() {
        let (table, classes) = observations(5, 200, 3, 0.3);
        let rows: Vec<usize> = (0..200).collect();
        let grow = |seed| Forest::grow(&table, &classes, 3, &rows, GROWTH, seed);
        let (one, same, other) = (grow(1), grow(1), grow(2));
        assert!((0..200).all(|row| one.shares(&table, row) == same.shares(&table, row)));
        assert!((0..200).any(|row| one.shares(&table, row) != other.shares(&table, row)));
        assert!((0..200).all(|row| (one.shares(&table, row).iter().sum::<f32>() - 1.0).abs() < 1e-4));
    }

    #[test]
    fn nothing_to_learn_from() {
        let (table, classes) = observations(5, 20, 2, 0.0);
        let forest = Forest::grow(&table, &classes, 2, &[], GROWTH, 1);
        assert_eq!(forest.shares(&table, 3), [0.0, 0.0]);
        let forest = Forest::grow(&table, &classes, 2, &[4], GROWTH, 1);
        assert_eq!(forest.shares(&table, 3), [1.0, 0.0]);
    }
}
