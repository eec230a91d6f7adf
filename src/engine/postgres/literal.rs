//! Values as SQL writes them.

use crate::engine::error::Error;

/// A value as SQL writes it: a string, however `standard_conforming_strings` is set, or `NULL`.
///
/// # Errors
/// [`Error::Database`] for text with a NUL character, as the server says it.
pub fn literal(value: Option<&str>) -> Result<String, Error> {
    let Some(text) = value else { return Ok("NULL".to_owned()) };
    refuse_nul(text)?;
    let doubled = text.replace('\'', "''");
    Ok(match doubled.contains('\\') {
        true => format!("E'{}'", with_backslashes(&doubled)),
        false => format!("'{doubled}'"),
    })
}

/// Doubles backslashes. None of them follows a byte that is no ASCII: in some encodings of clients, to which a
/// caller's own statement may have switched, it would be the second half of a character. There the literal ends and
/// goes on in the next line, which SQL reads as one: a quote is no half of a character anywhere.
fn with_backslashes(text: &str) -> String {
    let mut written = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if c == '\\' {
            if !written.ends_with(|last: char| last.is_ascii()) && !written.is_empty() {
                written.push_str("'\n'");
            }
            written.push('\\');
        }
        written.push(c);
    }
    written
}

/// Bytes as SQL writes them.
pub fn bytes_literal(bytes: &[u8]) -> String {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!(r"E'\\x{digits}'")
}

/// Refuses text that ends a message before its time.
///
/// # Errors
/// [`Error::Database`], as the server says it.
pub fn refuse_nul(text: &str) -> Result<(), Error> {
    match text.contains('\0') {
        true => Err(Error::nul_character()),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_literal_says_the_same_under_both_settings_of_backslashes() {
        assert_eq!(literal(Some("it's")).unwrap(), "'it''s'");
        assert_eq!(literal(Some(r"a\'b")).unwrap(), r"E'a\\''b'");
        assert_eq!(literal(Some(r"é\")).unwrap(), "E'é'\n'\\\\'");
        assert_eq!(literal(None).unwrap(), "NULL");
        assert!(literal(Some("a\0b")).is_err());
        assert_eq!(bytes_literal(&[0, 255]), r"E'\\x00ff'");
    }
}
