//! Removal of tokens from text. Everything that may repeat what a server or a caller sent passes through here before it
//! is shown: messages, exchanges and warnings.

use crate::Error;
use std::ops::Range;

/// Shorter tokens are no secret, and removing them would garble every text.
const MIN_SECRET: usize = 4;
/// So many consecutive characters of a token are removed wherever they stand.
const MIN_PART: usize = 8;
/// A part with fewer distinct characters tells nothing of a token, and may be a part of any id: Consul's anonymous token is
/// almost all zeros.
const MIN_DISTINCT: usize = 4;
/// Marks truncated text.
pub const CUT: char = '…';
/// What replaces a token.
const REMOVED: &str = "<token>";

/// Removes one token from text, or nothing if there is no token.
#[derive(Clone, Copy)]
pub struct Redactor<'a> {
    token: Option<&'a str>,
}

impl<'a> Redactor<'a> {
    /// A redactor for this token. Tokens of fewer than 4 characters are not redacted.
    pub fn new(token: Option<&'a str>) -> Redactor<'a> {
        Redactor {
            token: token.filter(|token| token.len() >= MIN_SECRET),
        }
    }

    /// Whether there is anything to redact.
    pub fn is_active(self) -> bool {
        self.token.is_some()
    }

    /// Replaces the token with `<token>`, in upper and lower case, percent-encoded and in base64. Of a long token, parts of
    /// 8 characters are enough, and 4 before the end of the text or the mark of a cut.
    pub fn text(self, text: &str) -> String {
        match self.token {
            Some(token) if text.len() >= MIN_SECRET => Forms::of(token).remove_from(text),
            _ => text.to_owned(),
        }
    }

    /// Redacts each of several texts.
    pub fn texts(self, texts: &mut [String]) {
        if let Some(token) = self.token.filter(|_| !texts.is_empty()) {
            let forms = Forms::of(token);
            for text in texts {
                *text = forms.remove_from(text);
            }
        }
    }

    /// Redacts every text of an error.
    pub fn error(self, error: Error) -> Error {
        match self.token {
            Some(token) => {
                let forms = Forms::of(token);
                error.map_texts(|text| forms.remove_from(text))
            }
            None => error,
        }
    }
}

/// The ways to write a token, in lower case.
struct Forms {
    /// Parts of [`MIN_PART`] bytes, as numbers in ascending order.
    parts: Vec<u64>,
    /// Forms that are removed as a whole: those that are shorter than a part, or have parts that tell nothing.
    whole: Vec<Vec<u8>>,
    /// The token as it is, whose beginning is removed at the end of a text.
    plain: Vec<u8>,
}

impl Forms {
    fn of(token: &str) -> Forms {
        let plain = token.to_ascii_lowercase().into_bytes();
        // The component takes the full stop from the end of a sentence.
        let trimmed = token.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
        let mut forms = vec![plain.clone(), trimmed.to_ascii_lowercase().into_bytes()];
        // Base64 of a longer text differs by where the token begins. Characters that also depend on the neighbors are left
        // out.
        for (before, skip) in [(0, 0), (1, 2), (2, 3)] {
            let bytes = [&vec![0; before], token.as_bytes()].concat();
            let whole = bytes.len() * 8 / 6;
            for text in [base64(&bytes, b"+/"), base64(&bytes, b"-_")] {
                let own = text.get(skip..whole).unwrap_or_default();
                forms.push(own.to_ascii_lowercase().into_bytes());
            }
        }
        let windows = forms.iter().flat_map(|form| form.windows(MIN_PART));
        let telling = windows.filter(|part| is_telling(part, MIN_DISTINCT));
        let mut parts: Vec<u64> = telling.map(|part| part.iter().fold(0, next)).collect();
        parts.sort_unstable();
        parts.dedup();
        forms.retain(|form| {
            let mut windows = form.windows(MIN_PART);
            form.len() >= MIN_SECRET
                && (form.len() < MIN_PART || windows.any(|part| !is_telling(part, MIN_DISTINCT)))
        });
        Forms {
            parts,
            whole: forms,
            plain,
        }
    }

    /// Calls `found` with the place of every part.
    fn find(&self, text: &[u8], mut found: impl FnMut(Range<usize>)) {
        let mut part = 0;
        for (last, byte) in text.iter().enumerate() {
            part = next(part, byte);
            let end = last + 1;
            if end >= MIN_PART && self.parts.binary_search(&part).is_ok() {
                found(end - MIN_PART..end);
            }
            for form in &self.whole {
                if text.get(..end).is_some_and(|text| text.ends_with(form)) {
                    found(end - form.len()..end);
                }
            }
        }
    }

    fn remove_from(&self, text: &str) -> String {
        let lower = text.to_ascii_lowercase();
        let mut secret = vec![false; text.len()];
        self.find(lower.as_bytes(), |found| secret[found].fill(true));
        if lower.contains('%') {
            let (decoded, places) = percent_decoded(lower.as_bytes());
            self.find(&decoded, |found| {
                secret[places[found.start]..places[found.end]].fill(true);
            });
        }
        for (end, _) in text.match_indices(CUT).chain([(text.len(), "")]) {
            let beginning = (MIN_SECRET..self.plain.len()).rev().find(|length| {
                let beginning = &self.plain[..*length];
                lower.as_bytes()[..end].ends_with(beginning)
                    && is_telling(beginning, MIN_DISTINCT - 1)
            });
            if let Some(length) = beginning {
                secret[end - length..end].fill(true);
            }
        }
        let mut clean = String::with_capacity(text.len());
        let mut within = false;
        for (place, c) in text.char_indices() {
            let is_secret = secret[place..place + c.len_utf8()].contains(&true);
            if is_secret && !within {
                clean.push_str(REMOVED);
            } else if !is_secret {
                clean.push(c);
            }
            within = is_secret;
        }
        clean
    }
}

/// Text in base64 without padding. The alphabets differ in the last two characters. (The crate would add 6 KB to the
/// component.)
fn base64(bytes: &[u8], last: &[u8; 2]) -> String {
    let character = |bits: u32| match (bits & 63) as u8 {
        bits @ 0..26 => b'A' + bits,
        bits @ 26..52 => b'a' + (bits - 26),
        bits @ 52..62 => b'0' + (bits - 52),
        62 => last[0],
        _ => last[1],
    };
    let mut text = String::with_capacity(bytes.len() * 4 / 3 + 2);
    for group in bytes.chunks(3) {
        let byte = |place: usize| u32::from(group.get(place).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..=group.len() {
            text.push(char::from(character(bits >> (18 - 6 * place))));
        }
    }
    text
}

/// Whether a part of a token has so many distinct characters.
fn is_telling(part: &[u8], distinct: usize) -> bool {
    let first = |place: &usize| !part[..*place].contains(&part[*place]);
    (0..part.len()).filter(first).take(distinct).count() == distinct
}

/// The last 8 bytes as a number, after one more.
fn next(bytes: u64, byte: &u8) -> u64 {
    bytes << 8 | u64::from(*byte)
}

/// Decoded text, and where each of its bytes, and its end, is in the encoded text.
fn percent_decoded(text: &[u8]) -> (Vec<u8>, Vec<usize>) {
    let digit = |place: usize| char::from(*text.get(place)?).to_digit(16);
    let mut decoded = Vec::with_capacity(text.len());
    let mut places = Vec::with_capacity(text.len() + 1);
    let mut place = 0;
    while let Some(&byte) = text.get(place) {
        places.push(place);
        let encoded = || u8::try_from(digit(place + 1)? * 16 + digit(place + 2)?).ok();
        match encoded().filter(|_| byte == b'%') {
            Some(byte) => {
                decoded.push(byte.to_ascii_lowercase());
                place += 3;
            }
            None => {
                decoded.push(byte);
                place += 1;
            }
        }
    }
    places.push(text.len());
    (decoded, places)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_part_of_a_token_is_left() {
        let redactor = Redactor::new(Some("s3cret-token"));
        for (text, clean) in [
            ("said s3cret-token, s3cret-token", "said <token>, <token>"),
            ("said s3cret-to… (500)", "said <token>… (500)"),
            ("s3cret-token … s3cr…", "<token> … <token>…"),
            ("said s3cret-tok", "said <token>"),
            ("a s3c…", "a s3c…"),
            ("nothing…", "nothing…"),
            ("S3CRET-TOKEN S3cret-Token", "<token> <token>"),
            ("cut: …et-token!", "cut: …<token>!"),
            ("cut: s3cret-t!", "cut: <token>!"),
            ("cut: s3cret-!", "cut: s3cret-!"),
            ("s3cret-tokens3cret-token", "<token>"),
            ("?t=s3cret%2Dtoken", "?t=<token>"),
            ("czNjcmV0LXRva2Vu", "<token>"),
            ("ü s3cret-token ü", "ü <token> ü"),
        ] {
            assert_eq!(redactor.text(text), clean);
        }
        // Consul's anonymous token has hardly a part that is its own.
        let anonymous = "00000000-0000-0000-0000-000000000002";
        let redactor = Redactor::new(Some(anonymous));
        assert_eq!(
            redactor.text(&format!("token {anonymous}.")),
            "token <token>."
        );
        let id = "00000000-0000-0000-0000-000000000000";
        assert_eq!(redactor.text(id), id);
        assert_eq!(Redactor::new(Some("abc")).text("abc"), "abc");
        assert_eq!(Redactor::new(None).text("abc"), "abc");
    }

    #[test]
    fn writes_base64() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg"),
            ("fo", "Zm8"),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg"),
            ("\u{7ff}\u{7ff}>?", "37/fvz4/"),
        ] {
            assert_eq!(base64(bytes.as_bytes(), b"+/"), text);
        }
        assert_eq!(base64("\u{7ff}\u{7ff}>?".as_bytes(), b"-_"), "37_fvz4_");
    }

    #[test]
    fn encodings_and_trimming_hide_no_token() {
        let token = "a+b/c=d s3cret.";
        let redactor = Redactor::new(Some(token));
        for text in [
            "token a+b/c=d s3cret",
            "a%2Bb%2Fc%3Dd%20s3cret.",
            "a%2bb%2fc%3dd%20s3cret%2e",
        ] {
            let clean = redactor.text(text);
            assert!(!clean.contains("cret"), "{text}: {clean}");
        }
        // As in an `Authorization` header: the token begins at any place of the text that is encoded.
        for before in ["", "u", "ab", "user:"] {
            let text = base64(format!("{before}{token}, and more").as_bytes(), b"+/");
            let clean = redactor.text(&text);
            assert!(clean.len() + 10 < text.len(), "{text}: {clean}");
        }
        let short = Redactor::new(Some("s3cret."));
        assert_eq!(short.text("invalid token s3cret"), "invalid token <token>");
        assert_eq!(short.text("S3CRET. s3cre"), "<token> <token>");
    }
}
