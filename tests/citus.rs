//! The engine's statements against the rules that Citus has for a table that is distributed by `idempotency_key`.
//! It is their text that is looked at, and no cluster that they run on. What breaks a rule is listed with the reason.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "citus/statements.rs"]
mod statements;
#[path = "citus/text.rs"]
mod text;

use std::collections::{BTreeMap, BTreeSet};

use medusa_idempotency_key::engine::sql::Sql;
use sqlx::{Connection as _, PgConnection};

use text::{closing, has, key_of, lazy_values, query_around};

use Rule::{Advisory, Keyed, Lazy, Locks, OneShard, Setting, System, Trigger, Volatile};

/// A name that occurs nowhere else in a text.
const SCHEMA: &str = "distributed";
const TABLE: &str = "\"distributed\".idempotency_key";

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rule {
    /// A query of the table names its key: as a parameter, in a batch's input, or in the row that it inserts.
    Keyed,
    /// It names one key.
    OneShard,
    /// What changes rows calls no `VOLATILE` function. Those of the next two rules count there alone.
    Volatile,
    /// It does not call `set_config`, which is `VOLATILE`, either.
    Setting,
    /// No advisory locks, which hold on one node.
    Advisory,
    /// The `SET`, `WHERE` and `RETURNING` of an `UPDATE` have nothing in `CASE` or `coalesce` that is not `IMMUTABLE`.
    Lazy,
    /// No columns of the system's, which differ from node to node.
    System,
    /// A query that locks rows names one key, and has no `LIMIT`.
    Locks,
    /// No triggers or rules.
    Trigger,
}

/// Which statements break which rule, and why.
const EXCEPTIONS: [(Rule, &[&str], &str); 14] = [
    (Keyed, &["select"], "a selector says itself which keys it means"),
    (Keyed, &["begin", "may begin"], "the name in its lock, which tells tables apart, is no query"),
    (Keyed, &["stalled", "prune", "prune before 14"], "they look for keys in the whole table"),
    (Keyed, &["pages", "optional columns", "migrate"], "they are about the table, not its rows"),
    (
        OneShard,
        &[
            "create, batched",
            "create new, batched",
            "find or create, batched",
            "initialize, batched",
            "look, batched",
            "take over, batched",
            "find, batched",
            "lock, batched",
            "update, batched",
            "update with a fence, batched",
        ],
        "a batch is of many keys; a service with `maxBatchSize: 1` sends none",
    ),
    (
        Setting,
        &[
            "create, batched",
            "create new, batched",
            "find or create, batched",
            "initialize, batched",
            "update, batched",
            "update with a fence, batched",
        ],
        "a batch waits for a lock for 20 ms only, whatever its session's setting",
    ),
    (Setting, &["record, unprepared"], "it tells the statement after it that there is a row"),
    (
        Lazy,
        &["update with a fence"],
        "who holds the lease, and whether it has run out, is judged where the row is written",
    ),
    (Lazy, &["record, unprepared"], "its CASE is in a second statement, which changes no rows"),
    (
        System,
        &[
            "initialize",
            "initialize, batched",
            "begin",
            "look",
            "look, batched",
            "take over",
            "take over, batched",
            "find",
            "select",
            "lock",
            "lock, batched",
            "update",
            "update, batched",
            "update with a fence",
            "update with a fence, batched",
            "record",
            "record, unprepared",
            "lock row",
            "claim row",
            "change lease",
            "stalled",
        ],
        "xmin is the token of a row without a lease, and ctid where a row was seen: each of one row",
    ),
    (System, &["prune", "prune before 14"], "a batch of it is what lies in some pages"),
    (
        Locks,
        &[
            "take over, batched",
            "lock, batched",
            "update, batched",
            "update with a fence, batched",
            "prune",
            "prune before 14",
        ],
        "none waits for a lock, so it skips the rows that others have locked",
    ),
    (
        Advisory,
        &["begin", "may begin"],
        "a duplicate learns at once that another transaction has inserted the key; on another node it waits for the index",
    ),
    (Advisory, &["migrate"], "two services that start at once would both create the table"),
];

/// What PostgreSQL says of the functions that a text may call: `v`, `s` or `i`.
type Volatility = BTreeMap<String, String>;

async fn volatility() -> Volatility {
    let url = std::env::var("TEST_DATABASE_URL").expect("TEST_DATABASE_URL names the server");
    let mut connection = PgConnection::connect(&url).await.unwrap();
    // Of functions with one name the worst: `v` comes last.
    let sql = "SELECT proname::text, max(provolatile::text) FROM pg_proc GROUP BY proname";
    let rows: Vec<(String, String)> = sqlx::query_as(sql).fetch_all(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    rows.into_iter().collect()
}

/// `VOLATILE` functions that have a rule of their own.
const RULED: [&str; 3] = ["set_config", "pg_advisory_xact_lock", "pg_try_advisory_xact_lock"];

/// Whether a text calls a function of one of the kinds.
fn calls(text: &str, volatility: &Volatility, kinds: &[&str]) -> bool {
    let names = text.match_indices('(').map(|(at, _)| {
        text[..at].rsplit(|c: char| !(c.is_alphanumeric() || c == '_')).next().unwrap_or_default()
    });
    let mut known =
        names.filter(|name| !RULED.contains(name)).filter_map(|name| volatility.get(name));
    known.any(|kind| kinds.contains(&kind.as_str()))
}

/// Whether a text has a value that is not the same for ever.
fn is_mutable(text: &str, volatility: &Volatility) -> bool {
    // The input functions of these types are STABLE.
    let casts = ["AS interval)", "AS timestamptz)", "AS text[])"];
    calls(text, volatility, &["s", "v"]) || casts.iter().any(|cast| text.contains(cast))
}

/// The rules that a query of the table breaks.
fn broken_by_query(query: &str, volatility: &Volatility) -> BTreeSet<Rule> {
    let inserted = query.split_once(&format!("INTO {TABLE} ("));
    let is_keyed = match inserted {
        Some((_, columns)) => has(&columns[..closing(columns, 0)], "idempotency_key"),
        None => key_of(query).is_some(),
    };
    let is_of_one = match inserted {
        Some((_, rest)) => !rest.contains(" AS input") && !rest.contains("FROM input"),
        None => key_of(query).is_none_or(|key| key != "k"),
    };
    let is_locking = query.contains("FOR UPDATE");
    let is_change = query.contains(&format!("UPDATE {TABLE}")) || query.contains("DELETE FROM");
    let (_, returned) = query.split_once(" RETURNING ").unwrap_or_default();
    let is_lazy = lazy_values(query).iter().any(|value| is_mutable(value, volatility));
    let broken = [
        (Keyed, !is_keyed),
        (OneShard, !is_of_one),
        (Lazy, is_change && (is_lazy || is_mutable(returned, volatility))),
        (Locks, is_locking && (!is_keyed || !is_of_one || has(query, "LIMIT"))),
    ];
    broken.into_iter().filter_map(|(rule, is_broken)| is_broken.then_some(rule)).collect()
}

/// The rules that a statement breaks.
fn broken_by(text: &str, volatility: &Volatility) -> BTreeSet<Rule> {
    let changes = ["INSERT", "UPDATE", "DELETE", "CREATE"].iter().any(|word| has(text, word));
    let broken = [
        (Volatile, changes && calls(text, volatility, &["v"])),
        (Setting, changes && has(text, "set_config")),
        (System, ["ctid", "xmin", "tableoid"].iter().any(|column| has(text, column))),
        (Advisory, text.contains("pg_advisory") || text.contains("pg_try_advisory")),
        (Trigger, has(text, "TRIGGER") || has(text, "RULE")),
    ];
    let of_text = broken.into_iter().filter_map(|(rule, is_broken)| is_broken.then_some(rule));
    let places = text.match_indices(TABLE);
    let of_queries =
        places.flat_map(|(at, _)| broken_by_query(&query_around(text, at), volatility));
    of_text.chain(of_queries).collect()
}

#[tokio::test]
async fn every_statement_keeps_the_rules_or_is_listed() {
    let volatility = volatility().await;
    let mut broken = BTreeSet::new();
    for (name, text) in statements::all(&Sql::new(Some(SCHEMA))) {
        assert!(text.contains(TABLE), "{name}: {text}");
        broken.extend(broken_by(&text, &volatility).into_iter().map(|rule| (rule, name.clone())));
    }
    let listed: BTreeSet<(Rule, String)> = EXCEPTIONS
        .iter()
        .flat_map(|(rule, names, _)| names.iter().map(|name| (*rule, (*name).to_owned())))
        .collect();
    let unlisted: Vec<_> = broken.difference(&listed).collect();
    assert!(unlisted.is_empty(), "these break a rule: {unlisted:?}");
    let kept: Vec<_> = listed.difference(&broken).collect();
    assert!(kept.is_empty(), "these are listed and break nothing: {kept:?}");
}

#[tokio::test]
async fn what_breaks_a_rule_is_found() {
    let volatility = volatility().await;
    let update = format!("UPDATE {TABLE} SET locked_at =");
    let keyed = "WHERE idempotency_key = $1";
    let later = "coalesce(locked_at > now(), false)";
    for (text, expected) in [
        (format!("{update} statement_timestamp() {keyed}"), vec![]),
        (format!("{update} CAST($2 AS timestamptz) {keyed} AND {later} IS NULL"), vec![Lazy]),
        (format!("{update} clock_timestamp() {keyed}"), vec![Volatile]),
        (format!("{update} NULL {keyed} AND random() < 1"), vec![Volatile]),
        (format!("{update} NULL {keyed} AND set_config('a', 'b', true) > ''"), vec![Setting]),
        (format!("{update} NULL, id = timeofday() {keyed}"), vec![Volatile]),
        (format!("{update} NULL WHERE id = $1"), vec![Keyed]),
        (format!("{update} NULL {keyed} OR id = $2"), vec![Keyed]),
        (format!("{update} NULL {keyed} AND (id = $2 OR id = $3)"), vec![]),
        (format!("{update} NULL FROM input WHERE idempotency_key = k"), vec![OneShard]),
        (format!("{update} NULL {keyed} RETURNING now()"), vec![Lazy]),
        (format!("{update} NULL {keyed} AND CASE WHEN id = $2 THEN {later} END"), vec![Lazy]),
        (format!("SELECT FROM {TABLE} {keyed} FOR UPDATE SKIP LOCKED"), vec![]),
        (format!("SELECT FROM {TABLE} {keyed} LIMIT 1 FOR UPDATE SKIP LOCKED"), vec![Locks]),
        (format!("SELECT FROM {TABLE} LIMIT 1 FOR UPDATE SKIP LOCKED"), vec![Keyed, Locks]),
        (format!("SELECT FROM {TABLE} {keyed} AND xmin = $2"), vec![System]),
        (format!("INSERT INTO {TABLE} (id) VALUES ($1)"), vec![Keyed]),
        (format!("INSERT INTO {TABLE} (idempotency_key, id) VALUES ($1, $2)"), vec![]),
        (format!("SELECT pg_advisory_lock(1) FROM {TABLE} {keyed}"), vec![Advisory]),
        (format!("CREATE TRIGGER t ON {TABLE}"), vec![Keyed, Trigger]),
    ] {
        let found: Vec<Rule> = broken_by(&text, &volatility).into_iter().collect();
        assert_eq!(found, expected, "{text}");
    }
}
