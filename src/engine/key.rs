//! The record of an idempotency key, and what is written to it.
//!
//! Everything that is written travels as the text PostgreSQL reads: the statement casts it to its
//! column's type, so that the server judges it and its SQLSTATE is the one users know.

/// Text for a column, or `None` for SQL `NULL`.
pub type Text = Option<String>;

/// One row of the table `idempotency_key`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct IdempotencyKey {
    /// `ikey_` and a ULID.
    pub id: String,
    /// What the client repeats; unique.
    pub idempotency_key: String,
    /// When the row was inserted.
    pub created_at: Timestamp,
    /// When the key was locked last.
    pub locked_at: Option<Timestamp>,
    /// HTTP method of the request.
    pub request_method: Text,
    /// Route parameters of the request, as JSON text.
    pub request_params: Text,
    /// Path of the request.
    pub request_path: Text,
    /// HTTP status of the stored answer.
    pub response_code: Option<i32>,
    /// Body of the stored answer, as JSON text.
    pub response_body: Text,
    /// How far the request has come: `started` at first, `finished` at last.
    pub recovery_point: String,
}

/// The bits of all columns, in the order of the table's.
pub const ALL: u16 = (1 << 10) - 1;

/// The bit of the key itself.
pub const IDEMPOTENCY_KEY: u16 = 1 << 1;

/// The bits of the columns that are stored as they are given: the server makes times and numbers of the
/// others.
pub const AS_GIVEN: u16 = ALL & !(1 << 2 | 1 << 3 | 1 << 7);

impl IdempotencyKey {
    /// Takes what is stored as it is given.
    pub fn take_given(&mut self, columns: &mut Columns) {
        let given = [
            (&mut self.request_method, &mut columns.request_method),
            (&mut self.request_params, &mut columns.request_params),
            (&mut self.request_path, &mut columns.request_path),
            (&mut self.response_body, &mut columns.response_body),
        ];
        for (text, field) in given {
            if let Field::Set(value) = field {
                *text = value.take();
            }
        }
        let given = [
            (&mut self.id, &mut columns.id),
            (&mut self.idempotency_key, &mut columns.idempotency_key),
            (&mut self.recovery_point, &mut columns.recovery_point),
        ];
        for (text, field) in given {
            if let Field::Set(Some(value)) = field {
                *text = std::mem::take(value);
            }
        }
    }
}

/// A point in time, in microseconds since 2000-01-01 UTC, which is how PostgreSQL keeps it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Milliseconds from 1970-01-01 to 2000-01-01.
    const EPOCH: f64 = 946_684_800_000.0;

    /// Milliseconds since 1970-01-01 UTC, as a JavaScript `Date` counts; PostgreSQL's `infinity`
    /// and `-infinity` stay infinite.
    #[allow(clippy::cast_precision_loss)] // microseconds of any date that a Date can hold fit
    pub fn milliseconds(self) -> f64 {
        match self.0 {
            i64::MAX => f64::INFINITY,
            i64::MIN => f64::NEG_INFINITY,
            microseconds => (microseconds.div_euclid(1000)) as f64 + Self::EPOCH,
        }
    }
}

/// What is known of a column that a caller may set.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Field {
    /// Not named: left as it is, or the column's default.
    #[default]
    Absent,
    /// Set to the value, or to SQL `NULL`.
    Set(Text),
}

impl Field {
    /// The value to insert into a column without a default: absent is `NULL`.
    pub fn or_null(self) -> Text {
        match self {
            Self::Absent => None,
            Self::Set(value) => value,
        }
    }

    /// The value to insert, with `default` where the column was not named.
    pub fn or(self, default: impl Into<String>) -> Text {
        match self {
            Self::Absent => Some(default.into()),
            Self::Set(value) => value,
        }
    }
}

/// The columns a caller gives for a key: all of a new one, or those an update changes.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs)] // the columns of `IdempotencyKey`
pub struct Columns {
    pub id: Field,
    pub idempotency_key: Field,
    pub created_at: Field,
    pub locked_at: Field,
    pub request_method: Field,
    pub request_params: Field,
    pub request_path: Field,
    pub response_code: Field,
    pub response_body: Field,
    pub recovery_point: Field,
}

impl Columns {
    /// From the fields in the order of the table's columns.
    pub fn from_order(fields: [Field; 10]) -> Self {
        let [
            id,
            idempotency_key,
            created_at,
            locked_at,
            request_method,
            request_params,
            request_path,
            response_code,
            response_body,
            recovery_point,
        ] = fields;
        Self {
            id,
            idempotency_key,
            created_at,
            locked_at,
            request_method,
            request_params,
            request_path,
            response_code,
            response_body,
            recovery_point,
        }
    }

    /// A bit for each column that is set, in the order of the table's.
    pub fn named(&self) -> u16 {
        let fields = self.by_order().into_iter().enumerate();
        let named = fields.filter(|(_, field)| **field != Field::Absent);
        named.fold(0, |columns, (index, _)| columns | 1 << index)
    }

    /// The fields in the order of the table's columns, borrowed.
    pub fn by_order(&self) -> [&Field; 10] {
        [
            &self.id,
            &self.idempotency_key,
            &self.created_at,
            &self.locked_at,
            &self.request_method,
            &self.request_params,
            &self.request_path,
            &self.response_code,
            &self.response_body,
            &self.recovery_point,
        ]
    }

    /// The fields in the order of the table's columns.
    pub fn in_order(self) -> [Field; 10] {
        [
            self.id,
            self.idempotency_key,
            self.created_at,
            self.locked_at,
            self.request_method,
            self.request_params,
            self.request_path,
            self.response_code,
            self.response_body,
            self.recovery_point,
        ]
    }
}

/// How a work stage ended: what its callback returned.
#[derive(Clone, Debug, PartialEq)]
pub enum StageResult {
    /// The request goes on from this recovery point; nothing else is stored.
    RecoveryPoint(String),
    /// The request is finished with this answer.
    Finished {
        /// HTTP status, as text.
        response_code: Text,
        /// Body, as JSON text.
        response_body: Text,
    },
}

impl StageResult {
    /// The recovery point that it leads to.
    pub fn recovery_point(&self) -> &str {
        match self {
            Self::RecoveryPoint(point) => point,
            Self::Finished { .. } => FINISHED,
        }
    }
}

impl From<StageResult> for Columns {
    fn from(outcome: StageResult) -> Self {
        match outcome {
            StageResult::RecoveryPoint(recovery_point) => {
                Self { recovery_point: Field::Set(Some(recovery_point)), ..Self::default() }
            }
            StageResult::Finished { response_code, response_body } => Self {
                recovery_point: Field::Set(Some(FINISHED.to_owned())),
                response_code: Field::Set(response_code),
                response_body: Field::Set(response_body),
                ..Self::default()
            },
        }
    }
}

/// The recovery point of a key whose request has not committed any stage.
pub const STARTED: &str = "started";

/// The recovery point of a key whose request has its answer.
pub const FINISHED: &str = "finished";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_count_like_a_javascript_date() {
        assert_eq!(Timestamp(0).milliseconds(), 946_684_800_000.0);
        assert_eq!(Timestamp(1_500).milliseconds(), 946_684_800_001.0);
        assert_eq!(Timestamp(-1).milliseconds(), 946_684_799_999.0);
        assert_eq!(Timestamp(i64::MAX).milliseconds(), f64::INFINITY);
        assert_eq!(Timestamp(i64::MIN).milliseconds(), f64::NEG_INFINITY);
    }
}
