//! Base64 as Go's `encoding/base64` decodes it.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};

/// Decodes standard base64 with padding. Line breaks are ignored, and so are trailing bits; the
/// error is Go's text.
pub(crate) fn decode(text: &str) -> Result<Vec<u8>, String> {
    let text: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
    let lenient = GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true);
    GeneralPurpose::new(&alphabet::STANDARD, lenient)
        .decode(&text)
        .map_err(|_| {
            let at = error_offset(text.as_bytes());
            format!("illegal base64 data at input byte {at}")
        })
}

/// Returns the offset at which Go rejects invalid base64: that of the first byte that is out of
/// place, or of the beginning of an incomplete group of four.
fn error_offset(text: &[u8]) -> usize {
    for (number, four) in text.chunks(4).enumerate() {
        let start = number * 4;
        for (place, byte) in four.iter().enumerate() {
            let at = start + place;
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/' => {}
                b'=' if place == 2 && four.get(3) == Some(&b'=') => return at + 2,
                b'=' if place == 2 && four.len() == 3 => return text.len(),
                b'=' if place == 3 => return at + 1,
                _ => return at,
            }
        }
        if four.len() < 4 {
            return start;
        }
    }
    text.len()
}
