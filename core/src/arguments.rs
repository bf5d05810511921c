//! Parameters from a command line or standard input, shared by the command component and the program.

use crate::error::{Error, Result, shown};
use serde_json::{Map, Value};
use std::io::Read;

/// Maximum size of parameters in bytes, chosen so that a component of bounded memory can always read them.
pub const MAX_PARAMETERS: usize = 6 << 20;

/// Parsed command-line arguments.
#[derive(Debug, PartialEq)]
pub enum Arguments {
    /// Parameters.
    Parameters(Map<String, Value>),
    /// Nothing, or `-`: the parameters are on standard input.
    Input,
    /// A request for help.
    Help,
}

impl Arguments {
    /// Parses `KEY=VALUE …`. A state may be given without its key (`list`), and `-` or nothing means standard input.
    pub fn parse(arguments: &[String]) -> Result<Arguments> {
        if arguments
            .iter()
            .any(|argument| matches!(argument.as_str(), "--help" | "-h" | "help"))
        {
            return Ok(Arguments::Help);
        }
        match arguments {
            [] => Ok(Arguments::Input),
            [dash] if dash == "-" => Ok(Arguments::Input),
            [dash, ..] if dash == "-" => Err(Error::invalid(
                "params",
                "`-` takes no further arguments: all parameters come from standard input",
            )),
            arguments => parameters(arguments).map(Arguments::Parameters),
        }
    }
}

fn parameters(arguments: &[String]) -> Result<Map<String, Value>> {
    let mut map = Map::new();
    for argument in arguments {
        let (name, value) = match argument.split_once('=') {
            // Lists may be given as JSON. Anything else is text, coerced where it is read.
            Some((name, text)) if name.ends_with("checks") && text.starts_with(['[', '{']) => {
                match serde_json::from_slice(text.as_bytes()) {
                    Ok(json) => (name, json),
                    Err(error) => {
                        return Err(Error::invalid(
                            name,
                            format!("`{name}` starts like JSON but is not valid JSON: {error}"),
                        ));
                    }
                }
            }
            Some((name, text)) => (name, text.into()),
            None if argument.starts_with('-') => {
                return Err(Error::invalid(
                    "params",
                    format!(
                        "unknown option `{}`; write parameters as KEY=VALUE, for example state=present",
                        shown(argument)
                    ),
                ));
            }
            None if map.contains_key("state") => {
                return Err(Error::invalid(
                    "params",
                    format!(
                        "unexpected argument `{}`; write parameters as KEY=VALUE, for example name=deploy",
                        shown(argument)
                    ),
                ));
            }
            None => ("state", argument.as_str().into()),
        };
        if map.insert(name.to_owned(), value).is_some() {
            return Err(Error::invalid(name, format!("`{name}` is given twice")));
        }
    }
    Ok(map)
}

/// Reads a JSON object of parameters from standard input. A leading byte order mark, which some shells write, is skipped.
pub fn from_reader(from: impl Read) -> Result<Map<String, Value>> {
    let mut bytes = Vec::new();
    // One byte more than allowed, to notice an excess.
    from.take(MAX_PARAMETERS as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| {
            Error::invalid("params", format!("cannot read standard input: {error}"))
        })?;
    if bytes.len() > MAX_PARAMETERS {
        return Err(too_large());
    }
    let Ok(text) = String::from_utf8(bytes) else {
        return Err(Error::invalid("params", "standard input is not UTF-8 text"));
    };
    let text = text.trim_start_matches('\u{feff}');
    if text.trim().is_empty() {
        return Err(Error::invalid(
            "params",
            "standard input is empty; write a JSON object to it, or pass KEY=VALUE arguments",
        ));
    }
    from_json(text)
}

/// The error for parameters larger than [`MAX_PARAMETERS`].
pub fn too_large() -> Error {
    let limit = MAX_PARAMETERS >> 20;
    Error::invalid(
        "params",
        format!("the parameters are larger than {limit} MiB"),
    )
}

/// Parses a JSON object of parameters.
pub fn from_json(text: &str) -> Result<Map<String, Value>> {
    match serde_json::from_slice(text.as_bytes()) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Err(Error::invalid(
            "params",
            "the parameters must be a JSON object, as in {\"state\": \"list\"}",
        )),
        Err(error) => Err(Error::invalid(
            "params",
            format!("the parameters are not valid JSON: {error}"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parse(arguments: &[&str]) -> Result<Arguments> {
        let arguments: Vec<String> = arguments
            .iter()
            .map(|argument| (*argument).to_owned())
            .collect();
        Arguments::parse(&arguments)
    }

    #[test]
    fn parses_arguments() {
        let Ok(Arguments::Parameters(map)) =
            parse(&["present", "name=a=b", "checks=[]", "ttl=30s", "node="])
        else {
            panic!("no parameters")
        };
        assert_eq!(
            Value::Object(map),
            json!({"state": "present", "name": "a=b", "checks": [], "ttl": "30s", "node": ""})
        );
        assert_eq!(parse(&[]).unwrap(), Arguments::Input);
        assert_eq!(parse(&["-"]).unwrap(), Arguments::Input);
        assert_eq!(parse(&["list", "--help"]).unwrap(), Arguments::Help);
        for wrong in [
            &["list", "state=info"][..],
            &["--nope"],
            &["checks=[x"],
            &["a=1", "a=2"],
            &["info", "deploy"],
            &["-", "ttl=20s"],
        ] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn parses_standard_input() {
        assert_eq!(from_reader(&b" {\"a\": 1} "[..]).unwrap().len(), 1);
        let marked = "\u{feff}{\"a\": 1}\r\n".as_bytes();
        assert_eq!(from_reader(marked).unwrap().len(), 1);
        for wrong in ["", " \n", "[]", "null", "{", "{} {}", "a=b"] {
            assert!(from_reader(wrong.as_bytes()).is_err(), "{wrong:?}");
        }
        assert!(from_reader(&b"{\"a\": \"\xff\"}"[..]).is_err());
        let spaces = vec![b' '; MAX_PARAMETERS + 1];
        let error = from_reader(spaces.as_slice()).unwrap_err();
        assert!(error.message().contains("larger than 6 MiB"), "{error:?}");
    }
}
