//! What one attempt at a request knows of its key's lease, and what it concludes from it.

use std::time::Duration;

use crate::engine::error::Error;
use crate::engine::key::FINISHED;
use crate::engine::protocol::statement::{Fence, Row, RowLocation, Token};

/// How many of its tokens an attempt remembers. Which of its last writes was committed it cannot know:
/// the transaction may be somebody else's.
const REMEMBERED: usize = 16;

/// What an attempt knows, and what it concludes from it: nothing here reaches the database, so that a model
/// of the protocol decides with it as the engine does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct LeaseKnowledge {
    /// The key.
    pub key: String,
    /// Every token that was the attempt's, the latest first. As long as the row has one of them, nobody
    /// else has written to it.
    pub tokens: Vec<Token>,
    /// Where the row was seen last.
    pub location: Option<RowLocation>,
    /// The recovery point that the attempt saw or stored last, whether committed or not.
    pub recovery_point: Option<String>,
    /// The recovery point that the attempt's caller has been told, if it is known to be committed. A
    /// point that was only written must not count: if the attempt's own transaction was rolled back, and
    /// another attempt has stored the same point since, then something has happened.
    pub settled: Option<String>,
    /// `lock()` may take the lease over, as nothing else has been done with it.
    pub fresh: bool,
    /// The lease is known to have ended.
    pub ended: bool,
    /// How the attempt began; nothing, if it has not begun the request.
    pub beginning: Option<Beginning>,
}

/// How an attempt at a request begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Beginning {
    /// It is the first attempt.
    New,
    /// Nobody held the key: the last attempt has released it, or its row was made without a lease.
    Released,
    /// The lease of the last attempt ran out: its process died or hung, so whatever it did outside of the
    /// database may have happened.
    Interrupted,
}

/// How an attempt stands to an unfinished key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It holds the lease.
    Holder,
    /// Nobody does, and nothing has happened that the attempt does not know of.
    Free,
    /// Another attempt holds the lease, and this one never did.
    InUse,
    /// Another attempt has taken the lease over, and holds it.
    Lost,
    /// Another attempt has taken the lease over and gone on; now nobody holds it.
    PassedBy,
}

impl LeaseKnowledge {
    /// How the attempt stands to a row that answers [`Row::live`].
    pub fn standing(&self, row: &Row) -> Standing {
        let known = self.settled.as_ref() == Some(&row.key.recovery_point);
        match (self.has(row), row.live, self.tokens.is_empty()) {
            (true, _, _) => Standing::Holder,
            (false, true, true) => Standing::InUse,
            (false, true, false) => Standing::Lost,
            (false, false, true) => Standing::Free,
            (false, false, false) if known => Standing::Free,
            (false, false, false) => Standing::PassedBy,
        }
    }

    /// Whether the key has moved on from where the attempt's caller believes it to be: a transaction of
    /// the attempt's was committed whose end it did not learn.
    pub fn is_behind(&self, row: &Row) -> bool {
        self.settled.as_ref().is_some_and(|point| *point != row.key.recovery_point)
    }

    /// Notes a row that the attempt has written; whether it is committed shows later.
    pub fn wrote(&mut self, row: &Row) {
        self.noted(row);
        self.owns(row);
        self.settled = None;
        self.fresh = false;
        self.ended = false;
    }

    /// Notes that the attempt is about to commit a row that will have this token and this recovery point.
    pub fn writes_last(&mut self, token: Token, recovery_point: &str) {
        self.location = None;
        self.recovery_point = Some(recovery_point.to_owned());
        self.tokens.insert(0, token);
        self.tokens.truncate(REMEMBERED);
        self.settled = None;
        self.fresh = false;
        self.ended = false;
    }

    /// Notes a row that the attempt has locked to write to it. If its transaction is rolled back, the row
    /// is this one again.
    pub fn claimed(&mut self, row: &Row) {
        if !self.has(row) {
            self.owns(row);
        }
    }

    /// Notes the row of a request that the attempt has just begun, or taken over.
    pub fn began(&mut self, row: &Row, beginning: Beginning) {
        self.wrote(row);
        self.fresh = true;
        self.beginning = Some(beginning);
    }

    /// Notes a row that the attempt's caller is told, and that the attempt has not written just now.
    pub fn saw(&mut self, row: &Row) {
        self.noted(row);
        // What the attempt has written itself in a transaction that goes on may still be undone.
        if self.settled.is_some() || !self.has(row) {
            self.settle();
        }
    }

    /// Notes that what the attempt wrote last is committed.
    pub fn settle(&mut self) {
        self.settled.clone_from(&self.recovery_point);
    }

    /// Notes the row of a lease that was renewed: its request may have gone on since.
    pub fn renewed(&mut self, row: &Row) {
        self.owns(row);
    }

    /// Notes the row of a lease that was released, or has run out before its time.
    pub fn released(&mut self, row: &Row) {
        self.noted(row);
        self.owns(row);
        self.ended = true;
    }

    /// What keeps an attempt that has lost its lease from writing; nothing, if it never had one.
    pub fn fence(&self, lease: Duration) -> Option<Fence> {
        let (tokens, recovery_point) = (self.tokens.clone(), self.settled.clone());
        (!tokens.is_empty()).then_some(Fence { tokens, recovery_point, lease })
    }

    /// What keeps everybody but the holder of the lease from writing, and the holder once the request is
    /// finished; nothing, if the attempt never had a lease.
    pub fn strict_fence(&self, lease: Duration) -> Option<Fence> {
        let fence = self.fence(lease)?;
        // No row stands at a recovery point without a name.
        Some(Fence { recovery_point: Some(String::new()), ..fence })
    }

    /// Whether the attempt has had the lease and does not know that it has ended.
    pub fn is_held(&self) -> bool {
        !self.tokens.is_empty() && !self.ended
    }

    /// Whether the attempt has released its request, and done nothing since.
    pub fn is_released(&self) -> bool {
        let last = self.tokens.first();
        self.recovery_point.as_deref() != Some(FINISHED)
            && last.is_some_and(Token::is_without_lease)
    }

    /// Why the attempt may not release its request, by the request's row: it has ended it itself, or another
    /// attempt has taken it over.
    pub fn refusal(&self, row: &Row) -> Error {
        let key = row.key.idempotency_key.clone();
        match self.has(row) {
            true if row.is_finished() => Error::Finished(key),
            true => Error::Released(key),
            false => Error::LeaseLost(key),
        }
    }

    fn has(&self, row: &Row) -> bool {
        self.tokens.contains(&row.token)
    }

    fn noted(&mut self, row: &Row) {
        row.key.idempotency_key.clone_into(&mut self.key);
        self.location = Some(row.location.clone());
        self.recovery_point = Some(row.key.recovery_point.clone());
    }

    fn owns(&mut self, row: &Row) {
        self.location = Some(row.location.clone());
        self.tokens.insert(0, row.token.clone());
        self.tokens.truncate(REMEMBERED);
    }
}
