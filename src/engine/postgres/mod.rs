//! Connections to PostgreSQL, and what crosses them.

pub mod connection;
mod connector;
pub mod errors;
mod kept;
pub mod literal;
mod liveness;
pub mod names;
pub mod parameters;
pub mod parts;
pub mod pool;
mod pool_use;
pub mod pool_user;
pub mod query;
pub mod reactor;
pub mod rows;
mod session;
pub mod target;
pub mod text;
pub mod timeouts;
mod traces;
pub mod value;
