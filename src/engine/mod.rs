//! The idempotency engine: pure Rust, knows no JavaScript.
//!
//! An *operation* ([`operations`], [`stage`]) decides what has to happen to a key and says so as a
//! [`statement::Statement`]. A *session* ([`session::Session`]) is where statements run: on the pool
//! ([`pool`]), there together with those of other callers ([`group_commit`]), inside a transaction of
//! the engine's ([`transaction`]), or in one that somebody else holds ([`foreign`]). [`sql`] and
//! [`batch_sql`] alone know how a statement is written.

pub mod batch_sql;
pub mod error;
pub mod foreign;
pub mod group_commit;
pub mod key;
pub mod lease;
pub mod operations;
pub mod pool;
pub mod query;
pub mod request;
mod schema;
pub mod selector;
pub mod session;
pub mod settings;
pub mod sql;
pub mod stage;
pub mod statement;
pub mod transaction;
mod transaction_control;
pub mod value;
