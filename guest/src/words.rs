//! The words of one call as they come from a command line or from standard input, read the same way by the component's
//! own command and by the host's program.

use crate::error::{Fault, invalid};
use serde_json::{Map, Value};

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
                        "there is no option `{argument}` here; parameters are given as KEY=VALUE, as in state=present"
                    ),
                ));
            }
            None if map.contains_key("state") => {
                return Err(invalid(
                    "params",
                    format!(
                        "unexpected word `{argument}`: parameters are given as KEY=VALUE, as in name=deploy"
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
pub fn input(text: &str) -> Result<Map<String, Value>, Fault> {
    let text = text.trim_start_matches('\u{feff}');
    if text.trim().is_empty() {
        return Err(invalid(
            "params",
            "standard input is empty: give a JSON object there, or KEY=VALUE arguments",
        ));
    }
    object(text)
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
        assert_eq!(input(" {\"a\": 1} ").unwrap().len(), 1);
        assert_eq!(input("\u{feff}{\"a\": 1}\r\n").unwrap().len(), 1);
        for wrong in ["", " \n", "[]", "null", "{", "{} {}", "a=b"] {
            assert!(input(wrong).is_err(), "{wrong:?}");
        }
    }
}
