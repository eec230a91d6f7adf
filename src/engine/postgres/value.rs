//! Values of a caller's own statements, as they come from JavaScript and go there: text.

/// A parameter as JavaScript gives it.
#[derive(Clone, Debug, PartialEq)]
pub enum Parameter {
    /// SQL `NULL`.
    Null,
    /// Text of whatever type the server infers.
    Text(String),
    /// The binary form itself.
    Binary(Vec<u8>),
    /// A list: a JSON array where the server infers JSON, else an array literal.
    List {
        /// As JSON text, unless it holds what JSON cannot.
        json: Option<String>,
        /// As `{…}`.
        literal: String,
    },
}

/// The rows a statement answers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rows {
    /// Name and type of each column.
    pub columns: Vec<(String, u32)>,
    /// Values as PostgreSQL writes them.
    pub rows: Vec<Vec<Option<String>>>,
}
