//! What has to happen to a key: requests, stages, leases. No SQL, no driver.
//!
//! An *operation* ([`operations`], [`request`], [`stage`], [`lease`]) decides what has to happen and says
//! so as a [`statement::Statement`], which an [`executor::Executor`] runs. It returns an [`outcome::Answer`].

pub mod executor;
pub mod lease;
pub mod operations;
pub mod outcome;
pub mod request;
pub mod selector;
pub mod stage;
pub mod statement;
