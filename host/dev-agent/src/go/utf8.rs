//! Invalid UTF-8 as Go replaces it.

/// Decodes UTF-8 and replaces each invalid byte by U+FFFD.
///
/// [`String::from_utf8_lossy`] replaces each truncated sequence by one U+FFFD, however many bytes
/// it has.
pub(crate) fn decode_lossy(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        let invalid = chunk.invalid().iter();
        text.extend(invalid.map(|_| char::REPLACEMENT_CHARACTER));
    }
    text
}
