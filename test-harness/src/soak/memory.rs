//! The memory of a process over time.

/// How many samples a judgement needs.
const FEWEST: usize = 12;

/// The resident memory of a process at regular intervals, in KiB.
#[derive(Debug, Default)]
pub(super) struct Samples(Vec<u64>);

impl Samples {
    pub(super) fn push(&mut self, resident: u64) {
        self.0.push(resident);
    }

    /// Returns the memory after the warm-up, which is the first third of the run, and at the end: the median of a sixth of the samples each.
    /// Returns `None` if there are too few.
    pub(super) fn before_and_after(&self) -> Option<(u64, u64)> {
        let count = self.0.len();
        if count < FEWEST {
            return None;
        }
        let before = median(self.0.get(count / 3..count / 2)?)?;
        let after = median(self.0.get(count - count / 6..)?)?;
        Some((before, after))
    }
}

fn median(samples: &[u64]) -> Option<u64> {
    let mut samples = samples.to_vec();
    samples.sort_unstable();
    samples.get(samples.len() / 2).copied()
}
