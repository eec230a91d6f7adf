//! Connections to PostgreSQL, and what crosses them.

pub mod pool;
pub mod query;
pub mod settings;
pub mod value;
