//! How long things may take.

use std::time::Duration;

/// How long a statement waits for a lock before it answers that the key is in use. A callback that changes
/// its own key outside of its transaction would otherwise wait for itself for ever.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);

/// How long things may take on the connections of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Timeouts {
    /// Until a connection is open.
    pub connect: Duration,
    /// Until a statement of the engine's is answered. Those of a caller's own may take any time.
    pub statement: Duration,
    /// Until a connection is free, and until it is a stage's turn.
    pub acquire: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            statement: Duration::from_secs(30),
            acquire: Duration::from_secs(30),
        }
    }
}

impl Timeouts {
    /// Until a lock is granted. Shorter than a statement's, so that the server's own answer comes first: it
    /// says that nothing was done.
    pub fn lock(&self) -> Duration {
        LOCK_TIMEOUT.min(self.statement / 2)
    }
}
