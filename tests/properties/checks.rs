//! What has to hold of the engine's pure functions, whatever they are given. `tests/properties.rs` makes the input by
//! proptest, and reads it from `fuzz/corpus`; `fuzz/` has libFuzzer find it.

use medusa_idempotency_key::engine::postgres::literal::{bytes_literal, literal};
use medusa_idempotency_key::engine::postgres::parameters::Parameters;
use medusa_idempotency_key::engine::postgres::parts::{Host, Parts, address};
use medusa_idempotency_key::engine::postgres::target::Target;
use medusa_idempotency_key::engine::protocol::request::client_key;
use medusa_idempotency_key::engine::protocol::selector::Selector;
use medusa_idempotency_key::engine::protocol::statement::Statement;
use medusa_idempotency_key::engine::sql::Sql;
use medusa_idempotency_key::engine::sql::batch::Array;
use medusa_idempotency_key::engine::timestamp::Timestamp;

use crate::lexer;

/// Between the parts of an input that has several.
pub const SEPARATOR: char = '\u{1f}';
/// Stands for NULL in place of a part.
pub const NULL: &str = "\u{1e}";

/// Reads an input of the fuzzer: a digit that names the check, and its text. A corpus can be read and written
/// by hand.
pub fn check(input: &[u8]) {
    let Some((kind, text)) = input.split_first() else { return };
    let text = String::from_utf8_lossy(text);
    let parts: Vec<&str> = text.split(SEPARATOR).collect();
    match kind % 6 {
        0 => literals(&text),
        1 => {
            let values: Vec<_> =
                parts.iter().map(|part| Some(*part).filter(|part| *part != NULL)).collect();
            parameters(&values);
        }
        2 => selectors(&text),
        3 => keys(&text),
        4 => connections(&parts),
        _ => times(&text),
    }
}

/// A literal is one string constant that says the text, under both settings of backslashes, and no byte of a
/// character in another encoding can swallow a backslash.
pub fn literals(text: &str) {
    let written = literal(Some(text));
    assert_eq!(written.is_err(), text.contains('\0'), "{text:?}");
    if let Ok(sql) = written {
        says(&sql, text);
        let before = sql.char_indices().filter(|(_, c)| *c == '\\').map(|(at, _)| &sql[..at]);
        assert!(before.into_iter().all(|sql| sql.ends_with(|c: char| c.is_ascii())), "{sql:?}");
    }
    let sql = bytes_literal(text.as_bytes());
    let read = lexer::string_constant(&sql, true).and_then(|text| lexer::bytes(&text));
    assert_eq!(read.as_deref(), Some(text.as_bytes()), "{sql:?}");
}

fn says(sql: &str, text: &str) {
    for standard_conforming in [true, false] {
        let read = lexer::string_constant(sql, standard_conforming);
        assert_eq!(read.as_deref(), Some(text), "{sql:?}, {standard_conforming}");
    }
}

/// An array of parameters is one literal, of which the server reads the same values.
pub fn parameters(values: &[Option<&str>]) {
    let owned: Vec<Option<String>> = values.iter().map(|value| value.map(str::to_owned)).collect();
    let is_refused = values.iter().flatten().any(|value| value.contains('\0'));
    let arrays = [Array::Borrowed(values.to_vec()), Array::Owned(owned.clone())];
    let arrays = Parameters::Arrays(arrays.into());
    assert!(arrays.arguments().is_ok());
    match arrays.literals() {
        Err(_) => assert!(is_refused),
        Ok(written) => {
            assert!(!is_refused);
            for sql in written {
                let text = lexer::string_constant(&sql, true).unwrap_or_default();
                assert_eq!(lexer::array(&text), Some(owned.clone()), "{sql:?}");
                says(&sql, &text);
            }
        }
    }
    let texts = Parameters::Texts(owned);
    assert!(texts.arguments().is_ok());
    assert_eq!(texts.literals().is_err(), is_refused);
}

/// A selector's SQL has words of the engine's own and placeholders, never a value, unless a developer wrote it.
pub fn selectors(json: &str) {
    let Ok(selector) = Selector::from_json(json) else { return };
    let _ = selector.constraints();
    let is_raw = selector.is_raw();
    let query = Sql::new(None).write(Statement::Select(selector));
    if is_raw {
        return;
    }
    let (_, condition) = query.text.split_once(" WHERE ").unwrap_or_default();
    let mut numbers = Vec::new();
    let words = condition.split([' ', '(', ')', ',']).filter(|word| !word.is_empty());
    for word in words {
        match word.strip_prefix('$') {
            Some(number) => numbers.push(number.parse().unwrap_or(0)),
            None => assert!(is_own(word), "{word:?} in {condition:?}"),
        }
    }
    assert_eq!(numbers, (1..=query.parameters.len()).collect::<Vec<_>>(), "{condition:?}");
    let opened = condition.matches('(').count();
    assert_eq!(opened, condition.matches(')').count(), "{condition:?}");
}

fn is_own(word: &str) -> bool {
    let is_operator = ["=", "<", "<=", ">", ">=", "@>", "'milliseconds'", "2"].contains(&word);
    is_operator || word.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'_')
}

/// A key is 1 to 255 visible characters, the same in quotes.
pub fn keys(header: &str) {
    match client_key(Some(header)) {
        Ok(None) => assert!(header.is_empty()),
        Err(_) => assert!(!header.is_empty()),
        Ok(Some(key)) => {
            let is_visible = key.bytes().all(|byte| (0x21..=0x7e).contains(&byte));
            assert!(is_visible && (1..=255).contains(&key.len()), "{key:?}");
            assert!(header == key || header.starts_with('"'), "{key:?} of {header:?}");
            let quoted = format!("\"{}\"", key.replace('\\', "\\\\").replace('"', "\\\""));
            assert_eq!(client_key(Some(&quoted)).ok(), Some(Some(key)), "{quoted:?}");
        }
    }
}

/// What a connection is made of reaches the driver as it was given, and the password no message.
pub fn connections(given: &[&str]) {
    let part = |index: usize| given.get(index).copied().filter(|part| *part != NULL);
    let owned = |index| part(index).map(str::to_owned);
    let host = Host { name: part(0).unwrap_or("h").to_owned(), port: 5432 };
    let mut parts = Parts {
        hosts: vec![host.clone()],
        user: owned(1),
        database: owned(2),
        options: owned(3),
        application_name: owned(4),
        password: Some("\u{1}s3cret\u{1}".to_owned()),
        ..Parts::default()
    };
    if let Ok(options) = address(&host, &parts) {
        assert_eq!(options.get_port(), 5432);
        assert!(options.get_socket().is_some() || options.get_host() == host.name, "{host:?}");
        assert!(part(1).is_none_or(|user| options.get_username() == user), "{given:?}");
        assert!(part(2).is_none_or(|name| options.get_database() == Some(name)), "{given:?}");
        assert!(part(3).is_none_or(|text| options.get_options() == Some(text)), "{given:?}");
        let name = options.get_application_name();
        assert!(part(4).is_none_or(|given| name == Some(given)), "{given:?}");
    }
    let shown = match Target::new(&mut parts) {
        Ok(target) => target.to_string(),
        Err(error) => error.to_string(),
    };
    assert!(!shown.contains("s3cret\u{1}"), "{shown:?}");
}

/// A time that is read is one that JavaScript can show.
pub fn times(text: &str) {
    if let Ok(time) = text.parse::<Timestamp>() {
        assert!(!time.milliseconds().is_nan(), "{text:?}");
        if let Some(written) = written(time) {
            assert_eq!(written.parse(), Ok(time), "{text:?} as {written:?}");
        }
    }
}

/// A time as a server writes it, if it is one that PostgreSQL has.
pub fn written(Timestamp(microseconds): Timestamp) -> Option<String> {
    let (seconds, fraction) =
        (microseconds.div_euclid(1_000_000), microseconds.rem_euclid(1_000_000));
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil(days + 730_425);
    if !(-4712..=294_276).contains(&year) {
        return None;
    }
    let (year, era) = if year > 0 { (year, "") } else { (1 - year, " BC") };
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let date = format!("{year:04}-{month:02}-{day:02}");
    Some(format!("{date} {hour:02}:{minute:02}:{second:02}.{fraction:06}+00{era}"))
}

/// Year, month and day of a day that is counted from 0000-03-01, in the Gregorian calendar.
fn civil(day: i64) -> (i64, i64, i64) {
    let (era, day) = (day.div_euclid(146_097), day.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (day, month) =
        (day - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    (era * 400 + year + i64::from(month <= 2), month, day)
}
