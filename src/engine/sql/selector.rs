//! From a selector to the expression of a WHERE clause.

use crate::engine::key::Column;
use crate::engine::protocol::selector::{Condition, Operand, Piece, Predicate, Selector};

/// Writes the expression and adds its values to the statement's parameters.
pub fn condition(selector: &Selector, parameters: &mut Vec<Option<String>>) -> String {
    if selector.alternatives.is_empty() {
        return "TRUE".to_owned();
    }
    let mut writer = Writer { parameters };
    let alternatives = selector.alternatives.iter().map(|conditions| {
        let conditions = conditions.iter().map(|condition| writer.condition(condition));
        join(conditions, " AND ", "TRUE")
    });
    join(alternatives, " OR ", "TRUE")
}

struct Writer<'a> {
    parameters: &'a mut Vec<Option<String>>,
}

impl Writer<'_> {
    fn condition(&mut self, condition: &Condition) -> String {
        // `from_json` has checked the name. What is written is the table's own, never the caller's text; but for
        // the SQL that a developer has written.
        match Column::named(&condition.column) {
            Some(column) => self.predicate(column.name(), column.sql_type(), &condition.predicate),
            None => "FALSE".to_owned(),
        }
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
            // A comment at its end must not reach what follows.
            Predicate::Raw(pieces) => {
                pieces.iter().map(|piece| self.piece(piece)).collect::<String>() + "\n"
            }
        }
    }

    fn piece(&mut self, piece: &Piece) -> String {
        match piece {
            Piece::Sql(sql) => sql.clone(),
            Piece::Value(text) => {
                self.parameters.push(text.clone());
                format!("${}", self.parameters.len())
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
        let selector = Selector::from_json(alternatives).unwrap();
        (condition(&selector, &mut parameters), parameters)
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
    fn raw_sql_stands_as_it_is_and_its_values_are_parameters() {
        let (sql, parameters) = written(
            r#"[[{"column":"id","predicate":{"operator":"equal","operand":{"text":"a"}}},
                 {"column":"id","predicate":{"operator":"raw","operand":
                   [{"sql":"length(id) > "},{"value":"3"},{"sql":" -- long"}]}}]]"#,
        );
        assert_eq!(sql, "((id = CAST(CAST($1 AS text) AS text)) AND (length(id) > $2 -- long\n))");
        assert_eq!(parameters, [Some("a".to_owned()), Some("3".to_owned())]);
    }

    #[test]
    fn a_column_that_is_none_is_named_and_never_written() {
        let error =
            Selector::from_json(r#"[[{"column":"x\" OR 1=1","predicate":{"operator":"isNull"}}]]"#)
                .unwrap_err();
        assert!(error.to_string().contains("x\" OR 1=1"), "{error}");
    }
}
