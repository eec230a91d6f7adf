//! What the engine's own parts cost, without a database: `cargo bench`.
//!
//! Every call costs a round trip to the server; what the engine adds has to vanish beside that.
//! `npm run bench` measures both together. All this is single-threaded, without a runtime.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use medusa_idempotency_key::engine::execution::stepped::{Given, Step, SteppedOperation};
use medusa_idempotency_key::engine::key::{Columns, Field, IdempotencyKey, StageResult};
use medusa_idempotency_key::engine::protocol::lease::{Beginning, Lease, LeaseKnowledge};
use medusa_idempotency_key::engine::protocol::operations;
use medusa_idempotency_key::engine::protocol::outcome::Answer;
use medusa_idempotency_key::engine::protocol::request;
use medusa_idempotency_key::engine::protocol::selector::Selector;
use medusa_idempotency_key::engine::protocol::stage::{self, Claimant};
use medusa_idempotency_key::engine::protocol::statement::{
    LeaseChange, NewRequest, Request, Row, RowLocation, Statement, Token,
};
use medusa_idempotency_key::engine::sql::Sql;
use medusa_idempotency_key::engine::sql::batch::{self, Kind};
use medusa_idempotency_key::engine::timestamp::Timestamp;

const KEY: &str = "0b6f6c1e-7a3f-4a63-9d0e-52f1c2a4e8b7";
const LEASE: Duration = Duration::from_secs(10);
/// As many tokens as an attempt remembers.
const TOKENS: u8 = 16;
/// What `retrieve({ request_path, response_code: In([200, 201]), created_at: MoreThan(date) })` sends.
const SELECTOR: &str = r#"[[
    {"column":"request_path","predicate":{"operator":"equal","operand":{"text":"/store/carts"}}},
    {"column":"response_code","predicate":{"operator":"in","operand":[{"text":"200"},{"text":"201"}]}},
    {"column":"created_at","predicate":{"operator":"moreThan","operand":
        {"text":"2026-01-01T00:00:00.000+00:00","date":true}}}
]]"#;

fn text(text: &str) -> Field {
    Field::Set(Some(text.to_owned()))
}

fn new_columns() -> Columns {
    Columns {
        id: text("ikey_01JZ8Q4Y3N6V5T7R9P2M4K6H8D"),
        idempotency_key: text(KEY),
        request_method: text("POST"),
        request_params: text(r#"{"id":"cart_01JZ8Q4Y3N"}"#),
        request_path: text("/store/carts/cart_01JZ8Q4Y3N/complete"),
        ..Columns::default()
    }
}

fn request() -> Request {
    Request {
        method: Some("POST".to_owned()),
        path: Some("/store/carts/cart_01JZ8Q4Y3N/complete".to_owned()),
        params: Some(r#"{"id":"cart_01JZ8Q4Y3N"}"#.to_owned()),
        fingerprint: None,
        headers: false,
    }
}

fn answer() -> StageResult {
    StageResult::Finished {
        response_code: Some("200".to_owned()),
        response_body: Some(r#"{"type":"order","data":{"id":"order_01JZ8Q4Y3N"}}"#.to_owned()),
        response_headers: None,
    }
}

/// A token as the server sends it: a time in hexadecimal.
fn token(number: u8) -> Token {
    Token(format!("0002ecb1f4a3c8{number:02x}"))
}

/// The row of a request that is under way, with the lease of this token.
fn row(number: u8) -> Row {
    let key = IdempotencyKey {
        id: "ikey_01JZ8Q4Y3N6V5T7R9P2M4K6H8D".to_owned(),
        idempotency_key: KEY.to_owned(),
        created_at: Timestamp(0),
        locked_at: Some(Timestamp(0)),
        request_method: request().method,
        request_params: request().params,
        request_path: request().path,
        recovery_point: "started".to_owned(),
        ..IdempotencyKey::default()
    };
    let location = RowLocation("(0,1)".to_owned());
    Row { key, location, token: token(number), won: true, live: true, same: true }
}

/// What an attempt knows after many writes of its own: as much as it ever does.
fn knowledge() -> LeaseKnowledge {
    let mut knowledge = LeaseKnowledge::default();
    (0..TOKENS).for_each(|number| knowledge.wrote(&row(number)));
    knowledge.settle();
    knowledge
}

fn new_request() -> NewRequest {
    NewRequest {
        id: "ikey_01JZ8Q4Y3N6V5T7R9P2M4K6H8D".to_owned(),
        key: KEY.to_owned(),
        request: request(),
        lease: LEASE,
    }
}

fn update(knowledge: Option<&LeaseKnowledge>) -> Statement {
    Statement::Update {
        key: KEY.to_owned(),
        columns: answer().into(),
        lease: LeaseChange::End,
        location: None,
        fence: knowledge.and_then(|knowledge| knowledge.fence(LEASE)),
    }
}

/// Writing one statement, which every call does at least once.
fn writes(criterion: &mut Criterion, name: &str, statement: &Statement) {
    let sql = Sql::new(Some("public"));
    criterion.bench_function(&format!("write/{name}"), |bencher| {
        bencher.iter_batched(
            || statement.clone(),
            |statement| sql.write(statement),
            BatchSize::SmallInput,
        );
    });
}

/// Statements whose text is written once a service: what is left is to move their parameters.
fn known_texts(criterion: &mut Criterion) {
    writes(criterion, "create", &Statement::Create(new_columns()));
    writes(criterion, "initialize", &Statement::Initialize(new_request()));
    writes(criterion, "find", &Statement::Find(KEY.to_owned()));
    let claim = |location| Statement::ClaimRow { key: KEY.to_owned(), lease: LEASE, location };
    writes(criterion, "claim_row", &claim(None));
    writes(criterion, "claim_row_at", &claim(Some(row(0).location)));
}

/// Statements whose text depends on what they are given, and is written for each call.
fn new_texts(criterion: &mut Criterion) {
    writes(criterion, "update", &update(None));
    writes(criterion, "update_fenced", &update(Some(&knowledge())));
    let selector = Selector::from_json(SELECTOR).unwrap();
    writes(criterion, "select", &Statement::Select(selector));
}

/// The text of a batch, which is written once a kind: its first caller waits for it.
fn batch_texts(criterion: &mut Criterion) {
    let sql = Sql::new(Some("public"));
    for (name, statement) in batched() {
        let kind = Kind::of(&statement).unwrap();
        criterion.bench_function(&format!("batch/{name}"), |bencher| {
            bencher.iter(|| batch::text(&sql, black_box(kind)));
        });
    }
}

/// The arrays of a batch, by its number of rows: what sharing a round trip costs before it is sent.
fn batch_arrays(criterion: &mut Criterion) {
    for (name, statement) in batched() {
        let kind = Kind::of(&statement).unwrap();
        for rows in [1, 64, 512] {
            let batch = vec![&statement; rows];
            criterion.bench_function(&format!("arrays/{name}/{rows}"), |bencher| {
                bencher.iter(|| batch::arrays(kind, black_box(&batch)));
            });
        }
    }
}

fn batched() -> [(&'static str, Statement); 2] {
    [("create", Statement::Create(new_columns())), ("fenced", update(Some(&knowledge())))]
}

/// Reading the header that every request may have, bare and as a structured field.
fn headers(criterion: &mut Criterion) {
    let quoted = format!("\"{KEY}\"");
    for (name, header) in [("bare", KEY), ("quoted", &quoted)] {
        criterion.bench_function(&format!("header/{name}"), |bencher| {
            bencher.iter(|| request::client_key(black_box(Some(header))));
        });
    }
}

/// Reading a selector, which comes from JavaScript as JSON.
fn selectors(criterion: &mut Criterion) {
    criterion.bench_function("selector/parse", |bencher| {
        bencher.iter(|| Selector::from_json(black_box(SELECTOR)));
    });
}

/// Deriving the key for a stage's calls to others: two hashes.
fn stage_keys(criterion: &mut Criterion) {
    criterion.bench_function("stage_key", |bencher| {
        bencher.iter(|| operations::stage_key(black_box(KEY), black_box("payment")));
    });
}

/// What is concluded from a row, for a stage while the row is locked. Each takes its longest way: the
/// request is neither new nor finished, and the attempt's token is the oldest that it remembers.
fn decisions(criterion: &mut Criterion) {
    let (knowledge, row) = (knowledge(), Row { won: false, ..row(0) });
    criterion.bench_function("judge/request", |bencher| {
        bencher.iter(|| request::state_of(black_box(&row)));
    });
    criterion.bench_function("judge/stage", |bencher| {
        bencher.iter(|| stage::decide(black_box(&knowledge), black_box(&row), Some("started")));
    });
}

/// What an attempt keeps of its lease: noted with each of its writes, and copied into each that is fenced.
fn leases(criterion: &mut Criterion) {
    let (knowledge, row) = (knowledge(), row(TOKENS));
    criterion.bench_function("lease/fence", |bencher| {
        bencher.iter(|| black_box(&knowledge).fence(LEASE));
    });
    criterion.bench_function("lease/wrote", |bencher| {
        bencher.iter_batched_ref(
            || knowledge.clone(),
            |knowledge| knowledge.wrote(&row),
            BatchSize::SmallInput,
        );
    });
}

/// A whole stage of an attempt that holds its lease, in a transaction of the caller's: all that the engine
/// does between the answers that it is given.
fn stages(criterion: &mut Criterion) {
    let sql = Arc::new(Sql::new(Some("public")));
    criterion.bench_function("stepped/stage", |bencher| {
        bencher.iter_batched(
            || (stage_operation(&sql), row(0), answer(), row(1)),
            |(operation, locked, outcome, written)| run_stage(operation, locked, outcome, written),
            BatchSize::SmallInput,
        );
    });
}

fn stage_operation(sql: &Arc<Sql>) -> SteppedOperation {
    let lease = Arc::new(Lease::new(LEASE));
    lease.began(&row(0), Beginning::New);
    let claimant = Claimant::LeaseHolder(lease, Some("started".to_owned()));
    SteppedOperation::new(Arc::clone(sql), |executor| async move {
        let work = executor.work();
        stage::run(&executor, KEY, &claimant, work).await
    })
}

fn run_stage(
    mut operation: SteppedOperation,
    locked: Row,
    result: StageResult,
    written: Row,
) -> Answer {
    let Step::Query(_) = operation.begin() else { panic!("no row lock") };
    let Step::Work = operation.resume(rows(locked)) else { panic!("no work") };
    let Step::Query(_) = operation.resume(Given::Work(Ok(result))) else { panic!("no update") };
    ended(operation.resume(rows(written)))
}

/// The beginning of a new request, in a transaction of the caller's.
fn beginnings(criterion: &mut Criterion) {
    let sql = Arc::new(Sql::new(Some("public")));
    criterion.bench_function("stepped/begin", |bencher| {
        bencher.iter_batched(
            || (begin_operation(&sql), row(0)),
            |(operation, begun)| run_begin(operation, begun),
            BatchSize::SmallInput,
        );
    });
}

fn begin_operation(sql: &Arc<Sql>) -> SteppedOperation {
    let lease = Lease::new(LEASE);
    SteppedOperation::new(Arc::clone(sql), |executor| async move {
        let key = Some(KEY.to_owned());
        request::initialize(&executor, &lease, key, request(), LEASE, false).await
    })
}

fn run_begin(mut operation: SteppedOperation, begun: Row) -> Answer {
    let Step::Query(_) = operation.begin() else { panic!("no insert") };
    ended(operation.resume(rows(begun)))
}

fn ended(step: Step) -> Answer {
    match step {
        Step::Ended(answer) => answer.unwrap(),
        step => panic!("needs {step:?}"),
    }
}

fn rows(row: Row) -> Given {
    Given::Rows(Ok(vec![row]))
}

/// Short rounds, so that all of them take less than half a minute.
fn short_rounds() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(400))
        .nresamples(10_000)
}

criterion_group! {
    name = parts;
    config = short_rounds();
    targets = known_texts, new_texts, batch_texts, batch_arrays, headers, selectors, stage_keys,
        decisions, leases, stages, beginnings
}
criterion_main!(parts);
