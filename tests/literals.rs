//! What is written into SQL as a literal is read as it was, whatever the session's settings are.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[allow(dead_code)] // other tests use more of it
mod support;

use medusa_idempotency_key::engine::error::Error;
use medusa_idempotency_key::engine::postgres::connection::Connection;
use medusa_idempotency_key::engine::postgres::literal::{bytes_literal, literal};
use medusa_idempotency_key::engine::sql::Isolation;
use sqlx::Row as _;
use support::Database;

const STRINGS: usize = 100_000;
const AT_ONCE: usize = 2_000;

/// What is likely to break a literal, and characters of each length in UTF-8.
const PIECES: [&str; 24] = [
    "'",
    "\\",
    "\\'",
    "''",
    "E'",
    "$$",
    "$1",
    "--",
    "/*",
    "\n",
    "\r",
    "\t",
    "\u{1}",
    "\u{7f}",
    "a",
    "N",
    "\"",
    ";",
    "é",
    "ß\\",
    "表",
    "ソ\\",
    "\u{1f600}",
    "\u{ffff}",
];

/// Pseudo-random, and the same in each run.
struct Strings(u64);

impl Strings {
    fn number(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 11).unwrap() % below
    }

    fn string(&mut self) -> String {
        let length = self.number(12);
        (0..length).map(|_| PIECES[self.number(PIECES.len())]).collect()
    }
}

async fn session(database: &Database) -> Connection {
    let mut connection = database.executor().pool.connection().await.unwrap();
    connection.begin(Isolation::ReadCommitted).await.unwrap();
    connection
}

#[tokio::test]
async fn a_hundred_thousand_strings_are_read_as_they_were() {
    let database = Database::new().await;
    let mut connection = session(&database).await;
    let mut strings = Strings(0x9e37_79b9_7f4a_7c15);
    for setting in ["on", "off"] {
        let set = format!(
            "SET LOCAL standard_conforming_strings = {setting}; SET LOCAL escape_string_warning = off"
        );
        connection.execute(set).await.unwrap();
        for _ in 0..STRINGS / 2 / AT_ONCE {
            let rows: Vec<String> = (0..AT_ONCE)
                .map(|_| {
                    let text = strings.string();
                    let (as_text, as_bytes) =
                        (literal(Some(&text)).unwrap(), bytes_literal(text.as_bytes()));
                    format!("({as_text}, {as_bytes}::bytea)")
                })
                .collect();
            let sql = format!(
                "SELECT count(*), count(*) FILTER (WHERE convert_to(text, 'UTF8') = bytes) \
                 FROM (VALUES {}) strings (text, bytes)",
                rows.join(", ")
            );
            let answer = connection.fetch_text(sql).await.unwrap();
            let count = |index| answer[0].get::<i64, _>(index);
            assert_eq!((count(0), count(1)), (2_000, 2_000), "{setting}");
        }
    }
    connection.end_transaction("ROLLBACK").await.unwrap();
    drop(connection);
    database.drop().await;
}

/// Those that PostgreSQL has for clients, the ones that servers cannot have among them.
const ENCODINGS: [&str; 41] = [
    "BIG5",
    "EUC_CN",
    "EUC_JP",
    "EUC_JIS_2004",
    "EUC_KR",
    "EUC_TW",
    "GB18030",
    "GBK",
    "ISO_8859_5",
    "ISO_8859_6",
    "ISO_8859_7",
    "ISO_8859_8",
    "JOHAB",
    "KOI8R",
    "KOI8U",
    "LATIN1",
    "LATIN2",
    "LATIN3",
    "LATIN4",
    "LATIN5",
    "LATIN6",
    "LATIN7",
    "LATIN8",
    "LATIN9",
    "LATIN10",
    "SJIS",
    "SHIFT_JIS_2004",
    "SQL_ASCII",
    "UHC",
    "UTF8",
    "WIN866",
    "WIN874",
    "WIN1250",
    "WIN1251",
    "WIN1252",
    "WIN1253",
    "WIN1254",
    "WIN1255",
    "WIN1256",
    "WIN1257",
    "WIN1258",
];

#[tokio::test]
async fn a_literal_ends_where_it_ends_in_every_encoding_of_a_client() {
    let database = Database::new().await;
    let mut strings = Strings(0x2545_f491_4f6c_dd1d);
    let mut connection = session(&database).await;
    let mut refused = 0;
    for encoding in ENCODINGS {
        for _ in 0..100 {
            // Few characters: most longer strings are none in another encoding.
            let texts: String = (0..3).map(|_| PIECES[strings.number(PIECES.len())]).collect();
            // Two messages: the server reads one as its session's encoding was before it.
            let set = format!("SAVEPOINT one; SET LOCAL client_encoding = '{encoding}'");
            connection.execute(set).await.unwrap();
            let sql = format!("SELECT length({}) >= 0, 'end'", literal(Some(&texts)).unwrap());
            match connection.fetch_text(sql).await {
                Ok(rows) => assert_eq!(rows[0].get::<&str, _>(1), "end", "{encoding}: {texts:?}"),
                // The server reads other characters than were written, or none: but no quote after a backslash.
                Err(Error::Database(error)) => {
                    let is_unreadable = ["22021", "22P05"].contains(&error.code.as_str());
                    assert!(is_unreadable, "{encoding}: {texts:?}: {error:?}");
                    refused += 1;
                }
                Err(error) => panic!("{encoding}: {error:?}"),
            }
            connection
                .execute("ROLLBACK TO one; SET LOCAL client_encoding = 'UTF8'".to_owned())
                .await
                .unwrap();
        }
    }
    assert!(refused > 0);
    connection.end_transaction("ROLLBACK").await.unwrap();
    drop(connection);
    database.drop().await;
}
