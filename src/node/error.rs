//! How an engine error becomes JavaScript: as data, for which `lib/errors/table.js` has the words.

use napi_derive::napi;
use serde::Serialize;

use crate::engine::error::{ConnectionError, ConnectionProblem, DatabaseError, Error};

/// Why a call failed.
#[napi(object, object_from_js = false)]
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// Its name in `lib/errors/table.js`.
    pub kind: &'static str,
    /// The SQLSTATE or system error that the database, the connection or the work failed with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The idempotency key, or the columns of the selector, that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Host, port and database.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// What the server, the system or a check says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How many stages are running.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub running: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub during_commit: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lacks_table: Option<bool>,
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
        match error {
            Error::NotFound(key) => Self::about("not_found", key),
            Error::NoneSelected(selector) => Self::about("none_selected", selector),
            Error::SeveralSelected(selector) => Self::about("several_selected", selector),
            Error::Locked => Self::of("locked"),
            Error::InUse(key) => Self::about("in_use", key),
            Error::LeaseLost(key) => Self::about("lease_lost", key),
            Error::Interrupted(key) => Self::about("interrupted", key),
            Error::Finished(key) => Self::about("finished", key),
            Error::Released(key) => Self::about("released", key),
            Error::Reused(key) => Self::about("reused", key),
            Error::InvalidKey => Self::of("invalid_key"),
            Error::Busy(key) => Self::about("busy", key),
            Error::InvalidArgument(reason) => Self::because("invalid_argument", reason),
            Error::InvalidData(reason) => Self::because("invalid_data", reason),
            Error::TransactionControl(word) => Self::because("transaction_control", word),
            Error::TransactionEnded => Self::of("transaction_ended"),
            Error::RolledBack => Self::of("rolled_back"),
            Error::OverlappingSavepoints => Self::of("overlapping_savepoints"),
            Error::Closed => Self::of("closed"),
            Error::CloseTimedOut { target } => {
                Self { target: Some(target), ..Self::of("close_timed_out") }
            }
            Error::StagesExhausted { running, target } => Self {
                running: u32::try_from(running).ok(),
                target: Some(target),
                ..Self::of("stages_exhausted")
            },
            Error::BatchLost => Self::of("batch_lost"),
            Error::CallLost(reason) => Self::because("call_lost", reason),
            Error::RowSwallowed => Self::of("row_swallowed"),
            Error::OperationStuck => Self::of("operation_stuck"),
            Error::Database(error) => (*error).into(),
            Error::Connection(error) => (*error).into(),
            Error::Work { code } => Self { code, ..Self::of("work") },
        }
    }
}

impl Failure {
    fn of(kind: &'static str) -> Self {
        Self { kind, ..Self::default() }
    }

    fn about(kind: &'static str, key: String) -> Self {
        Self { key: Some(key), ..Self::of(kind) }
    }

    fn because(kind: &'static str, reason: String) -> Self {
        Self { reason: Some(reason), ..Self::of(kind) }
    }
}

impl From<ConnectionError> for Failure {
    fn from(error: ConnectionError) -> Self {
        let failure = match error.problem {
            ConnectionProblem::Lost(reason) => Self::because("connection_lost", reason),
            ConnectionProblem::Ended(reason) => Self::because("connection_ended", reason),
            ConnectionProblem::NotOpened => Self::of("connection_not_opened"),
            ConnectionProblem::NoneFree => Self::of("no_connection_free"),
            ConnectionProblem::NoAnswer => Self::of("no_answer"),
            ConnectionProblem::NoPassword(reason) => Self::because("no_password", reason),
            ConnectionProblem::WrongState => Self::of("wrong_server_state"),
            ConnectionProblem::StatementPooling => Self::of("statement_pooling"),
        };
        Self {
            code: Some(error.code),
            target: Some(error.target),
            during_commit: error.during_commit.then_some(true),
            ..failure
        }
    }
}

impl From<DatabaseError> for Failure {
    fn from(error: DatabaseError) -> Self {
        Self {
            code: Some(error.code),
            reason: Some(error.message),
            severity: Some(error.severity),
            detail: error.detail,
            hint: error.hint,
            schema: error.schema,
            table: error.table,
            column: error.column,
            data_type: error.data_type,
            constraint: error.constraint,
            lacks_table: error.lacks_table.then_some(true),
            ..Self::of("database")
        }
    }
}
