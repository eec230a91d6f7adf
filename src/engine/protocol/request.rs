//! Requests with a key: is it the same request, and who may work on it?

use std::time::Duration;

use sfv::{BareItem, Item, Parser};
use tokio::time::Instant;

use crate::engine::error::Error;
use crate::engine::key::STARTED;
use crate::engine::protocol::executor::Executor;
use crate::engine::protocol::lease::{Beginning, Lease, Standing};
use crate::engine::protocol::operations::{new_id, new_key};
use crate::engine::protocol::outcome::{Answer, Outcome};
use crate::engine::protocol::statement::{NewRequest, Request, Row, Statement};

/// The longest key that a client may choose, in characters.
const LONGEST_KEY: usize = 255;
/// How often a waiting request looks whether the one in progress has finished.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);
/// How often a request looks again at once while others begin, finish or give back the same key at
/// the very moment of its look.
pub const LOOKS: usize = 3;

/// The key in a client's `Idempotency-Key` header: 1 to 255 visible ASCII characters, or such a string
/// in quotes, as draft-ietf-httpapi-idempotency-key-header has it. None, if there is no header.
///
/// # Errors
/// [`Error::InvalidKey`].
pub fn client_key(header: Option<&str>) -> Result<Option<String>, Error> {
    let Some(header) = header.filter(|header| !header.is_empty()) else {
        return Ok(None);
    };
    let key = match header.starts_with('"') {
        true => unquoted(header)?,
        false => header.to_owned(),
    };
    let visible = key.bytes().all(|byte| byte.is_ascii_graphic());
    if !visible || key.is_empty() || key.len() > LONGEST_KEY {
        return Err(Error::InvalidKey);
    }
    Ok(Some(key))
}

/// The text of a structured field (RFC 9651) that is a string.
fn unquoted(header: &str) -> Result<String, Error> {
    let item = Parser::new(header).parse::<Item>().map_err(|_| Error::InvalidKey)?;
    match item.bare_item {
        BareItem::String(text) => Ok(text.into()),
        _ => Err(Error::InvalidKey),
    }
}

/// Begins the request of a key, or finds what has become of it: a finished one is answered as it is;
/// one that nobody works on any more is taken over. Waits up to `wait` for one in progress.
///
/// `lease` is that of the attempt. A key that is not given is generated. With `refuse_interrupted` a request
/// is not taken over whose last attempt was interrupted before it reached any recovery point.
///
/// # Errors
/// [`Error::Reused`] when the key is another request's, [`Error::InUse`] when the request is in
/// progress, [`Error::Interrupted`] when it is not to be taken over, [`Error::RowSwallowed`] when the
/// database stores no row for it.
pub async fn initialize(
    executor: &dyn Executor,
    lease: &Lease,
    key: Option<String>,
    request: Request,
    wait: Duration,
    refuse_interrupted: bool,
) -> Result<Answer, Error> {
    let new = NewRequest {
        id: new_id(),
        key: key.unwrap_or_else(new_key),
        request,
        lease: lease.duration(),
    };
    let mut budget = WaitBudget::up_to(wait);
    let mut unseen = 0;
    loop {
        let row = only(executor.run(Statement::Initialize(new.clone())).await?);
        unseen = if row.is_some() { 0 } else { unseen + 1 };
        // Neither inserted nor there: somebody who inserts it at the same moment is seen the next time.
        if unseen > LOOKS {
            return Err(Error::RowSwallowed);
        }
        if let Some(row) = row {
            let state = state_of(&row);
            if let Some(answer) =
                answer(executor, lease, &new, state, row, refuse_interrupted).await?
            {
                return Ok(answer);
            }
            if state == RequestState::InProgress {
                budget.spend_looks();
            }
        }
        if !budget.pause().await {
            return Err(Error::InUse(new.key));
        }
    }
}

/// Finds what has become of the request of a key, whose leases hold for so long. Changes nothing.
///
/// # Errors
/// [`Error::NotFound`] when the key is unknown, [`Error::Reused`] when it is another request's, [`Error::InUse`]
/// when somebody works on the request.
pub async fn look(
    executor: &dyn Executor,
    key: String,
    request: Request,
    lease: Duration,
) -> Result<Answer, Error> {
    // Nothing is inserted that would need an id.
    let asked = NewRequest { id: String::new(), key: key.clone(), request, lease };
    let Some(row) = only(executor.run(Statement::Look(asked)).await?) else {
        return Err(Error::NotFound(key));
    };
    match state_of(&row) {
        RequestState::Reused => Err(Error::Reused(key)),
        RequestState::Finished => Ok(Answer::new(row.key, Outcome::Replayed)),
        RequestState::Abandoned(_) => Ok(Answer::new(row.key, Outcome::Abandoned)),
        RequestState::Begun | RequestState::InProgress => Err(Error::InUse(key)),
    }
}

/// Takes over the request of a key that nobody works on any more; or finds what has become of it, as [`initialize`]
/// does. Inserts nothing, which the table may refuse.
///
/// # Errors
/// As [`look`].
pub async fn take_over(
    executor: &dyn Executor,
    lease: &Lease,
    key: String,
    request: Request,
) -> Result<Answer, Error> {
    let new = NewRequest { id: String::new(), key, request, lease: lease.duration() };
    let Some(row) = only(executor.run(Statement::Look(new.clone())).await?) else {
        return Err(Error::NotFound(new.key));
    };
    let found = answer(executor, lease, &new, state_of(&row), row, false).await?;
    found.ok_or(Error::InUse(new.key))
}

/// The answer to an attempt that has found a request in this state; `None` where it has to look again.
async fn answer(
    executor: &dyn Executor,
    lease: &Lease,
    new: &NewRequest,
    state: RequestState,
    row: Row,
    refuse_interrupted: bool,
) -> Result<Option<Answer>, Error> {
    let beginning = match state {
        RequestState::Reused => return Err(Error::Reused(new.key.clone())),
        RequestState::Begun => {
            return Ok(Some(begun(executor, lease, row, Beginning::New)));
        }
        RequestState::Finished => {
            lease.saw(&row);
            return Ok(Some(Answer::new(row.key, Outcome::Replayed)));
        }
        RequestState::InProgress if lease.known().standing(&row) == Standing::Holder => {
            lease.saw(&row);
            return Ok(Some(Answer::new(row.key, Outcome::Held)));
        }
        RequestState::InProgress => return Ok(None),
        RequestState::Abandoned(beginning) => beginning,
    };
    let is_interrupted = beginning == Beginning::Interrupted;
    if is_interrupted && refuse_interrupted && row.key.recovery_point == STARTED {
        return Err(Error::Interrupted(new.key.clone()));
    }
    let take_over = Statement::TakeOver { new: new.clone(), seen: row.token };
    let taken_over = only(executor.run(take_over).await?);
    Ok(taken_over.map(|row| begun(executor, lease, row, beginning)))
}

/// Notes the lease of a request that has begun, or was taken over.
fn begun(executor: &dyn Executor, lease: &Lease, row: Row, beginning: Beginning) -> Answer {
    lease.began(&row, beginning);
    if executor.commits_each() {
        lease.settled();
    }
    let outcome = match beginning {
        Beginning::New => Outcome::Begun,
        Beginning::Released => Outcome::TakenOverReleased,
        Beginning::Interrupted => Outcome::TakenOverInterrupted,
    };
    Answer::new(row.key, outcome)
}

/// What has become of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestState {
    /// Its key is another request's.
    Reused,
    /// It is new, and begins.
    Begun,
    /// It has its answer.
    Finished,
    /// Nobody works on it any more: it may be taken over, and begins so.
    Abandoned(Beginning),
    /// Somebody works on it.
    InProgress,
}

/// The state of a request, by the row that [`Statement::Initialize`] answers.
pub fn state_of(row: &Row) -> RequestState {
    match row {
        Row { same: false, .. } => RequestState::Reused,
        Row { won: true, .. } => RequestState::Begun,
        row if row.is_finished() => RequestState::Finished,
        Row { live: false, token, .. } if token.is_without_lease() => {
            RequestState::Abandoned(Beginning::Released)
        }
        Row { live: false, .. } => RequestState::Abandoned(Beginning::Interrupted),
        Row { .. } => RequestState::InProgress,
    }
}

/// How long a request waits for the one in progress.
struct WaitBudget {
    looks: usize,
    until: Instant,
    pause: Duration,
}

impl WaitBudget {
    fn up_to(wait: Duration) -> Self {
        Self { looks: LOOKS, until: Instant::now() + wait, pause: SHORTEST_PAUSE }
    }

    /// It is certain that somebody works on the request: no need to look again at once.
    fn spend_looks(&mut self) {
        self.looks = 0;
    }

    /// Pauses, if it is worth another look.
    async fn pause(&mut self) -> bool {
        if self.looks > 0 {
            self.looks -= 1;
            return true;
        }
        let left = self.until - Instant::now();
        if left.is_zero() {
            return false;
        }
        tokio::time::sleep(self.pause.min(left)).await;
        self.pause = LONGEST_PAUSE.min(self.pause * 2);
        true
    }
}

fn only(rows: Vec<Row>) -> Option<Row> {
    rows.into_iter().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_taken_as_the_client_writes_it() {
        for (header, key) in [
            ("order-1", "order-1"),
            ("\"order-1\"", "order-1"),
            ("\"a\\\"b\"", "a\"b"),
            ("\"order-1\";v=1", "order-1"),
            ("a\"b", "a\"b"),
        ] {
            assert_eq!(client_key(Some(header)).unwrap().as_deref(), Some(key), "{header}");
        }
        let longest = "k".repeat(LONGEST_KEY);
        assert_eq!(client_key(Some(&longest)).unwrap(), Some(longest));
    }

    #[test]
    fn no_header_is_no_key() {
        assert_eq!(client_key(None).unwrap(), None);
        assert_eq!(client_key(Some("")).unwrap(), None);
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for header in ["a b", " a", "ä", "a\n", "\"", "\"\"", "\"a b\"", "\"a\" b", "\u{0}"] {
            assert!(matches!(client_key(Some(header)), Err(Error::InvalidKey)), "{header:?}");
        }
        assert!(client_key(Some(&"k".repeat(LONGEST_KEY + 1))).is_err());
    }
}
