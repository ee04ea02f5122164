//! What torch says, in the words of its first line.

/// Torch's message without the C++ stack trace behind it.
pub(super) fn torch_message(error: &tch::TchError) -> String {
    let text = error.to_string();
    let text = text.strip_prefix("Internal torch error: ").unwrap_or(&text);
    let end = text.find("\nException raised from").or_else(|| text.find("Exception raised from")).unwrap_or(text.len());
    text[..end].trim().to_owned()
}
