//! Selectors: conditions on the columns of keys.

use serde::Deserialize;

use crate::engine::error::Error;
use crate::engine::key::Column;

/// JSON of `lib/` has the right shape, but it may be nested more deeply than it is read.
const NONE: &str = "not a selector, or one that is nested too deeply";

/// What describes keys: any of the alternatives, each of which holds when all its conditions do.
#[derive(Clone, Debug)]
pub struct Selector {
    /// One list of conditions an alternative.
    pub alternatives: Vec<Vec<Condition>>,
}

/// A condition on one column.
#[derive(Clone, Debug, Deserialize)]
pub struct Condition {
    /// Name of the column.
    pub column: String,
    /// What has to hold for it.
    pub predicate: Predicate,
}

/// What has to hold for a column: the operators of Medusa's selectors and TypeORM's FindOperators.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "operator", content = "operand", rename_all = "camelCase")]
#[allow(missing_docs)] // TypeORM's names
pub enum Predicate {
    Equal(Operand),
    LessThan(Operand),
    LessThanOrEqual(Operand),
    MoreThan(Operand),
    MoreThanOrEqual(Operand),
    Like(Operand),
    Ilike(Operand),
    JsonContains(Operand),
    In(Vec<Operand>),
    Between(Operand, Operand),
    IsNull,
    Not(Box<Predicate>),
    And(Vec<Predicate>),
    Raw(Vec<Piece>),
}

/// A piece of a condition that is a developer's own SQL.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Piece {
    /// SQL, which stands as it is: it is code.
    Sql(String),
    /// A value, whose type the server infers.
    Value(Option<String>),
}

impl Predicate {
    fn is_raw(&self) -> bool {
        match self {
            Self::Raw(_) => true,
            Self::Not(inner) => inner.is_raw(),
            Self::And(all) => all.iter().any(Self::is_raw),
            _ => false,
        }
    }
}

/// A value to compare with.
#[derive(Clone, Debug, Deserialize)]
pub struct Operand {
    /// As PostgreSQL reads it.
    pub text: Option<String>,
    /// Whether it is a JavaScript `Date`, which ends at milliseconds: the column, which goes on to
    /// microseconds, is cut to them before it is compared, or nothing stored would ever equal it.
    #[serde(default)]
    pub date: bool,
}

impl Selector {
    /// Reads the alternatives from JSON: `[[{column, predicate: {operator, operand}}, …], …]`.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a column that the table does not have and for JSON of another
    /// shape.
    pub fn from_json(alternatives: &str) -> Result<Self, Error> {
        let alternatives: Vec<Vec<Condition>> =
            serde_json::from_str(alternatives).map_err(|_| Error::InvalidArgument(NONE.into()))?;
        for Condition { column, .. } in alternatives.iter().flatten() {
            if Column::named(column).is_none() {
                return Err(Error::InvalidArgument(format!(
                    "Property \"{column}\" was not found in \"IdempotencyKey\". \
                     Make sure your query is correct."
                )));
            }
        }
        Ok(Self { alternatives })
    }

    /// Whether SQL of a developer's own is in it.
    pub fn is_raw(&self) -> bool {
        self.alternatives.iter().flatten().any(|condition| condition.predicate.is_raw())
    }

    /// The columns that it has conditions on, for messages: the values may be a client's.
    pub fn constraints(&self) -> String {
        let is_named = |column: &Column| {
            self.alternatives.iter().flatten().any(|condition| condition.column == column.name())
        };
        let names: Vec<&str> = Column::ALL.into_iter().filter(is_named).map(Column::name).collect();
        names.join(", ")
    }
}
