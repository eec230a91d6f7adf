//! Work that JavaScript does inside a transaction.
//!
//! It is asked for on the way of the answers, by the number of the call that it belongs to, and JavaScript says how
//! it ended on JavaScript's thread, where the stage goes on at once. A thread-safe function and a promise for each work
//! would cost both sides more, and would wake the engine's thread.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use napi_derive::napi;
use serde::Deserialize;
use tokio::sync::oneshot;

use super::key::KeyRow;
use super::outbox::Outbox;
use crate::engine::error::Error;
use crate::engine::execution::transaction::Transaction;
use crate::engine::key::{IdempotencyKey, StageResult};

/// What stands for the outcome of a call where it asks for its work.
const WORK: &str = "work";

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

/// The work that JavaScript does for a call.
#[derive(Clone)]
pub struct Work {
    pub call: u32,
    pub works: Arc<Works>,
    pub outbox: Arc<Outbox>,
}

impl Work {
    /// Has it done in a transaction, and waits for its end. JavaScript receives the call's number, the key if the
    /// transaction has inserted one, and [`WORK`].
    ///
    /// # Errors
    /// [`Error::Work`] when it failed, or when its JavaScript thread ended before it did.
    pub async fn run(
        &self,
        transaction: Weak<Transaction>,
        key: Option<IdempotencyKey>,
    ) -> Result<StageResult, Error> {
        let Self { call, works, outbox } = self;
        // Before it is asked for: JavaScript may take what is delivered at any time.
        let end = works.add(*call, transaction);
        let asked = outbox.put(&(*call, key.map(KeyRow), (), WORK));
        let done = match asked {
            Err(error) => Err(Error::CallLost(error.to_string())),
            Ok(()) => tokio::select! {
                biased;
                done = end => done.map_or(Err(Error::Work { code: None }), Into::into),
                () = outbox.environment().ended() => Err(Error::Work { code: None }),
            },
        };
        works.forget(*call);
        done
    }
}

/// The works that JavaScript was asked for, by the numbers of their calls.
#[derive(Default)]
pub struct Works(Mutex<HashMap<u32, Asked>>);

struct Asked {
    /// What the work is done in, until JavaScript takes it. Weak: the stage owns it.
    transaction: Option<Weak<Transaction>>,
    done: oneshot::Sender<WorkDone>,
}

impl Works {
    fn add(&self, call: u32, transaction: Weak<Transaction>) -> oneshot::Receiver<WorkDone> {
        let (done, end) = oneshot::channel();
        self.asked().insert(call, Asked { transaction: Some(transaction), done });
        end
    }

    /// What the work of a call is to be done in, unless nobody waits for it any more.
    pub fn take_transaction(&self, call: u32) -> Option<Weak<Transaction>> {
        self.asked().get_mut(&call)?.transaction.take()
    }

    /// Tells a call how its work ended.
    pub fn end(&self, call: u32, done: WorkDone) {
        let asked = self.asked().remove(&call);
        if let Some(asked) = asked {
            // Refused only when nobody waits for it any more.
            let _ = asked.done.send(done);
        }
    }

    fn forget(&self, call: u32) {
        self.asked().remove(&call);
    }

    fn asked(&self) -> MutexGuard<'_, HashMap<u32, Asked>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
