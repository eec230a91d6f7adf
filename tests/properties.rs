//! Properties of the engine's pure functions, with input that proptest makes, and with that of the fuzzer's corpus.
//!
//! The input is the same in each run. `PROPTEST_CASES=100000 cargo test --test properties` looks further.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "properties/checks.rs"]
mod checks;
#[path = "properties/lexer.rs"]
mod lexer;

use std::fs;
use std::path::Path;

use checks::{NULL, SEPARATOR};
use medusa_idempotency_key::engine::timestamp::Timestamp;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::RngSeed;

fn config() -> ProptestConfig {
    let is_given = std::env::var_os("PROPTEST_CASES").is_some();
    ProptestConfig {
        failure_persistence: None,
        rng_seed: if is_given { RngSeed::Random } else { RngSeed::Fixed(1) },
        cases: if is_given { ProptestConfig::default().cases } else { 2_000 },
        ..ProptestConfig::default()
    }
}

/// Text with what is likely to break a literal, a header, JSON or a URL.
fn text() -> impl Strategy<Value = String> {
    const PIECES: [&str; 32] = [
        "'", "\\", "\"", "''", "E'", "$$", "$1", "--", "/*", "\n", "\r", "\t", "\0", "\u{1}",
        "\u{7f}", "a", "NULL", "{", "}", ",", ";", "é", "é\\", "表\\", "😀", "\u{ffff}", "%",
        "%41", "&", "=", "?", "/",
    ];
    let pieces = proptest::collection::vec(select(&PIECES[..]), 0..12);
    prop_oneof![3 => pieces.prop_map(|pieces| pieces.concat()), 1 => any::<String>()]
}

fn part() -> impl Strategy<Value = String> {
    prop_oneof![4 => text(), 1 => Just(NULL.to_owned())]
}

fn operand() -> impl Strategy<Value = serde_json::Value> {
    (proptest::option::of(text()), any::<bool>())
        .prop_map(|(text, date)| serde_json::json!({ "text": text, "date": date }))
}

fn predicate() -> impl Strategy<Value = serde_json::Value> {
    const COMPARISONS: [&str; 8] = [
        "equal",
        "lessThan",
        "lessThanOrEqual",
        "moreThan",
        "moreThanOrEqual",
        "like",
        "ilike",
        "jsonContains",
    ];
    let of =
        |operator: &str, operand| serde_json::json!({ "operator": operator, "operand": operand });
    let leaf = prop_oneof![
        (select(&COMPARISONS[..]), operand())
            .prop_map(move |(operator, operand)| of(operator, operand)),
        proptest::collection::vec(operand(), 0..4).prop_map(move |list| of("in", list.into())),
        proptest::collection::vec(operand(), 2).prop_map(move |list| of("between", list.into())),
        Just(serde_json::json!({ "operator": "isNull" })),
    ];
    leaf.prop_recursive(4, 16, 3, move |inner| {
        prop_oneof![
            inner.clone().prop_map(move |inner| of("not", inner)),
            proptest::collection::vec(inner, 0..3).prop_map(move |all| of("and", all.into())),
        ]
    })
}

fn selector() -> impl Strategy<Value = String> {
    let column = prop_oneof![
        9 => select(&["id", "created_at", "response_body", "response_code"][..])
            .prop_map(str::to_owned),
        1 => text(),
    ];
    let condition = (column, predicate()).prop_map(
        |(column, predicate)| serde_json::json!({ "column": column, "predicate": predicate }),
    );
    let conditions = proptest::collection::vec(condition, 0..3);
    proptest::collection::vec(conditions, 0..3).prop_map(|all| serde_json::json!(all).to_string())
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_literal_is_one_constant_that_says_the_text(text in text()) {
        checks::literals(&text);
    }

    #[test]
    fn an_array_is_one_constant_of_which_the_values_are_read(
        values in proptest::collection::vec(proptest::option::of(text()), 0..6),
    ) {
        checks::parameters(&values.iter().map(Option::as_deref).collect::<Vec<_>>());
    }

    #[test]
    fn a_selector_is_sql_of_the_engines_own(json in selector()) {
        checks::selectors(&json);
    }

    #[test]
    fn a_key_is_visible_and_the_same_in_quotes(
        header in prop_oneof![text(), "[!-~]{1,260}", "\"([ -~]|\\\\[\"\\\\]){0,20}\" ?(;[a-z]=1)?"],
    ) {
        checks::keys(&header);
    }

    #[test]
    fn a_connection_is_made_of_what_was_given(
        parts in proptest::collection::vec(part(), 0..6),
    ) {
        checks::connections(&parts.iter().map(String::as_str).collect::<Vec<_>>());
    }

    #[test]
    fn a_time_is_read_as_a_server_writes_it(
        time in prop_oneof![any::<i64>(), -211_813_488_000_000_000..9_223_371_331_200_000_000_i64],
        text in prop_oneof![any::<String>(), "[0-9+-]{1,20}-[0-9]{2}-[0-9]{2} [0-9:.+-]{0,20}( BC)?"],
    ) {
        if let Some(written) = checks::written(Timestamp(time)) {
            prop_assert_eq!(written.parse(), Ok(Timestamp(time)), "{}", written);
        }
        checks::times(&text);
    }

    #[test]
    fn no_input_of_the_fuzzer_breaks_a_check(
        kind in b'0'..b'6',
        parts in proptest::collection::vec(part(), 0..6),
    ) {
        let text = parts.join(&SEPARATOR.to_string());
        checks::check(&[&[kind], text.as_bytes()].concat());
    }
}

#[test]
fn the_corpus_of_the_fuzzer_breaks_no_check() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/engine");
    let mut kinds = [0; 6];
    for file in fs::read_dir(corpus).unwrap() {
        let path = file.unwrap().path();
        let input = fs::read(&path).unwrap();
        println!("{}", path.display());
        checks::check(&input);
        kinds[usize::from(input[0] % 6)] += 1;
    }
    assert!(kinds.iter().all(|count| *count > 0), "{kinds:?}");
}
