//! What became of a call.

use crate::engine::key::IdempotencyKey;

/// What an operation answers.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The key as it is now.
    pub key: IdempotencyKey,
    /// What became of the call; nothing where there is only one possibility.
    pub outcome: Option<Outcome>,
}

/// What became of a call. A call that was refused has failed with an error instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A new request has begun.
    Begun,
    /// An unfinished request has been taken over, whose last attempt released it.
    TakenOverReleased,
    /// An unfinished request has been taken over, whose last attempt was interrupted.
    TakenOverInterrupted,
    /// This attempt holds the request already.
    Held,
    /// The request is finished: the key has its stored answer.
    Replayed,
    /// Nobody works on the unfinished request any more: it may be taken over.
    Abandoned,
    /// The stage's work was done.
    Ran,
    /// The request has passed the stage's recovery point, so the work was not done.
    Passed,
}

impl Outcome {
    /// Its name, by which users know it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Begun => "begun",
            Self::TakenOverReleased => "taken_over_released",
            Self::TakenOverInterrupted => "taken_over_interrupted",
            Self::Held => "held",
            Self::Replayed => "replayed",
            Self::Abandoned => "abandoned",
            Self::Ran => "ran",
            Self::Passed => "passed",
        }
    }
}

impl Answer {
    /// Whether it is that of a stage whose work was done.
    pub fn ran(&self) -> bool {
        self.outcome == Some(Outcome::Ran)
    }

    /// A key, and what became of the call.
    pub fn new(key: IdempotencyKey, outcome: Outcome) -> Self {
        Self { key, outcome: Some(outcome) }
    }
}

impl From<IdempotencyKey> for Answer {
    /// A key of a call that has only one possible outcome.
    fn from(key: IdempotencyKey) -> Self {
        Self { key, outcome: None }
    }
}
