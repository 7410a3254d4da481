//! Compiler flags of the filter that make it smaller. The performance page has what they cost.

/// The inlining thresholds, for calls in general and for calls in loops. LLVM's defaults are 250 and 525, but most loops of the filter
/// run only when a policy is compiled. Small hot functions that exceed these thresholds are marked `#[inline]`. A general threshold of
/// 150 makes the file larger by an eighteenth and saves 16 of 1,000 instructions of a decision. The default for loops makes it larger
/// by a thirty-fifth and saves 2 of 1,000. Verifying a signature takes as many instructions in each case.
pub(super) const INLINING: [&str; 2] =
    ["-Cllvm-args=--inline-threshold=75", "-Cllvm-args=--locally-hot-callsite-threshold=75"];
/// Encodes indices with as few bytes as they need; otherwise the linker pads them to five. Saves a twentieth of the file.
pub(super) const COMPRESSED: &str = "-Clink-arg=--compress-relocations";
