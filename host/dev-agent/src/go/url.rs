//! URLs as Go's `net/url` and `path` decode, clean and encode them.

use super::utf8;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// The bytes that `url.QueryEscape` encodes, except for the space, which it turns into a `+`.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~')
    .remove(b' ');

/// The bytes that `url.URL.EscapedPath` encodes.
const PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b',')
    .remove(b'/')
    .remove(b':')
    .remove(b';')
    .remove(b'=')
    .remove(b'@');

/// Decodes percent-encoding. Each byte that is not UTF-8 becomes U+FFFD.
///
/// Returns `None` if a `%` is not followed by two hexadecimal digits.
pub(crate) fn decode(text: &str) -> Option<String> {
    // The library leaves such a `%` as it is; Go rejects it.
    let mut escapes = text.split('%').skip(1).map(str::as_bytes);
    let valid = escapes.all(|escape| match escape {
        [high, low, ..] => high.is_ascii_hexdigit() && low.is_ascii_hexdigit(),
        _ => false,
    });
    valid.then(|| utf8::decode_lossy(&percent_decode_str(text).collect::<Vec<u8>>()))
}

/// Decodes a query string into its parameters, in order, as `url.ParseQuery` does. Until Go 1.17, a
/// semicolon separates parameters, too.
///
/// Returns `None` if [`decode`] does for a name or a value, and for a semicolon that does not
/// separate.
pub(crate) fn parse_query(query: &str, semicolon_separates: bool) -> Option<Vec<(String, String)>> {
    if !semicolon_separates && query.contains(';') {
        return None;
    }
    let mut params = Vec::new();
    for pair in query.split(['&', ';']).filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let decoded = |text: &str| decode(&text.replace('+', " "));
        params.push((decoded(name)?, decoded(value)?));
    }
    Some(params)
}

/// Encodes parameters, sorted by name, as `url.Values.Encode` does.
pub(crate) fn encode_query(params: &[(String, String)]) -> String {
    let mut params: Vec<&(String, String)> = params.iter().collect();
    params.sort_by(|(a, _), (b, _)| a.cmp(b));
    let escaped = |text: &str| {
        utf8_percent_encode(text, QUERY)
            .to_string()
            .replace(' ', "+")
    };
    let pair = |(name, value): &(String, String)| format!("{}={}", escaped(name), escaped(value));
    let pairs: Vec<String> = params.into_iter().map(pair).collect();
    pairs.join("&")
}

/// Encodes a path as `url.URL.EscapedPath` does.
pub(crate) fn encode_path(path: &str) -> String {
    utf8_percent_encode(path, PATH).to_string()
}

/// Removes empty, `.` and `..` segments as `path.Clean` does, but keeps a trailing slash, as Go's
/// router does. The result begins with a slash.
pub(crate) fn clean_path(path: &str) -> String {
    if path.starts_with('/') {
        clean_relative(path)
    } else {
        clean_relative(&format!("/{path}"))
    }
}

/// Cleans a path as [`clean_path`] does, but leaves a relative path relative: `..` segments at its
/// beginning stay.
pub(crate) fn clean_relative(path: &str) -> String {
    let root = if path.starts_with('/') { "/" } else { "" };
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." if segments.last().is_some_and(|last| *last != "..") => {
                segments.pop();
            }
            ".." if !root.is_empty() => {}
            segment => segments.push(segment),
        }
    }
    let mut cleaned = format!("{root}{}", segments.join("/"));
    if cleaned.is_empty() {
        cleaned.push('.');
    }
    if path.ends_with('/') && !cleaned.ends_with('/') {
        cleaned.push('/');
    }
    cleaned
}

/// Returns whether `unicode.IsPrint` accepts `c`: letters, marks, numbers, punctuation, symbols
/// and the ASCII space.
pub(crate) fn is_printable(c: char) -> bool {
    if c.is_ascii() {
        return !c.is_control();
    }
    // The standard library exposes this property only through `escape_debug`, which also escapes
    // a combining mark at the start of a string, hence the leading letter.
    !format!("a{c}").escape_debug().to_string().contains('\\')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_like_go_does() {
        for (path, expected) in [
            ("/", "/"),
            ("/v1/kv/a//b", "/v1/kv/a/b"),
            ("/v1/kv/a/", "/v1/kv/a/"),
            ("/v1/kv/a/../b", "/v1/kv/b"),
            ("/../..", "/"),
            ("/v1/./kv//", "/v1/kv/"),
        ] {
            assert_eq!(clean_path(path), expected, "{path}");
        }
        assert_eq!(clean_path("*"), "/*");
        for (path, expected) in [
            ("a//b", "a/b"),
            ("a/./b/", "a/b/"),
            ("a/../b", "b"),
            ("a/../../b", "../b"),
            ("../../b", "../../b"),
            ("a/..", "."),
            ("./", "./"),
            ("/../b", "/b"),
            ("//", "/"),
        ] {
            assert_eq!(clean_relative(path), expected, "{path}");
        }
    }

    #[test]
    fn percent_encoding_is_strict() {
        assert_eq!(decode("a%2Fb%c3%A9+").as_deref(), Some("a/b\u{e9}+"));
        for invalid in ["%", "%4", "%zz", "a%4", "%+1", "%%41"] {
            assert_eq!(decode(invalid), None, "{invalid}");
        }
        assert_eq!(encode_path("/a b/%\u{e9}?~"), "/a%20b/%25%C3%A9%3F~");
    }

    #[test]
    fn queries_are_read_like_go_does() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            parse_query("a=1&&a=2;recurse&b=x%20y+z&=v", true),
            Some(vec![
                pair("a", "1"),
                pair("a", "2"),
                pair("recurse", ""),
                pair("b", "x y z"),
                pair("", "v"),
            ])
        );
        assert_eq!(parse_query("a=%zz", true), None);
        assert_eq!(parse_query("a=%4", true), None);
        assert_eq!(parse_query("a=1;b=2", false), None);
        assert_eq!(parse_query("a=%3B", false), Some(vec![pair("a", ";")]));
    }
}
