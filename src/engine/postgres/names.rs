//! The names of prepared statements.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use uuid::Uuid;

/// Tells what is prepared from what others have: behind a pooler a connection has many users.
static PROCESS: LazyLock<String> =
    LazyLock::new(|| format!("idempotency_{:.16}", Uuid::new_v4().simple().to_string()));
static NUMBER: AtomicU64 = AtomicU64::new(0);

/// A name for a prepared statement, which nobody else has.
pub fn new_name() -> String {
    format!("{}_{}", *PROCESS, NUMBER.fetch_add(1, Ordering::Relaxed))
}
