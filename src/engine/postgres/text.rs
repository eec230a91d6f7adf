//! SQL as text: where it is code and where it is quoted.

/// A part of SQL text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part<'a> {
    /// What the server reads as SQL.
    Code(&'a str),
    /// A string or a quoted name.
    Quoted(&'a str),
    /// A comment.
    Comment(&'a str),
}

/// The parts of SQL text in their order. A backslash escapes in `E'…'` alone, as
/// `standard_conforming_strings` has it by default.
struct Parts<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Parts<'a> {
    type Item = Part<'a>;

    fn next(&mut self) -> Option<Part<'a>> {
        if self.rest.is_empty() {
            return None;
        }
        let begin = quote_begins(self.rest);
        if begin > 0 {
            return Some(Part::Code(self.take(begin)));
        }
        let end = |length: Option<usize>| length.unwrap_or(self.rest.len());
        let part = match self.rest.as_bytes() {
            [b'-', ..] => Part::Comment(self.take(end(self.rest.find(['\n', '\r'])))),
            [b'/', ..] => Part::Comment(self.take(end(block_comment(self.rest)))),
            [b'"', ..] => Part::Quoted(self.take(end(quoted(self.rest, 1, '"', false)))),
            [b'\'', ..] => Part::Quoted(self.take(end(quoted(self.rest, 1, '\'', false)))),
            [b'E' | b'e', ..] => Part::Quoted(self.take(end(quoted(self.rest, 2, '\'', true)))),
            _ => Part::Quoted(self.take(end(dollar_quoted(self.rest)))),
        };
        Some(part)
    }
}

impl<'a> Parts<'a> {
    fn take(&mut self, length: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(length);
        self.rest = rest;
        taken
    }
}

/// How far it is to the next comment, string or quoted name.
fn quote_begins(sql: &str) -> usize {
    let mut before = ' ';
    for (at, c) in sql.char_indices() {
        let rest = &sql[at..];
        let begins = match c {
            '\'' | '"' => true,
            'E' | 'e' => !is_of_name(before) && rest[1..].starts_with('\''),
            '-' => rest.starts_with("--"),
            '/' => rest.starts_with("/*"),
            '$' => !is_of_name(before) && dollar_tag(rest).is_some(),
            _ => false,
        };
        if begins {
            return at;
        }
        before = c;
    }
    sql.len()
}

fn is_of_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}

/// The length of a string or name that begins with a quote after `open` characters.
fn quoted(sql: &str, open: usize, quote: char, backslash: bool) -> Option<usize> {
    let mut characters = sql.char_indices().skip(open).peekable();
    while let Some((at, c)) = characters.next() {
        if backslash && c == '\\' {
            characters.next();
        } else if c == quote && characters.next_if(|(_, next)| *next == quote).is_none() {
            return Some(at + 1);
        }
    }
    None
}

/// The length of a comment that may hold others, as PostgreSQL's may.
fn block_comment(sql: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let mut at = 0;
    loop {
        let rest = &sql[at..];
        let next = rest.find("/*").into_iter().chain(rest.find("*/")).min()?;
        depth = if rest[next..].starts_with("/*") { depth + 1 } else { depth.saturating_sub(1) };
        at += next + 2;
        if depth == 0 {
            return Some(at);
        }
    }
}

/// The tag that begins `$tag$…$tag$`, with its dollars.
fn dollar_tag(sql: &str) -> Option<&str> {
    let length = sql[1..].find('$')? + 2;
    let name = &sql[1..length - 1];
    let is_name = name.chars().all(|c| c.is_alphanumeric() || c == '_');
    (is_name && !name.starts_with(|c: char| c.is_ascii_digit())).then(|| &sql[..length])
}

fn dollar_quoted(sql: &str) -> Option<usize> {
    let tag = dollar_tag(sql)?;
    let end = sql[tag.len()..].find(tag)?;
    Some(end + 2 * tag.len())
}

/// Whether SQL text holds one statement, which a semicolon may end.
pub fn is_single(sql: &str) -> bool {
    let mut ended = false;
    for part in (Parts { rest: sql }) {
        let code = match part {
            Part::Code(code) => code,
            Part::Quoted(_) if ended => return false,
            Part::Quoted(_) | Part::Comment(_) => continue,
        };
        for c in code.chars() {
            match c {
                ';' => ended = true,
                c if ended && !c.is_whitespace() => return false,
                _ => {}
            }
        }
    }
    true
}

/// The text of a single statement without the semicolons that end it.
pub fn without_end(sql: &str) -> String {
    let parts = Parts { rest: sql }.map(|part| match part {
        Part::Code(code) => code.replace(';', " "),
        Part::Quoted(text) | Part::Comment(text) => text.to_owned(),
    });
    parts.collect()
}

/// The first word of SQL text, in upper case.
pub fn first_word(sql: &str) -> String {
    let codes = Parts { rest: sql }.filter_map(|part| match part {
        Part::Code(code) => Some(code.trim_start_matches(|c: char| c.is_whitespace() || c == ';')),
        Part::Quoted(_) | Part::Comment(_) => None,
    });
    let first = codes.into_iter().find(|code| !code.is_empty()).unwrap_or_default();
    first.chars().take_while(char::is_ascii_alphabetic).map(|c| c.to_ascii_uppercase()).collect()
}

/// Whether SQL text asks for values.
pub fn has_parameters(sql: &str) -> bool {
    Parts { rest: sql }.any(|part| match part {
        Part::Code(code) => {
            let mut after = code.split('$').skip(1);
            after.any(|piece| piece.starts_with(|c: char| c.is_ascii_digit()))
        }
        Part::Quoted(_) | Part::Comment(_) => false,
    })
}

/// Writes values in place of `$1`, `$2`, …; what has no value stays.
pub fn with_values(sql: &str, values: &[String]) -> String {
    let mut written =
        String::with_capacity(sql.len() + values.iter().map(String::len).sum::<usize>());
    for part in (Parts { rest: sql }) {
        match part {
            Part::Quoted(text) | Part::Comment(text) => written.push_str(text),
            Part::Code(code) => write_values(code, values, &mut written),
        }
    }
    written
}

fn write_values(code: &str, values: &[String], written: &mut String) {
    let mut pieces = code.split('$');
    written.push_str(pieces.next().unwrap_or_default());
    for piece in pieces {
        let digits = piece.find(|c: char| !c.is_ascii_digit()).unwrap_or(piece.len());
        let number = piece[..digits].parse::<usize>().ok();
        match number.and_then(|number| values.get(number.checked_sub(1)?)) {
            // A name may not run into it.
            Some(value) => {
                written.push(' ');
                written.push_str(value);
                written.push_str(&piece[digits..]);
            }
            None => {
                written.push('$');
                written.push_str(piece);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_statement_is_told_from_several() {
        for sql in [
            "SELECT 1",
            "SELECT 1;",
            "SELECT 1; ; -- end",
            "SELECT ';'; /* ; */",
            "SELECT \"a;b\"",
            "SELECT $$a;b$$, $x$;$x$",
            "SELECT E'\\';'",
            "SELECT 'a\\'",
            "/* ; /* ; */ ; */ SELECT 1 -- ;",
            "",
        ] {
            assert!(is_single(sql), "{sql}");
        }
        for sql in
            ["SELECT 1; SELECT 2", "SELECT 'a'; 'b'", ";SELECT 1", "SELECT $1;COMMIT", "a';'b;c"]
        {
            assert!(!is_single(sql), "{sql}");
        }
    }

    #[test]
    fn values_stand_where_code_asks_for_them() {
        let values = ["'a'".to_owned(), "NULL".to_owned()];
        for (sql, expected) in [
            ("SELECT $1, $2, $1", "SELECT  'a',  NULL,  'a'"),
            ("SELECT $1::text||'$1'", "SELECT  'a'::text||'$1'"),
            ("\"a$1\" = $1 /* $1 */", "\"a$1\" =  'a' /* $1 */"),
            ("SELECT $3, $10, $0, $", "SELECT $3, $10, $0, $"),
            ("SELECT $$ $1 $$", "SELECT $$ $1 $$"),
        ] {
            assert_eq!(with_values(sql, &values), expected);
        }
    }

    #[test]
    fn the_first_word_is_code() {
        for (sql, word) in [
            ("select 1", "SELECT"),
            ("/* SELECT */ -- x\n  call p()", "CALL"),
            ("(SELECT 1)", ""),
            ("", ""),
        ] {
            assert_eq!(first_word(sql), word, "{sql}");
        }
    }
}
