//! The operations on keys, as JavaScript asks for them.

use std::time::Duration;

use serde::Deserialize;

use super::key::{Texts, columns, without_own_json};
use crate::engine::error::Error;
use crate::engine::key::{Column, StageResult, Text};
use crate::engine::protocol::executor::Executor;
use crate::engine::protocol::lease::{self, Lease};
use crate::engine::protocol::outcome::Answer;
use crate::engine::protocol::selector::Selector;
use crate::engine::protocol::statement::Request;
use crate::engine::protocol::{operations, request};

/// An operation, which crosses the door as JSON: one text costs less than many values. What it is given may
/// be a list in this order.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum Operation {
    /// Inserts a key, which is new if it was made for this. The columns are as [`columns`] takes them.
    Create { is_new: bool, named: u32, texts: Texts },
    /// Finds the key of a request or inserts a new one, with Medusa's semantics.
    InitializeRequest { header: Option<String>, request: Request },
    /// Begins the request of a key, takes it over, or finds its answer. Waits so many milliseconds for
    /// one in progress. `key` is as [`super::key::client_key`] reads it; one that is not given is made.
    /// Refuses one whose last attempt was interrupted, if it is to.
    Initialize { key: Option<String>, request: Request, wait: u32, refuse_interrupted: bool },
    /// Finds what has become of the request of a key, which is as [`super::key::client_key`] reads it. Changes
    /// nothing. A lease holds for so many milliseconds.
    Look { key: String, request: Request, lease_timeout: u32 },
    /// Takes over the request of a key that `Look` has found abandoned.
    TakeOver { key: String, request: Request },
    /// Finishes the request of the attempt with an answer.
    Finish { key: String, response_code: Text, response_body: Text, response_headers: Text },
    /// Ends the attempt's lease of a key; without one, a lease that has run out. A lease holds for so many
    /// milliseconds.
    Release { key: String, lease_timeout: u32 },
    /// Finds a key.
    Retrieve { key: String },
    /// Finds the one key that a selector describes, which is JSON text.
    Select { alternatives: String },
    /// Locks a key for so many milliseconds.
    Lock { key: String, hold: u32 },
    /// Changes columns of a key.
    Update { key: String, named: u32, texts: Texts },
}

impl Operation {
    /// Completes it with JSON that was too long for another JSON: the parameters and the body.
    pub fn take_long(&mut self, long: &mut [Option<String>]) {
        if let Self::Create { texts, .. } | Self::Update { texts, .. } = self {
            let json = Column::ALL.into_iter().filter(|column| column.is_json());
            for (column, text) in json.zip(long) {
                texts[column as usize] = text.take();
            }
        }
    }

    /// Runs it, as the attempt that has the lease.
    ///
    /// # Errors
    /// The operation's, and [`Error::InvalidArgument`] if it needs a lease.
    #[expect(clippy::too_many_lines, reason = "a few lines for each operation")]
    pub async fn run(
        self: Box<Self>,
        executor: &dyn Executor,
        lease: Option<&Lease>,
    ) -> Result<Answer, Error> {
        let _use = match lease {
            Some(lease) => Some(lease::enter(executor, lease).await?),
            None => None,
        };
        let key = match *self {
            Self::Initialize { key, request, wait, refuse_interrupted } => {
                let lease = required(lease)?;
                let wait = Duration::from_millis(wait.into());
                let initialized =
                    request::initialize(executor, lease, key, request, wait, refuse_interrupted);
                // Boxed, as all other operations would have room for it.
                return Box::pin(initialized).await;
            }
            Self::Look { key, request, lease_timeout } => {
                let lease = Duration::from_millis(lease_timeout.into());
                return request::look(executor, key, request, lease).await;
            }
            Self::TakeOver { key, request } => {
                let taken_over = request::take_over(executor, required(lease)?, key, request);
                return Box::pin(taken_over).await;
            }
            Self::InitializeRequest { header, request } => {
                return operations::initialize_request(executor, header, request).await;
            }
            Self::Create { is_new, named, texts } => {
                let key = operations::create(executor, columns(named, texts), is_new).await?;
                without_own_json(key, named)
            }
            Self::Finish { key, response_code, response_body, response_headers } => {
                let answer =
                    StageResult::Finished { response_code, response_body, response_headers };
                operations::finish(executor, key, answer, required(lease)?).await?
            }
            Self::Release { key, lease_timeout } => {
                let duration = Duration::from_millis(lease_timeout.into());
                lease::release_now(executor, key, duration, lease).await?
            }
            Self::Retrieve { key } => operations::retrieve(executor, key).await?,
            Self::Select { alternatives } => {
                operations::select(executor, Selector::from_json(&alternatives)?).await?
            }
            Self::Lock { key, hold } => {
                let hold = Duration::from_millis(hold.into());
                operations::lock(executor, key, hold, lease).await?
            }
            Self::Update { key, named, texts } => {
                let key = operations::update(executor, key, columns(named, texts), lease).await?;
                without_own_json(key, named)
            }
        };
        Ok(key.into())
    }
}

fn required(lease: Option<&Lease>) -> Result<&Lease, Error> {
    lease.ok_or_else(|| Error::InvalidArgument("a request begins with a lease".to_owned()))
}
