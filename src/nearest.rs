//! The known name that is most similar to a wrong one, for `did you mean`.

/// Maximum length, in bytes, of names that are compared: the cost is the product of both lengths.
const LONGEST_COMPARED: usize = 128;

/// The known name that is most similar to `name`, if any is similar.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if name.len() > LONGEST_COMPARED {
        return None;
    }
    let comparable = known.into_iter().filter(|known| known.len() <= LONGEST_COMPARED);
    let scored = comparable.map(|known| (strsim::jaro_winkler(name, known), known));
    scored.filter(|(score, _)| *score > 0.75).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, known)| known)
}
