//! Work that JavaScript does inside a transaction.

use napi::Status;
use napi::bindgen_prelude::{JsValuesTupleIntoVec, Promise};
use napi::threadsafe_function::ThreadsafeFunction;
use napi_derive::napi;
use serde::Deserialize;

use super::answers::Environment;
use crate::engine::error::Error;
use crate::engine::key::StageResult;

/// A JavaScript function that does work with a transaction `T`. It is one of `lib/`, which wraps the
/// user's: it always returns a promise, and that never rejects.
pub type Work<T> = ThreadsafeFunction<T, Promise<WorkDone>, T, Status, false>;

/// How the work ended. What a failed user's function threw stays in JavaScript.
#[napi(object, object_to_js = false)]
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkDone {
    /// Whether the work failed.
    pub failed: bool,
    /// The `code` of what it failed with, if that is text.
    pub code: Option<String>,
    /// Recovery point of a stage that does not finish the request.
    pub recovery_point: Option<String>,
    /// HTTP status, as text.
    pub response_code: Option<String>,
    /// Body, as JSON text.
    pub response_body: Option<String>,
    /// Headers, as JSON text, where the table has the column for them.
    pub response_headers: Option<String>,
}

/// Calls the work and waits for its end.
///
/// # Errors
/// [`Error::Work`] when it failed, or when its JavaScript thread ended before it did.
pub async fn run<T: JsValuesTupleIntoVec + Send + 'static>(
    work: &Work<T>,
    transaction: T,
    environment: Environment,
) -> Result<StageResult, Error> {
    let done = async {
        let promise = work.call_async_catch(transaction).await?;
        promise.await
    };
    tokio::select! {
        biased;
        done = done => done.unwrap_or_else(|_| WorkDone::failed()).into(),
        // napi-rs forgets the calls that an environment has not come to before its end.
        () = environment.ended() => WorkDone::failed().into(),
    }
}

impl WorkDone {
    fn failed() -> Self {
        Self {
            failed: true,
            code: None,
            recovery_point: None,
            response_code: None,
            response_body: None,
            response_headers: None,
        }
    }
}

impl From<WorkDone> for Result<StageResult, Error> {
    fn from(done: WorkDone) -> Self {
        match done {
            WorkDone { failed: true, code, .. } => Err(Error::Work { code }),
            WorkDone { recovery_point: Some(point), .. } => Ok(StageResult::RecoveryPoint(point)),
            WorkDone { response_code, response_body, response_headers, .. } => {
                Ok(StageResult::Finished { response_code, response_body, response_headers })
            }
        }
    }
}
