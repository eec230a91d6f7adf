//! How much goes to the server at once.

/// How much goes to the server at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most statements in one batch.
    pub max_batch_rows: usize,
    /// The most bytes that one batch sends, unless one statement alone has more.
    pub max_batch_bytes: usize,
    /// The most statements in the queue; more wait for room, in the order of their arrival.
    pub max_queued: usize,
    /// How many batches are under way at once. At 1024 callers `create` has 1.07 times the throughput
    /// with two that it has with one.
    pub max_in_flight: usize,
    /// How many statements have to wait for a batch to be sent while another is under way.
    pub min_further_batch: usize,
    /// How many reads of one kind have to wait for that; twice as many that nothing is under way for go in halves. At
    /// 64 callers replays have 1.16, `retrieve` 1.13 times the throughput that they have with one batch at a time.
    pub min_further_reads: usize,
    /// How many batches are under way at once when the statements that wait fill one with their bytes. At
    /// 256 callers `create` with 20 kB each has 1.3 times the throughput with three that it has with one.
    pub max_long_in_flight: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_batch_rows: 512,
            max_batch_bytes: 1 << 20,
            max_queued: 16_384,
            max_in_flight: 2,
            min_further_batch: 256,
            min_further_reads: 16,
            max_long_in_flight: 3,
        }
    }
}
