//! The component as a command: `wasi:cli/run` around the action interface. Built for wasm32-wasip2 with the feature
//! `command`.

use crate::bindings::exports::wasi::cli::run::Guest;
use crate::component::Component;
use crate::http::WasiHttp;
use crate::perform;
use crate::transport::block_on;
use consul_session_core::arguments::{self, Arguments};
use consul_session_core::settings::Environment;
use consul_session_core::{Error, ErrorKind, Result, terminal};
use serde_json::Value;
use std::io::Write;

const HELP: &str = "\
Manage sessions of HashiCorp Consul.

Usage: wasmtime run -S http [--env CONSUL_HTTP_ADDR=http://host:8500] consul-session.wasm STATE [KEY=VALUE]...
       wasmtime run -S http [--env ...] consul-session.wasm -        (a JSON object on standard input)

States: present, absent, info, node, list, renew
Keys:   name id node datacenter delay ttl checks node_checks service_checks behavior host port scheme url token
        namespace partition timeout unique recreate check_mode diff

Examples:
  ... consul-session.wasm list
  ... consul-session.wasm present name=deploy ttl=30s
  ... consul-session.wasm absent name=deploy check_mode=yes diff=yes

Prints one JSON object. Exit status: 0 on success, 1 on failure.
Environment (pass it with --env NAME=VALUE): CONSUL_HTTP_ADDR, CONSUL_HTTP_TOKEN, CONSUL_HTTP_SSL, CONSUL_NAMESPACE,
CONSUL_PARTITION. The host decides which TLS certificates are trusted.
";

/// Variables that name files or TLS settings, neither of which a component has.
const HOST_VARIABLES: [&str; 2] = ["CONSUL_HTTP_TOKEN_FILE", "CONSUL_TLS_SERVER_NAME"];

impl Guest for Component {
    fn run() -> Result<(), ()> {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let result = match Arguments::parse(&arguments) {
            Ok(Arguments::Help) => return print(HELP),
            arguments => arguments.and_then(run),
        };
        match result {
            Ok(result) => print(&terminal::escape_json(format!("{result}\n"))),
            Err(error) => {
                let failure = perform::failure_json(&error);
                let _ = print(&terminal::escape_json(format!("{failure}\n")));
                Err(())
            }
        }
    }
}

fn run(arguments: Arguments) -> Result<Value> {
    let parameters = match arguments {
        Arguments::Parameters(parameters) => parameters,
        Arguments::Input | Arguments::Help => arguments::from_reader(std::io::stdin())?,
    };
    if let Some(variable) = HOST_VARIABLES
        .into_iter()
        .find(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
    {
        let message = format!(
            "{variable} cannot be honored, because this host gives a component neither files nor TLS settings; unset it"
        );
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    block_on(perform::run(
        parameters,
        Environment(&|name| std::env::var(name).ok()),
        WasiHttp,
    ))
}

/// Prints a result. A closed output must not trap, but a result that nobody received is a failure.
fn print(text: &str) -> Result<(), ()> {
    let mut out = std::io::stdout();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| {
            let _ = writeln!(std::io::stderr(), "error: cannot write the result: {error}");
        })
}
