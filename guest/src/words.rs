//! The words of one call as they come from a command line or from standard input, read the same way by the component's
//! own command and by the host's program.

use crate::error::{Fault, invalid, shown};
use serde_json::{Map, Value};
use std::io::Read;

/// How large parameters may be, in bytes: what a component of bounded memory can be sure to read.
pub const MAX_PARAMETERS: usize = 6 << 20;

/// What the arguments of a command ask for.
#[derive(Debug, PartialEq)]
pub enum Words {
    /// Parameters in the arguments themselves.
    Parameters(Map<String, Value>),
    /// Parameters on standard input.
    Input,
    /// An explanation.
    Help,
}

impl Words {
    /// Reads `KEY=VALUE …`, a state as a word of its own (`list`), `-` or nothing for standard input.
    pub fn read(arguments: &[String]) -> Result<Words, Fault> {
        if arguments
            .iter()
            .any(|argument| matches!(argument.as_str(), "--help" | "-h" | "help"))
        {
            return Ok(Words::Help);
        }
        match arguments {
            [] => Ok(Words::Input),
            [dash] if dash == "-" => Ok(Words::Input),
            [dash, ..] if dash == "-" => Err(invalid(
                "params",
                "`-` stands alone: all parameters then come from standard input",
            )),
            arguments => parameters(arguments).map(Words::Parameters),
        }
    }
}

fn parameters(arguments: &[String]) -> Result<Map<String, Value>, Fault> {
    let mut map = Map::new();
    for argument in arguments {
        let (name, value) = match argument.split_once('=') {
            // Lists and objects may be given as JSON; anything else is a text, and coerced where it is read.
            Some((name, text)) if name.ends_with("checks") && text.starts_with(['[', '{']) => {
                match serde_json::from_slice(text.as_bytes()) {
                    Ok(json) => (name, json),
                    Err(error) => {
                        return Err(invalid(
                            name,
                            format!("`{name}` begins like JSON, but is not: {error}"),
                        ));
                    }
                }
            }
            Some((name, text)) => (name, text.into()),
            None if argument.starts_with('-') => {
                return Err(invalid(
                    "params",
                    format!(
                        "there is no option `{}` here; parameters are given as KEY=VALUE, as in state=present",
                        shown(argument)
                    ),
                ));
            }
            None if map.contains_key("state") => {
                return Err(invalid(
                    "params",
                    format!(
                        "unexpected word `{}`: parameters are given as KEY=VALUE, as in name=deploy",
                        shown(argument)
                    ),
                ));
            }
            None => ("state", argument.as_str().into()),
        };
        if map.insert(name.to_owned(), value).is_some() {
            return Err(invalid(name, format!("`{name}` is given twice")));
        }
    }
    Ok(map)
}

/// Reads standard input. Some shells begin a text with a byte order mark.
pub fn input(from: impl Read) -> Result<Map<String, Value>, Fault> {
    let mut bytes = Vec::new();
    // One more than is allowed, to tell that it is too much.
    from.take(MAX_PARAMETERS as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| invalid("params", format!("standard input cannot be read: {error}")))?;
    if bytes.len() > MAX_PARAMETERS {
        return Err(too_large());
    }
    let Ok(text) = String::from_utf8(bytes) else {
        return Err(invalid("params", "standard input is not UTF-8 text"));
    };
    let text = text.trim_start_matches('\u{feff}');
    if text.trim().is_empty() {
        return Err(invalid(
            "params",
            "standard input is empty: give a JSON object there, or KEY=VALUE arguments",
        ));
    }
    object(text)
}

/// The refusal of more than [`MAX_PARAMETERS`].
pub fn too_large() -> Fault {
    let limit = MAX_PARAMETERS >> 20;
    invalid(
        "params",
        format!("the parameters are larger than {limit} MiB"),
    )
}

/// Whether a terminal acts on a character: controls, and marks that hide a text or turn its direction.
pub fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// JSON for a terminal: within texts it leaves such characters as they are, but for the first 32.
pub fn printable(json: String) -> String {
    let steers = |c: char| steers(c) && c != '\n';
    if !json.contains(steers) {
        return json;
    }
    let mut printed = String::new();
    for c in json.chars() {
        if steers(c) {
            printed.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            printed.push(c);
        }
    }
    printed
}

/// Reads a JSON object of parameters.
pub fn object(text: &str) -> Result<Map<String, Value>, Fault> {
    match serde_json::from_slice(text.as_bytes()) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Err(invalid(
            "params",
            "the parameters must be a JSON object, {\"name\": value, …}",
        )),
        Err(error) => Err(invalid(
            "params",
            format!("the parameters are not JSON: {error}"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(arguments: &[&str]) -> Result<Words, Fault> {
        let arguments: Vec<String> = arguments.iter().map(|word| (*word).to_owned()).collect();
        Words::read(&arguments)
    }

    #[test]
    fn reads_a_command_line() {
        let Ok(Words::Parameters(map)) =
            read(&["present", "name=a=b", "checks=[]", "ttl=30s", "node="])
        else {
            panic!("no parameters")
        };
        assert_eq!(
            Value::Object(map),
            json!({"state": "present", "name": "a=b", "checks": [], "ttl": "30s", "node": ""})
        );
        assert_eq!(read(&[]).unwrap(), Words::Input);
        assert_eq!(read(&["-"]).unwrap(), Words::Input);
        assert_eq!(read(&["list", "--help"]).unwrap(), Words::Help);
        for wrong in [
            &["list", "state=info"][..],
            &["--nope"],
            &["checks=[x"],
            &["a=1", "a=2"],
            &["info", "deploy"],
            &["-", "ttl=20s"],
        ] {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn reads_input() {
        assert_eq!(input(&b" {\"a\": 1} "[..]).unwrap().len(), 1);
        let marked = "\u{feff}{\"a\": 1}\r\n".as_bytes();
        assert_eq!(input(marked).unwrap().len(), 1);
        for wrong in ["", " \n", "[]", "null", "{", "{} {}", "a=b"] {
            assert!(input(wrong.as_bytes()).is_err(), "{wrong:?}");
        }
        assert!(input(&b"{\"a\": \"\xff\"}"[..]).is_err());
        let spaces = vec![b' '; MAX_PARAMETERS + 1];
        let error = input(spaces.as_slice()).unwrap_err();
        assert!(error.message.contains("larger than 6 MiB"), "{error:?}");
    }

    #[test]
    fn terminals_get_no_commands() {
        let json = json!({"a": "\u{9b}31m\u{7f}\u{202e}ü\n👩\u{200d}🚒"});
        let printed = printable(format!("{json:#}\n"));
        assert!(
            !printed.contains(|c: char| steers(c) && c != '\n'),
            "{printed}"
        );
        assert_eq!(serde_json::from_str::<Value>(&printed).unwrap(), json);
        assert!(printed.contains("ü\\n👩\u{200d}🚒"), "{printed}");
    }
}
