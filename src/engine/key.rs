//! The record of an idempotency key, and what is written to it.
//!
//! Everything that is written travels as the text PostgreSQL reads: the statement casts it to its
//! column's type, so that the server judges it and its SQLSTATE is the one users know.

use crate::engine::timestamp::Timestamp;

/// Text for a column, or `None` for SQL `NULL`.
pub type Text = Option<String>;

/// The one table of columns. All that lists them follows from it: here the record, what is written to it and
/// sets of columns; elsewhere the SQL, the reader of rows, and how a key crosses to JavaScript. A column is its name
/// in [`Column`], its field, the field's type, its SQL type, and its [`Crossing`].
macro_rules! with_columns {
    ($use:ident) => {
        $use! {
            /// `ikey_` and a ULID.
            Id id: String, "text", Plain;
            /// What the client repeats; unique.
            IdempotencyKey idempotency_key: String, "text", Plain;
            /// When the row was inserted.
            CreatedAt created_at: Timestamp, "timestamptz", Time;
            /// When the key was locked last.
            LockedAt locked_at: Option<Timestamp>, "timestamptz", Time;
            /// HTTP method of the request.
            RequestMethod request_method: Text, "text", Plain;
            /// Route parameters of the request, as JSON text.
            RequestParams request_params: Text, "jsonb", Json;
            /// Path of the request.
            RequestPath request_path: Text, "text", Plain;
            /// HTTP status of the stored answer.
            ResponseCode response_code: Option<i32>, "int", Plain;
            /// Body of the stored answer, as JSON text.
            ResponseBody response_body: Text, "jsonb", Json;
            /// How far the request has come: `started` at first, `finished` at last.
            RecoveryPoint recovery_point: String, "text", Plain;
        }
    };
}
pub(crate) use with_columns;

macro_rules! record {
    ($($(#[$doc:meta])* $column:ident $field:ident: $type:ty, $sql:literal, $crossing:ident;)*) => {
        /// One row of the table `idempotency_key`.
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct IdempotencyKey {
            $($(#[$doc])* pub $field: $type,)*
            /// Headers of the stored answer, as JSON text: an optional column, read where they are asked for.
            pub response_headers: Text,
        }

        /// A column of the table; they are in the table's order.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Column {
            $($(#[$doc])* $column,)*
        }

        impl Column {
            /// All of them.
            pub const ALL: [Self; Column::COUNT] = [$(Self::$column),*];
            /// How many there are.
            pub const COUNT: usize = [$(stringify!($column)),*].len();

            /// The column's name.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$column => stringify!($field),)*
                }
            }

            /// The SQL type that text for it is cast to.
            pub const fn sql_type(self) -> &'static str {
                match self {
                    $(Self::$column => $sql,)*
                }
            }

            /// How its value crosses to JavaScript.
            pub const fn crossing(self) -> Crossing {
                match self {
                    $(Self::$column => Crossing::$crossing,)*
                }
            }
        }

        /// The columns a caller gives for a key: all of a new one, or those an update changes.
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct Columns {
            $($(#[$doc])* pub $field: Field,)*
            /// Headers of the answer, as JSON text, for a table that has the optional column.
            pub response_headers: Text,
        }

        impl Columns {
            /// What is given for a column.
            pub fn get(&self, column: Column) -> &Field {
                match column {
                    $(Column::$column => &self.$field,)*
                }
            }

            /// What is given for a column, to be changed or taken.
            pub fn get_mut(&mut self, column: Column) -> &mut Field {
                match column {
                    $(Column::$column => &mut self.$field,)*
                }
            }
        }
    };
}
with_columns!(record);

impl IdempotencyKey {
    /// Takes the JSON that was given for it: a batch does not answer it, as it may be long.
    pub fn take_json(&mut self, given: &mut Columns) {
        let json = [
            (&mut self.request_params, &mut given.request_params),
            (&mut self.response_body, &mut given.response_body),
        ];
        for (text, field) in json {
            if let Field::Set(value) = field {
                *text = value.take();
            }
        }
    }
}

/// How the value of a column crosses to JavaScript.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crossing {
    /// As text, or as a number.
    Plain,
    /// As the JSON that it is.
    Json,
    /// As milliseconds since 1970.
    Time,
}

impl Column {
    /// The column of a name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|column| column.name() == name)
    }

    /// Whether its values are JSON.
    pub fn is_json(self) -> bool {
        self.crossing() == Crossing::Json
    }

    const fn bit(self) -> u16 {
        1 << self as u16
    }
}

/// Some of the columns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ColumnSet(u16);

impl ColumnSet {
    /// All columns.
    pub const ALL: Self = Self((1 << Column::COUNT) - 1);

    /// Those whose bits are set, the first column's the lowest.
    pub fn from_bits(bits: u32) -> Self {
        Column::ALL.into_iter().filter(|column| bits & u32::from(column.bit()) != 0).collect()
    }

    /// Whether a column is among them.
    pub const fn contains(self, column: Column) -> bool {
        self.0 & column.bit() != 0
    }

    /// Whether there are none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The columns before another one in the table's order.
    #[must_use]
    pub const fn before(self, column: Column) -> Self {
        Self(self.0 & (column.bit() - 1))
    }

    /// How many there are.
    pub const fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// They, in the table's order.
    pub fn iter(self) -> impl Iterator<Item = Column> + Clone {
        Column::ALL.into_iter().filter(move |column| self.contains(*column))
    }
}

impl FromIterator<Column> for ColumnSet {
    fn from_iter<I: IntoIterator<Item = Column>>(columns: I) -> Self {
        Self(columns.into_iter().fold(0, |bits, column| bits | column.bit()))
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

impl Columns {
    /// Those that are given.
    pub fn named(&self) -> ColumnSet {
        Column::ALL.into_iter().filter(|column| *self.get(*column) != Field::Absent).collect()
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
        /// Headers, as JSON text, for a table that has the optional column.
        response_headers: Text,
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
            StageResult::Finished { response_code, response_body, response_headers } => Self {
                recovery_point: Field::Set(Some(FINISHED.to_owned())),
                response_code: Field::Set(response_code),
                response_body: Field::Set(response_body),
                response_headers,
                ..Self::default()
            },
        }
    }
}

/// The recovery point of a key whose request has not committed any stage.
pub const STARTED: &str = "started";

/// The recovery point of a key whose request has its answer.
pub const FINISHED: &str = "finished";
