//! A reader of PostgreSQL's literals that knows nothing of how the engine writes them: see "Lexical Structure" in
//! PostgreSQL's documentation.

/// The text of the one string constant that a piece of SQL is; `None` if it is anything else, or more than that.
/// `standard_conforming_strings` is the server's setting.
pub fn string_constant(sql: &str, standard_conforming_strings: bool) -> Option<String> {
    let (escapes, quoted) = match sql.strip_prefix('E') {
        Some(quoted) => (true, quoted),
        None => (!standard_conforming_strings, sql),
    };
    let mut rest = quoted.strip_prefix('\'')?.chars().peekable();
    let mut text = String::new();
    loop {
        match rest.next()? {
            '\\' if escapes => text.push(escaped(rest.next()?)?),
            '\'' if rest.peek() == Some(&'\'') => text.extend(rest.next()),
            '\'' => {
                let white: String =
                    std::iter::from_fn(|| rest.next_if(|c| c.is_ascii_whitespace())).collect();
                match rest.next() {
                    None if white.is_empty() => return Some(text),
                    // A constant goes on in another line.
                    Some('\'') if white.contains('\n') => {}
                    _ => return None,
                }
            }
            c => text.push(c),
        }
    }
}

/// What a backslash and a character stand for, of those that are never written by chance.
fn escaped(c: char) -> Option<char> {
    matches!(c, '\\' | '\'').then_some(c)
}

/// The elements of an array of text: see "Array Input and Output Syntax".
pub fn array(text: &str) -> Option<Vec<Option<String>>> {
    let inside = text.strip_prefix('{')?.strip_suffix('}')?;
    let mut rest = inside.chars().peekable();
    let mut elements = Vec::new();
    while rest.peek().is_some() {
        elements.push(match rest.peek() {
            Some('"') => Some(quoted_element(&mut rest)?),
            _ => {
                let word: String = std::iter::from_fn(|| rest.next_if(|c| *c != ',')).collect();
                (word == "NULL").then_some(None)?
            }
        });
        match rest.next() {
            None => return Some(elements),
            Some(',') if rest.peek().is_some() => {}
            _ => return None,
        }
    }
    Some(elements)
}

fn quoted_element(rest: &mut impl Iterator<Item = char>) -> Option<String> {
    rest.next();
    let mut text = String::new();
    loop {
        match rest.next()? {
            '"' => return Some(text),
            '\\' => text.push(rest.next()?),
            c => text.push(c),
        }
    }
}

/// The bytes that text in bytea's hexadecimal form stands for.
pub fn bytes(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("\\x")?;
    let pairs = digits.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}
