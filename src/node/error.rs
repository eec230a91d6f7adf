//! How an engine error becomes JavaScript: as data, which `lib/errors.js` makes an `Error` of.

use napi_derive::napi;
use serde::Serialize;

use crate::engine::error::{DatabaseError, Error};

/// Why a call failed.
#[napi(object, object_from_js = false)]
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// What `lib/errors.js` makes of it.
    #[napi(ts_type = "'medusa' | 'database' | 'connection' | 'work' | 'plain'")]
    pub kind: &'static str,
    /// Type of a MedusaError.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub r#type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    pub message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub severity: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub constraint: Option<String>,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let failure = Self {
            kind: kind(&error),
            r#type: error.medusa_type(),
            code: error.code().map(str::to_owned),
            message: error.to_string(),
            ..Self::default()
        };
        match error {
            Error::Database(error) => failure.with_details(*error),
            _ => failure,
        }
    }
}

impl Failure {
    fn with_details(self, error: DatabaseError) -> Self {
        Self {
            severity: Some(error.severity),
            detail: error.detail,
            hint: error.hint,
            schema: error.schema,
            table: error.table,
            column: error.column,
            data_type: error.data_type,
            constraint: error.constraint,
            ..self
        }
    }
}

fn kind(error: &Error) -> &'static str {
    match error {
        Error::Database(_) => "database",
        Error::Connection { .. } => "connection",
        Error::Work { .. } => "work",
        Error::SeveralSelected(_) => "plain",
        _ => "medusa",
    }
}
