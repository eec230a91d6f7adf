//! The lease of a key: who works on its request between two stages.
//!
//! The row's lock covers a stage, the lease covers what lies between. It is the time in `locked_at`:
//! it holds for a while after its last sign of life, and its exact value is the *token* that tells it
//! from those before and after it. A [`Lease`] is what one attempt at a request knows of it. Two attempts
//! in one process have two, and so fence each other off as two processes do.

pub mod arbiter;
mod change;
mod knowledge;
mod of_attempt;

pub use self::arbiter::LeaseUse;
pub use self::change::{expire, release, release_now, renew};
pub use self::knowledge::{Beginning, LeaseKnowledge, Standing};
pub use self::of_attempt::{Lease, enter};
