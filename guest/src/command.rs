//! The component as a command: `wasi:cli/run` around the action door. Built for wasm32-wasip2 with the feature `command`.

use crate::action;
use crate::bindings::exports::wasi::cli::run::Guest;
use crate::component::Component;
use crate::connection::Environment;
use crate::error::{Fault, failure};
use crate::http::WasiHttp;
use crate::types::ErrorKind;
use crate::words::{self, Words};
use serde_json::Value;
use std::io::Write;

const HELP: &str = "\
Sessions of HashiCorp Consul, as a WebAssembly command.

Usage: wasmtime run -S http [--env CONSUL_HTTP_ADDR=http://host:8500] consul-session.wasm STATE [KEY=VALUE]...
       wasmtime run -S http [--env ...] consul-session.wasm -        (a JSON object on standard input)

States: present, absent, info, node, list, renew
Keys:   name id node datacenter delay ttl checks node_checks service_checks behavior host port scheme url token
        namespace partition timeout unique recreate check_mode diff

Examples:
  ... consul-session.wasm list
  ... consul-session.wasm present name=deploy ttl=30s
  ... consul-session.wasm absent name=deploy check_mode=yes diff=yes

Prints one JSON object. Exit status: 0 done, 1 failed.
Environment, as far as the host passes it on (wasmtime: --env NAME=VALUE): CONSUL_HTTP_ADDR, CONSUL_HTTP_TOKEN,
CONSUL_HTTP_SSL, CONSUL_NAMESPACE, CONSUL_PARTITION. What is trusted over TLS is the host's to decide.
";

/// These name files or TLS settings, and a component has neither.
const HOST_VARIABLES: [&str; 2] = ["CONSUL_HTTP_TOKEN_FILE", "CONSUL_TLS_SERVER_NAME"];

impl Guest for Component {
    fn run() -> Result<(), ()> {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let result = match Words::read(&arguments) {
            Ok(Words::Help) => return print(HELP),
            words => words.and_then(perform),
        };
        match result {
            Ok(result) => print(&words::printable(format!("{result}\n"))),
            Err(fault) => {
                let _ = print(&words::printable(format!("{}\n", fault.to_json())));
                Err(())
            }
        }
    }
}

fn perform(words: Words) -> Result<Value, Fault> {
    let parameters = match words {
        Words::Parameters(parameters) => parameters,
        Words::Input | Words::Help => words::input(std::io::stdin())?,
    };
    if let Some(variable) = HOST_VARIABLES
        .into_iter()
        .find(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
    {
        let message = format!(
            "{variable} cannot be honoured here: this host gives a component no files and no say about TLS. Unset it."
        );
        return Err(failure(ErrorKind::Unsupported, message));
    }
    action::run(
        parameters,
        Environment(&|name| std::env::var(name).ok()),
        WasiHttp,
    )
}

/// A reader that has gone away is no reason to trap, but a result that nobody got is a failure.
fn print(text: &str) -> Result<(), ()> {
    let mut out = std::io::stdout();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| {
            let _ = writeln!(std::io::stderr(), "error: cannot write the result: {error}");
        })
}
