//! Where statements run: together with those of other callers ([`group_commit`]), in a transaction of the
//! engine's ([`transaction`], [`in_transaction`]), or step by step in one that somebody else holds ([`stepped`]).

pub mod group_commit;
pub mod in_transaction;
mod maintenance;
pub mod pool_executor;
mod savepoints;
mod scopes;
mod stage_scope;
pub mod stepped;
pub mod transaction;
mod transaction_control;
