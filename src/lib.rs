//! Idempotency keys in PostgreSQL for Node backends.
//!
//! The crate has two rooms. [`engine`] keeps idempotency keys and knows no JavaScript; `node` is
//! the door that shows the engine to Node through napi-rs. The dependency runs one way: `node`
//! uses `engine`.

pub mod engine;
// Only Node can load the door, so it is tested from there.
#[cfg(not(test))]
mod node;
