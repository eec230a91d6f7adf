//! Selectors: from conditions on columns to a WHERE clause.

use serde::Deserialize;

use crate::engine::error::Error;

/// What describes keys: any of the alternatives, each of which holds when all its conditions do.
#[derive(Clone, Debug)]
pub struct Selector {
    /// The selector as its caller wrote it, as JSON text, for messages.
    pub constraints: String,
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

/// The columns of the table with the type that text for them is cast to.
pub const COLUMNS: [(&str, &str); 10] = [
    ("id", "text"),
    ("idempotency_key", "text"),
    ("created_at", "timestamptz"),
    ("locked_at", "timestamptz"),
    ("request_method", "text"),
    ("request_params", "jsonb"),
    ("request_path", "text"),
    ("response_code", "int"),
    ("response_body", "jsonb"),
    ("recovery_point", "text"),
];

impl Selector {
    /// Reads the alternatives from JSON: `[[{column, predicate: {operator, operand}}, …], …]`.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a column that the table does not have and for JSON of another
    /// shape.
    pub fn from_json(constraints: String, alternatives: &str) -> Result<Self, Error> {
        let alternatives: Vec<Vec<Condition>> = serde_json::from_str(alternatives)
            .map_err(|error| Error::InvalidArgument(format!("not a selector: {error}")))?;
        for condition in alternatives.iter().flatten() {
            type_of(&condition.column)?;
        }
        Ok(Self { constraints, alternatives })
    }

    /// Writes the WHERE clause's expression and adds its values to the statement's parameters.
    pub fn write(&self, parameters: &mut Vec<Option<String>>) -> String {
        if self.alternatives.is_empty() {
            return "TRUE".to_owned();
        }
        let mut writer = Writer { parameters };
        let alternatives = self.alternatives.iter().map(|conditions| {
            let conditions = conditions.iter().map(|condition| writer.condition(condition));
            join(conditions, " AND ", "TRUE")
        });
        join(alternatives, " OR ", "TRUE")
    }
}

/// The SQL type that text for a column is cast to.
fn type_of(column: &str) -> Result<&'static str, Error> {
    COLUMNS.iter().find(|(name, _)| *name == column).map(|(_, sql_type)| *sql_type).ok_or_else(
        || {
            Error::InvalidArgument(format!(
                "Property \"{column}\" was not found in \"IdempotencyKey\". \
                 Make sure your query is correct."
            ))
        },
    )
}

struct Writer<'a> {
    parameters: &'a mut Vec<Option<String>>,
}

impl Writer<'_> {
    fn condition(&mut self, condition: &Condition) -> String {
        // `from_json` has checked the name: it is one of ours, and safe to write.
        let column = condition.column.as_str();
        let sql_type = type_of(column).unwrap_or("text");
        self.predicate(column, sql_type, &condition.predicate)
    }

    fn predicate(&mut self, column: &str, sql_type: &str, predicate: &Predicate) -> String {
        let mut compare = |operator: &str, operand: &Operand| {
            let left = self.column(column, operand);
            format!("{left} {operator} {}", self.operand(sql_type, operand))
        };
        match predicate {
            Predicate::Equal(operand) => compare("=", operand),
            Predicate::LessThan(operand) => compare("<", operand),
            Predicate::LessThanOrEqual(operand) => compare("<=", operand),
            Predicate::MoreThan(operand) => compare(">", operand),
            Predicate::MoreThanOrEqual(operand) => compare(">=", operand),
            Predicate::JsonContains(operand) => compare("@>", operand),
            Predicate::Like(operand) => {
                format!("{column} LIKE {}", self.operand("text", operand))
            }
            Predicate::Ilike(operand) => {
                format!("{column} ILIKE {}", self.operand("text", operand))
            }
            Predicate::Between(low, high) => {
                join([compare(">=", low), compare("<=", high)].into_iter(), " AND ", "TRUE")
            }
            Predicate::In(operands) => {
                join(operands.iter().map(|operand| compare("=", operand)), " OR ", "FALSE")
            }
            Predicate::IsNull => format!("{column} IS NULL"),
            Predicate::Not(inner) => format!("NOT ({})", self.predicate(column, sql_type, inner)),
            Predicate::And(all) => {
                let all = all.iter().map(|one| self.predicate(column, sql_type, one));
                join(all, " AND ", "TRUE")
            }
        }
    }

    fn column(&self, column: &str, operand: &Operand) -> String {
        if operand.date {
            format!("date_trunc('milliseconds', {column})")
        } else {
            column.to_owned()
        }
    }

    fn operand(&mut self, sql_type: &str, operand: &Operand) -> String {
        self.parameters.push(operand.text.clone());
        format!("CAST(CAST(${} AS text) AS {sql_type})", self.parameters.len())
    }
}

/// Joins SQL expressions, each in parentheses; `none` stands for no expression at all.
fn join(parts: impl Iterator<Item = String>, with: &str, none: &str) -> String {
    let parts: Vec<String> = parts.map(|part| format!("({part})")).collect();
    if parts.is_empty() {
        return none.to_owned();
    }
    parts.join(with)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(alternatives: &str) -> (String, Vec<Option<String>>) {
        let mut parameters = Vec::new();
        let selector = Selector::from_json(String::new(), alternatives).unwrap();
        (selector.write(&mut parameters), parameters)
    }

    #[test]
    fn alternatives_are_joined_by_or_and_conditions_by_and() {
        let (sql, parameters) = written(
            r#"[[{"column":"id","predicate":{"operator":"equal","operand":{"text":"a"}}},
                 {"column":"locked_at","predicate":{"operator":"isNull"}}],
                [{"column":"response_code","predicate":{"operator":"in","operand":[]}}]]"#,
        );
        assert_eq!(
            sql,
            "((id = CAST(CAST($1 AS text) AS text)) AND (locked_at IS NULL)) OR ((FALSE))"
        );
        assert_eq!(parameters, [Some("a".to_owned())]);
    }

    #[test]
    fn a_column_that_is_none_is_named_and_never_written() {
        let error = Selector::from_json(
            String::new(),
            r#"[[{"column":"x\" OR 1=1","predicate":{"operator":"isNull"}}]]"#,
        )
        .unwrap_err();
        assert!(error.to_string().contains("x\" OR 1=1"), "{error}");
    }
}
