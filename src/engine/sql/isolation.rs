//! How a transaction is isolated from others.

use std::str::FromStr;

use crate::engine::error::Error;

/// How a transaction is isolated from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the levels of the SQL standard
pub enum Isolation {
    ReadUncommitted,
    ReadCommitted,
    RepeatableRead,
    Serializable,
}

impl FromStr for Isolation {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        match name.to_ascii_uppercase().as_str() {
            "READ UNCOMMITTED" => Ok(Self::ReadUncommitted),
            "READ COMMITTED" => Ok(Self::ReadCommitted),
            "REPEATABLE READ" => Ok(Self::RepeatableRead),
            "SERIALIZABLE" => Ok(Self::Serializable),
            _ => Err(Error::InvalidArgument(format!(
                "{name:?} is no isolation level: use \"READ UNCOMMITTED\", \"READ COMMITTED\", \
                 \"REPEATABLE READ\" or \"SERIALIZABLE\""
            ))),
        }
    }
}

impl Isolation {
    /// The statement that opens a transaction at this level.
    pub fn begin(self) -> &'static str {
        match self {
            Self::ReadUncommitted => "BEGIN ISOLATION LEVEL READ UNCOMMITTED",
            Self::ReadCommitted => "BEGIN ISOLATION LEVEL READ COMMITTED",
            Self::RepeatableRead => "BEGIN ISOLATION LEVEL REPEATABLE READ",
            Self::Serializable => "BEGIN ISOLATION LEVEL SERIALIZABLE",
        }
    }
}
