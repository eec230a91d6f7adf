//! Values of a caller's own statements: between PostgreSQL's binary format and its text.
//!
//! Only what is common and unmistakable is done here. Whatever this file declines, the server
//! converts, so it decides what is valid and how it is written.

use chrono::{DateTime, Days, NaiveDate};
use uuid::Uuid;

/// A parameter as JavaScript gives it.
#[derive(Clone, Debug, PartialEq)]
pub enum Parameter {
    /// SQL `NULL`.
    Null,
    /// Text of whatever type the server infers.
    Text(String),
    /// The binary form itself.
    Binary(Vec<u8>),
    /// A list: a JSON array where the server infers JSON, else an array literal.
    List {
        /// As JSON text, unless it holds what JSON cannot.
        json: Option<String>,
        /// As `{…}`.
        literal: String,
    },
}

/// What became of a parameter.
#[derive(Debug, PartialEq)]
pub enum Encoded {
    /// SQL `NULL`.
    Null,
    /// PostgreSQL's binary form.
    Binary(Vec<u8>),
    /// For the server to read.
    Text(String),
}

/// The rows a statement answers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rows {
    /// Name and type of each column.
    pub columns: Vec<(String, u32)>,
    /// Values as PostgreSQL writes them.
    pub rows: Vec<Vec<Option<String>>>,
}

/// Object identifiers of built-in types, which never change.
#[allow(missing_docs)]
pub mod oid {
    pub const BOOL: u32 = 16;
    pub const BYTEA: u32 = 17;
    pub const NAME: u32 = 19;
    pub const INT8: u32 = 20;
    pub const INT2: u32 = 21;
    pub const INT4: u32 = 23;
    pub const TEXT: u32 = 25;
    pub const OID: u32 = 26;
    pub const JSON: u32 = 114;
    pub const FLOAT4: u32 = 700;
    pub const FLOAT8: u32 = 701;
    pub const UNKNOWN: u32 = 705;
    pub const BPCHAR: u32 = 1042;
    pub const VARCHAR: u32 = 1043;
    pub const DATE: u32 = 1082;
    pub const TIMESTAMP: u32 = 1114;
    pub const TIMESTAMPTZ: u32 = 1184;
    pub const NUMERIC: u32 = 1700;
    pub const VOID: u32 = 2278;
    pub const UUID: u32 = 2950;
    pub const JSONB: u32 = 3802;
}

/// Microseconds from 1970-01-01 to 2000-01-01, from which PostgreSQL counts.
const EPOCH_MICROSECONDS: i64 = 946_684_800_000_000;
/// The version that binary jsonb starts with.
const JSONB_VERSION: u8 = 1;

/// Turns a parameter into the binary form of the type the server infers for it.
pub fn encode(parameter: Parameter, oid: u32) -> Encoded {
    let text = match parameter {
        Parameter::Null => return Encoded::Null,
        Parameter::Binary(bytes) => return Encoded::Binary(bytes),
        Parameter::List { json: Some(json), .. } if matches!(oid, oid::JSON | oid::JSONB) => json,
        Parameter::List { literal, .. } => literal,
        Parameter::Text(text) => text,
    };
    match encode_text(&text, oid) {
        Some(bytes) => Encoded::Binary(bytes),
        None => Encoded::Text(text),
    }
}

fn encode_text(text: &str, oid: u32) -> Option<Vec<u8>> {
    match oid {
        oid::TEXT | oid::VARCHAR | oid::BPCHAR | oid::UNKNOWN | oid::JSON => {
            Some(text.as_bytes().to_vec())
        }
        oid::JSONB => Some([&[JSONB_VERSION], text.as_bytes()].concat()),
        oid::BOOL => match text {
            "true" => Some(vec![1]),
            "false" => Some(vec![0]),
            _ => None,
        },
        oid::INT2 => Some(text.parse::<i16>().ok()?.to_be_bytes().to_vec()),
        oid::INT4 => Some(text.parse::<i32>().ok()?.to_be_bytes().to_vec()),
        oid::INT8 => Some(text.parse::<i64>().ok()?.to_be_bytes().to_vec()),
        oid::FLOAT8 => {
            let float = text.parse().ok().filter(|float| is_within_range(*float, text))?;
            Some(float.to_be_bytes().to_vec())
        }
        oid::UUID if text.len() == 36 => Some(Uuid::try_parse(text).ok()?.into_bytes().to_vec()),
        // The form that a JavaScript Date is given in; a longer fraction would lose digits here.
        oid::TIMESTAMPTZ if text.len() == "2000-01-01T00:00:00.000+00:00".len() => {
            let time = DateTime::parse_from_rfc3339(text).ok()?;
            Some((time.timestamp_micros() - EPOCH_MICROSECONDS).to_be_bytes().to_vec())
        }
        _ => None,
    }
}

/// Writes a binary value as PostgreSQL writes it as text; `None` for what only the server can.
pub fn decode(bytes: &[u8], oid: u32) -> Option<String> {
    match oid {
        oid::TEXT | oid::VARCHAR | oid::BPCHAR | oid::NAME | oid::UNKNOWN | oid::JSON => {
            utf8(bytes)
        }
        oid::JSONB => utf8(bytes.strip_prefix(&[JSONB_VERSION])?),
        oid::BOOL => Some(if bytes == [1] { "t" } else { "f" }.to_owned()),
        oid::INT2 => Some(i16::from_be_bytes(bytes.try_into().ok()?).to_string()),
        oid::INT4 => Some(i32::from_be_bytes(bytes.try_into().ok()?).to_string()),
        oid::INT8 => Some(i64::from_be_bytes(bytes.try_into().ok()?).to_string()),
        oid::OID => Some(u32::from_be_bytes(bytes.try_into().ok()?).to_string()),
        oid::FLOAT4 => {
            let float = f32::from_be_bytes(bytes.try_into().ok()?);
            has_no_exponent(float.into(), 1e6).then(|| float.to_string())
        }
        oid::FLOAT8 => {
            let float = f64::from_be_bytes(bytes.try_into().ok()?);
            has_no_exponent(float, 1e15).then(|| float.to_string())
        }
        oid::NUMERIC => numeric(bytes),
        oid::UUID => Some(Uuid::from_slice(bytes).ok()?.to_string()),
        oid::BYTEA => Some(hex(bytes)),
        oid::TIMESTAMPTZ => Some(timestamp(bytes)? + "+00"),
        oid::TIMESTAMP => timestamp(bytes),
        oid::DATE => date(bytes),
        oid::VOID => Some(String::new()),
        _ => None,
    }
}

/// Rust rounds what is too large to infinity and what is too small to zero; PostgreSQL refuses it.
fn is_within_range(float: f64, text: &str) -> bool {
    let says_zero = || !text.contains(|c: char| matches!(c, '1'..='9'));
    float.is_finite() && (float != 0.0 || says_zero())
}

/// PostgreSQL writes large and small floats with an exponent, Rust never does.
fn has_no_exponent(float: f64, limit: f64) -> bool {
    float == 0.0 || (1e-4..limit).contains(&float.abs())
}

fn utf8(bytes: &[u8]) -> Option<String> {
    Some(std::str::from_utf8(bytes).ok()?.to_owned())
}

fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().map(|byte| format!("{byte:02x}"));
    std::iter::once("\\x".to_owned()).chain(digits).collect()
}

/// Years of four digits; infinities and years before Christ are for the server.
fn timestamp(bytes: &[u8]) -> Option<String> {
    let microseconds = i64::from_be_bytes(bytes.try_into().ok()?);
    let microseconds = microseconds.checked_add(EPOCH_MICROSECONDS)?;
    let time = DateTime::from_timestamp_micros(microseconds)?.naive_utc();
    if !has_four_digit_year(time.date()) {
        return None;
    }
    let text = time.format("%Y-%m-%d %H:%M:%S%.6f").to_string();
    Some(text.trim_end_matches('0').trim_end_matches('.').to_owned())
}

fn date(bytes: &[u8]) -> Option<String> {
    let days = i32::from_be_bytes(bytes.try_into().ok()?);
    let epoch = NaiveDate::from_ymd_opt(2000, 1, 1)?;
    let distance = Days::new(u64::from(days.unsigned_abs()));
    let date = if days < 0 {
        epoch.checked_sub_days(distance)?
    } else {
        epoch.checked_add_days(distance)?
    };
    has_four_digit_year(date).then(|| date.format("%Y-%m-%d").to_string())
}

fn has_four_digit_year(date: NaiveDate) -> bool {
    use chrono::Datelike as _;
    (1..=9999).contains(&date.year())
}

/// A numeric is a count of groups of four decimal digits, the weight of the first group, a sign,
/// and the number of digits after the point.
fn numeric(bytes: &[u8]) -> Option<String> {
    let words: Vec<u16> =
        bytes.chunks_exact(2).map(|word| u16::from_be_bytes([word[0], word[1]])).collect();
    let [_, weight, sign, scale, groups @ ..] = words.as_slice() else {
        return None;
    };
    let weight = i32::from(weight.cast_signed());
    let scale = usize::from(*scale);
    let group = |position: i32| {
        let group = usize::try_from(position).ok().and_then(|index| groups.get(index));
        group.copied().unwrap_or(0)
    };
    let mut text = match sign {
        0x0000 => String::new(),
        0x4000 => "-".to_owned(),
        _ => return None, // NaN and the infinities
    };
    let integer: String = (0..=weight).map(|position| format!("{:04}", group(position))).collect();
    let integer = integer.trim_start_matches('0');
    text.push_str(if integer.is_empty() { "0" } else { integer });
    if scale > 0 {
        let groups_needed = i32::try_from(scale.div_ceil(4)).ok()?;
        let fraction: String = (weight + 1..=weight + groups_needed)
            .map(|position| format!("{:04}", group(position)))
            .collect();
        text.push('.');
        text.push_str(&fraction[..scale]);
    }
    Some(text)
}

/// An array literal whose one element is `text`.
pub fn array_of_one(text: &str) -> String {
    format!("{{\"{}\"}}", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// The one element of a binary array: a header of five words, the element's length, the element.
pub fn only_element(array: &[u8]) -> Option<Vec<u8>> {
    const HEADER: usize = 20;
    let length = array.get(HEADER..HEADER + 4)?;
    let length = i32::from_be_bytes(length.try_into().ok()?);
    let element = array.get(HEADER + 4..HEADER + 4 + usize::try_from(length).ok()?)?;
    Some(element.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numeric_of(words: &[u16]) -> Option<String> {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        numeric(&bytes)
    }

    #[test]
    fn numerics_keep_their_scale() {
        assert_eq!(numeric_of(&[0, 0, 0, 0]).as_deref(), Some("0"));
        assert_eq!(numeric_of(&[2, 0, 0, 2, 10, 5000]).as_deref(), Some("10.50"));
        assert_eq!(numeric_of(&[1, 0xFFFF, 0x4000, 4, 25]).as_deref(), Some("-0.0025"));
        assert_eq!(numeric_of(&[1, 0xFFFE, 0, 8, 25]).as_deref(), Some("0.00000025"));
        assert_eq!(numeric_of(&[1, 2, 0, 0, 1]).as_deref(), Some("100000000"));
        assert_eq!(numeric_of(&[0, 0, 0xC000, 0]), None);
    }

    #[test]
    fn what_is_doubtful_is_left_to_the_server() {
        let text = |text: &str| Parameter::Text(text.to_owned());
        assert_eq!(encode(text("1.5"), oid::INT4), Encoded::Text("1.5".to_owned()));
        assert_eq!(encode(text("yes"), oid::BOOL), Encoded::Text("yes".to_owned()));
        assert_eq!(encode(text("7"), oid::INT2), Encoded::Binary(vec![0, 7]));
        assert_eq!(decode(&i64::MAX.to_be_bytes(), oid::TIMESTAMPTZ), None);
    }

    #[test]
    fn the_element_of_an_array_is_quoted() {
        assert_eq!(array_of_one(r#"a"b\c"#), r#"{"a\"b\\c"}"#);
    }
}
