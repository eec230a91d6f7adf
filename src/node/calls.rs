//! Operations on keys that cross the door together: one native call costs as much as some operations.

use std::sync::Arc;

use napi::bindgen_prelude::ClassInstance;
use serde::Deserialize;

use super::answers::Answers;
use super::lease::Lease;
use super::operation::Operation;
use crate::engine::error::Error;
use crate::engine::protocol::executor::Executor;
use crate::engine::protocol::stage::Claimant;
use crate::engine::protocol::statement::{NewRequest, Request};
use crate::engine::protocol::{lease, operations};

/// One of them.
pub struct Call {
    number: u32,
    /// Boxed, as it changes hands a few times.
    operation: Box<Operation>,
    lease: Option<Arc<lease::Lease>>,
}

/// What JavaScript gives of a call: its number, the operation, which of the leases is its attempt's, and which
/// of the lists of long texts is its own.
type Given = (u32, Box<Operation>, Option<usize>, Option<usize>);

/// Reads a JSON list of calls.
///
/// # Errors
/// When it is none.
pub fn read_calls(
    calls: &str,
    leases: &[ClassInstance<'_, Lease>],
    mut long: Vec<Vec<Option<String>>>,
) -> napi::Result<Vec<Call>> {
    let calls = read::<Vec<Given>>(calls)?.into_iter();
    let calls = calls.map(|(number, mut operation, lease, texts)| {
        if let Some(texts) = texts.and_then(|index| long.get_mut(index)) {
            operation.take_long(texts);
        }
        let lease = lease.and_then(|index| leases.get(index)).map(|lease| lease.shared());
        Call { number, operation, lease }
    });
    Ok(calls.collect())
}

impl Call {
    /// Begins the call, and answers it.
    pub fn begin<E>(self, answers: &Answers, executor: Result<E, Error>)
    where
        E: Executor + 'static,
    {
        let Self { number, operation, lease } = self;
        answers
            .answer_key(number, async move { operation.run(&executor?, lease.as_deref()).await });
    }
}

/// Who wants to run a stage: the attempt with a lease, or else anyone.
pub fn claimant(lease: Option<&Lease>, recovery_point: Option<String>) -> Claimant {
    match lease {
        Some(lease) => Claimant::LeaseHolder(lease.shared(), recovery_point),
        None => Claimant::Anyone,
    }
}

/// A request whose key nobody has used yet, as JavaScript gives it. A key that is not given is made.
#[derive(Deserialize)]
pub struct NewlyAsked {
    key: Option<String>,
    request: Request,
}

impl NewlyAsked {
    /// The same for the attempt with this lease.
    pub fn with_lease(self, lease: &lease::Lease) -> NewRequest {
        let Self { key, request } = self;
        let key = key.unwrap_or_else(operations::new_key);
        NewRequest { id: operations::new_id(), key, request, lease: lease.duration() }
    }
}

/// Reads JSON.
///
/// # Errors
/// When it is not of the type.
pub fn read<'a, T: Deserialize<'a>>(json: &'a str) -> napi::Result<T> {
    serde_json::from_str(json).map_err(|error| napi::Error::from_reason(error.to_string()))
}
