//! What has to happen to a key: requests, stages, leases. No SQL, no driver.
//!
//! An *operation* ([`operations`], [`request`], [`stage`], [`lease`]) decides what has to happen and says
//! so as a [`statement::Statement`]. A [`session::Session`] is where statements run.

pub mod lease;
pub mod operations;
pub mod request;
pub mod session;
pub mod stage;
pub mod statement;
