//! Work that JavaScript does inside a transaction.

use std::sync::Arc;

use napi::Status;
use napi::bindgen_prelude::Promise;
use napi::threadsafe_function::ThreadsafeFunction;
use napi_derive::napi;

use super::answers::Environment;
use super::stage_manager::StageManager;
use crate::engine::error::Error;
use crate::engine::execution::transaction::Transaction;
use crate::engine::key::Outcome;

/// A JavaScript function that does work with a transaction. It is one of `lib/`, which wraps the
/// user's: it always returns a promise, and that never rejects.
pub type Work = ThreadsafeFunction<StageManager, Promise<WorkDone>, StageManager, Status, false>;

/// How the work ended. What a failed user's function threw stays in JavaScript.
#[napi(object, object_to_js = false)]
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
}

/// Calls the work and waits for its end.
///
/// # Errors
/// [`Error::Work`] when it failed, or when its JavaScript thread ended before it did.
pub async fn run(
    work: &Work,
    transaction: &Arc<Transaction>,
    environment: Environment,
) -> Result<Outcome, Error> {
    let done = async {
        let promise = work.call_async_catch(StageManager::root(transaction)).await?;
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
        }
    }
}

impl From<WorkDone> for Result<Outcome, Error> {
    fn from(done: WorkDone) -> Self {
        match done {
            WorkDone { failed: true, code, .. } => Err(Error::Work { code }),
            WorkDone { recovery_point: Some(point), .. } => Ok(Outcome::RecoveryPoint(point)),
            WorkDone { response_code, response_body, .. } => {
                Ok(Outcome::Finished { response_code, response_body })
            }
        }
    }
}
