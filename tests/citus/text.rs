//! The text of SQL, taken apart as far as the engine's statements need it.

/// Whether a text has a word.
pub fn has(text: &str, word: &str) -> bool {
    text.split(|c: char| !(c.is_alphanumeric() || c == '_')).any(|each| each == word)
}

/// Where the parenthesis that is open at `from` closes.
pub fn closing(text: &str, from: usize) -> usize {
    let mut depth = 0;
    for (at, c) in text[from..].char_indices() {
        match c {
            '(' => depth += 1,
            ')' if depth == 0 => return from + at,
            ')' => depth -= 1,
            _ => {}
        }
    }
    text.len()
}

/// Where the parenthesis that is open at `to` was opened.
fn opening(text: &str, to: usize) -> usize {
    let mut depth = 0;
    for (at, c) in text[..to].char_indices().rev() {
        match c {
            ')' => depth += 1,
            '(' if depth == 0 => return at + 1,
            '(' => depth -= 1,
            _ => {}
        }
    }
    0
}

/// The query that names the table at `at`, without the queries inside of it.
pub fn query_around(text: &str, at: usize) -> String {
    let (start, end) = (opening(text, at), closing(text, at));
    let before = text[start..at].rfind(" UNION ALL ").map_or(start, |found| start + found);
    let after = text[at..end].find(" UNION ALL ").map_or(end, |found| at + found);
    let mut query = text[before..after].to_owned();
    for inner in ["(SELECT ", "(UPDATE ", "(INSERT ", "(WITH "] {
        while let Some(from) = query.find(inner) {
            let to = closing(&query, from + 1);
            query.replace_range(from..to, "(\u{2026}");
        }
    }
    query
}

/// The values that are worked out only if they are needed: those in `CASE` and `coalesce`.
pub fn lazy_values(query: &str) -> Vec<&str> {
    let cases = query.match_indices("CASE ").map(|(at, _)| {
        let end = query[at..].find(" END").map_or(query.len(), |end| at + end);
        &query[at..end]
    });
    let coalesced = query.match_indices("coalesce(").map(|(at, name)| {
        let from = at + name.len();
        &query[from..closing(query, from)]
    });
    cases.chain(coalesced).collect()
}

/// What is put after `WHERE idempotency_key = `, if nothing but that key is meant.
pub fn key_of(query: &str) -> Option<&str> {
    let (_, rest) = query.split_once("WHERE idempotency_key = ")?;
    let key = rest.split([' ', ')']).next()?;
    let in_case = rest.find("CASE ").zip(rest.rfind(" END"));
    let condition = match in_case {
        Some((from, to)) => format!("{}{}", &rest[..from], &rest[to..]),
        None => rest.to_owned(),
    };
    (key.starts_with('$') || key == "k").then_some(key).filter(|_| !has_open_or(&condition))
}

/// Whether there is an `OR` that no parentheses enclose.
fn has_open_or(condition: &str) -> bool {
    condition.match_indices(" OR ").any(|(at, _)| opening(condition, at) == 0)
}
