//! The idempotency engine: pure Rust, knows no JavaScript.
//!
//! Its rooms, from the bottom; each uses only those before it:
//!
//! - [`timestamp`], [`key`], [`error`]: the record of a key, and what can go wrong;
//! - [`protocol`]: what has to happen to a key, without SQL and without a driver;
//! - [`sql`]: how the protocol's statements are written;
//! - [`postgres`]: connections, and what crosses them;
//! - [`execution`]: where statements run.

pub mod error;
pub mod execution;
pub mod key;
pub mod postgres;
pub mod protocol;
pub mod sql;
pub mod timestamp;
