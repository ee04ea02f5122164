//! The string literals of a source, found without a parser.

/// The string literals of a source with their lines, as the compiler reads them: escapes are resolved, comments skipped. What
/// follows `mod tests` is left out.
pub fn literals(source: &str) -> Vec<(usize, String)> {
    let source = source.split("#[cfg(test)]\nmod tests").next().unwrap_or(source);
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(begin) = source[at..].chars().next() {
        let rest = &source[at..];
        at += if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if let Some((text, length)) = raw(source, at).or_else(|| plain(rest)) {
            found.push((1 + source[..at].matches('\n').count(), text));
            length
        } else {
            character(rest).unwrap_or(begin.len_utf8())
        };
    }
    found
}

/// A raw string, `r"…"` or `r#"…"#`, and its length in the source.
fn raw(source: &str, at: usize) -> Option<(String, usize)> {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let behind = source[at..].strip_prefix('r').filter(|_| !source[..at].ends_with(is_name))?;
    let hashes = behind.len() - behind.trim_start_matches('#').len();
    let text = behind[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let length = text.find(&end)?;
    Some((text[..length].to_owned(), 1 + hashes + 1 + length + end.len()))
}

/// A string in quotes, and its length in the source.
fn plain(rest: &str) -> Option<(String, usize)> {
    let mut characters = rest.strip_prefix('"')?.char_indices().peekable();
    let mut text = String::new();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((text, at + 2)),
            '\\' => match characters.next()?.1 {
                'n' => text.push('\n'),
                // A line that goes on with the first word of the next one.
                '\n' => while characters.next_if(|(_, next)| next.is_whitespace()).is_some() {},
                other => text.push(other),
            },
            other => text.push(other),
        }
    }
    None
}

/// Length of a character in quotes; `None` if the quote begins a lifetime.
fn character(rest: &str) -> Option<usize> {
    let inside = rest.strip_prefix('\'')?;
    let skipped = if inside.starts_with('\\') { 2 } else { inside.chars().next()?.len_utf8() };
    let closed = inside.get(skipped..)?.find('\'').filter(|behind| *behind == 0 || inside.starts_with("\\u"))?;
    Some(1 + skipped + closed + 1)
}
