//! The parameters of the engine's own statements, as the driver sends them, or written into the SQL.

use sqlx::Arguments as _;
use sqlx::postgres::PgArguments;

use crate::engine::error::Error;
use crate::engine::key::Text;
use crate::engine::postgres::literal::literal;
use crate::engine::sql::batch::Array;

/// The parameters of a statement: those of a single one are text, those of a batch are arrays of text.
pub enum Parameters<'a> {
    /// Of a single statement.
    Texts(Vec<Text>),
    /// Of a batch.
    Arrays(Vec<Array<'a>>),
}

impl Parameters<'_> {
    /// As the driver sends them.
    ///
    /// # Errors
    /// [`Error::InvalidData`].
    pub fn arguments(&self) -> Result<PgArguments, Error> {
        let mut arguments = PgArguments::default();
        let added = match self {
            Self::Texts(texts) => texts.iter().try_for_each(|text| arguments.add(text)),
            Self::Arrays(arrays) => arrays.iter().try_for_each(|array| match array {
                Array::Borrowed(values) => arguments.add(values),
                Array::Owned(values) => arguments.add(values),
            }),
        };
        added.map_err(|error| Error::InvalidData(error.to_string()))?;
        Ok(arguments)
    }

    /// As SQL has them.
    ///
    /// # Errors
    /// [`Error::Database`] for text with a NUL character.
    pub fn literals(&self) -> Result<Vec<String>, Error> {
        match self {
            Self::Texts(texts) => texts.iter().map(|text| literal(text.as_deref())).collect(),
            Self::Arrays(arrays) => {
                arrays.iter().map(|array| literal(Some(&text_of(array)))).collect()
            }
        }
    }
}

/// An array as PostgreSQL reads it.
fn text_of(array: &Array<'_>) -> String {
    match array {
        Array::Borrowed(values) => elements(values.iter().copied()),
        Array::Owned(values) => elements(values.iter().map(Option::as_deref)),
    }
}

fn elements<'a>(values: impl Iterator<Item = Option<&'a str>>) -> String {
    let mut text = String::from("{");
    for (index, value) in values.enumerate() {
        if index > 0 {
            text.push(',');
        }
        match value {
            None => text.push_str("NULL"),
            Some(value) => {
                text.push('"');
                text.extend(value.chars().flat_map(|c| {
                    let escape = matches!(c, '"' | '\\').then_some('\\');
                    escape.into_iter().chain([c])
                }));
                text.push('"');
            }
        }
    }
    text.push('}');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_array_is_a_literal_of_quoted_elements() {
        let values = vec![Some("a"), None, Some(r#"b"c\d"#), Some(""), Some("NULL"), Some("it's")];
        let written = Parameters::Arrays(vec![Array::Borrowed(values)]).literals().unwrap();
        assert_eq!(written, [r#"E'{"a",NULL,"b\\"c\\\\d","","NULL","it''s"}'"#]);
        let plain = Array::Owned(vec![Some("x".to_owned())]);
        assert_eq!(Parameters::Arrays(vec![plain]).literals().unwrap(), [r#"'{"x"}'"#]);
    }

    #[test]
    fn texts_are_literals_one_by_one() {
        let texts = Parameters::Texts(vec![Some("it's".to_owned()), None]);
        assert_eq!(texts.literals().unwrap(), ["'it''s'", "NULL"]);
    }
}
