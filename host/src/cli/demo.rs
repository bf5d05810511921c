//! `consul-session demo`: every operation through the sandboxed component, against an agent of its own.

use super::output::sanitize;
use super::{FAILED, complain, executor, print};
use crate::{Client, Report, Runtime};
use consul_session_dev_agent::DevAgent;
use serde_json::Value;
use std::fmt::Write as _;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// One step: what it shows, the parameters, and whether it is to fail.
struct Step {
    title: &'static str,
    parameters: &'static str,
    fails: bool,
}

const fn step(title: &'static str, parameters: &'static str) -> Step {
    Step {
        title,
        parameters,
        fails: false,
    }
}

const fn failing(title: &'static str, parameters: &'static str) -> Step {
    Step {
        title,
        parameters,
        fails: true,
    }
}

const STEPS: [Step; 13] = [
    step(
        "create a session that ends unless renewed",
        r#"{"state": "present", "name": "deploy", "ttl": "30s"}"#,
    ),
    step(
        "the same again changes nothing",
        r#"{"state": "present", "name": "deploy", "ttl": "30s"}"#,
    ),
    failing(
        "sessions cannot be changed, and the error says what to do",
        r#"{"state": "present", "name": "deploy", "ttl": "5m"}"#,
    ),
    step(
        "so replace it",
        r#"{"state": "present", "name": "deploy", "ttl": "5m", "recreate": true}"#,
    ),
    step("renew it", r#"{"state": "renew", "name": "deploy"}"#),
    step(
        "look it up by name",
        r#"{"state": "info", "name": "deploy"}"#,
    ),
    step(
        "one more, with other settings",
        r#"{"name": "leader", "delay": "500ms", "behavior": "delete", "checks": []}"#,
    ),
    step("list a node's", r#"{"state": "node", "node": "dev-agent"}"#),
    step("list all", r#"{"state": "list"}"#),
    step(
        "what would be removed? (check mode)",
        r#"{"state": "absent", "name": "deploy", "check_mode": true}"#,
    ),
    step(
        "remove it by name",
        r#"{"state": "absent", "name": "deploy"}"#,
    ),
    failing(
        "a typing error",
        r#"{"state": "present", "nmae": "deploy"}"#,
    ),
    failing(
        "an address that the policy does not allow",
        r#"{"state": "list", "url": "http://169.254.169.254:80"}"#,
    ),
];

/// Runs the demo.
pub(super) fn run() -> ExitCode {
    let shown = executor()
        .map_err(anyhow::Error::from)
        .and_then(|executor| executor.block_on(show()));
    match shown {
        Ok(code) => code,
        Err(error) => {
            complain(&format!("{error:#}"));
            ExitCode::from(FAILED)
        }
    }
}

/// Whether the environment lets programs use colours.
fn coloured() -> bool {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    set("NO_COLOR").is_none() && set("TERM").is_none_or(|terminal| terminal != "dumb")
}

async fn show() -> anyhow::Result<ExitCode> {
    let paint = Paint {
        colour: std::io::stdout().is_terminal() && coloured(),
    };
    let begun = Instant::now();
    let runtime = Runtime::with_calls(1)?;
    let loaded = begun.elapsed();
    let agent = DevAgent::start().await?;
    let reports: Arc<Mutex<Vec<Report>>> = Arc::default();
    let sink = reports.clone();
    let client = Client::builder()
        .address(agent.address())
        .on_request(move |report| {
            sink.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(report.clone())
        })
        .build(&runtime)?;

    let mut text = String::new();
    writeln!(
        text,
        "{}",
        paint.bold("Every operation through the sandboxed component")
    )?;
    writeln!(
        text,
        "agent      {} (embedded, in memory; no Consul needed)",
        agent.address()
    )?;
    writeln!(
        text,
        "component  {} KB, ready in {}; imports wasi:http and wasi:io, nothing else",
        Runtime::plugin().len() / 1000,
        milliseconds(loaded)
    )?;
    let mut unexpected = 0;
    let mut inside = Duration::ZERO;
    for (number, step) in STEPS.iter().enumerate() {
        let begun = Instant::now();
        let result = client.action(step.parameters).await;
        let elapsed = begun.elapsed();
        let requests = std::mem::take(&mut *reports.lock().unwrap_or_else(PoisonError::into_inner));
        let waiting: Duration = requests.iter().map(|report| report.elapsed).sum();
        inside += elapsed.saturating_sub(waiting);
        unexpected += usize::from(result.is_err() != step.fails);

        writeln!(
            text,
            "\n{} {}",
            paint.dim(&format!("{:>2}", number + 1)),
            paint.bold(step.title)
        )?;
        writeln!(text, "   {} {}", paint.blue("call"), step.parameters)?;
        for request in &requests {
            let status = request
                .status
                .map_or("refused by the host".to_owned(), |status| {
                    status.to_string()
                });
            writeln!(
                text,
                "   {} {} {} {}",
                paint.dim("http"),
                request.method,
                request.path,
                paint.dim(&status)
            )?;
        }
        let told = match &result {
            Ok(json) => paint.green(&brief(&serde_json::from_str(json)?)),
            Err(json) => {
                let failure: Value = serde_json::from_str(json)?;
                let kind = failure["error"]["kind"].as_str().unwrap_or_default();
                paint.red(&format!(
                    "{kind}: {}",
                    sanitize(failure["msg"].as_str().unwrap_or_default())
                ))
            }
        };
        let word = if result.is_ok() {
            paint.green("done")
        } else {
            paint.red("fail")
        };
        writeln!(text, "   {word} {told}")?;
        writeln!(
            text,
            "   {}",
            paint.dim(&format!(
                "time {} in all, {} of it in the sandbox",
                milliseconds(elapsed),
                milliseconds(elapsed.saturating_sub(waiting))
            ))
        )?;
    }
    writeln!(
        text,
        "\n{} calls, each in a sandbox of its own: {} in the sandbox on average.",
        STEPS.len(),
        milliseconds(inside / u32::try_from(STEPS.len())?)
    )?;
    writeln!(
        text,
        "Next: consul-session --help, or start an agent to play with: consul-session agent"
    )?;
    agent.shutdown().await;
    let printed = print(&text);
    Ok(if unexpected == 0 {
        printed
    } else {
        ExitCode::from(FAILED)
    })
}

/// A result in a line.
fn brief(result: &Value) -> String {
    let mut text = if result["changed"] == true {
        "changed"
    } else {
        "unchanged"
    }
    .to_owned();
    let short = |id: &Value| {
        id.as_str()
            .unwrap_or_default()
            .chars()
            .take(8)
            .collect::<String>()
    };
    match (&result["sessions"], &result["session_id"]) {
        (Value::Array(sessions), _) => {
            let names: Vec<String> = sessions
                .iter()
                .map(|session| {
                    format!(
                        "{} {}",
                        sanitize(session["Name"].as_str().unwrap_or_default()),
                        short(&session["ID"])
                    )
                })
                .collect();
            let _ = write!(
                text,
                ", {} session(s): {}",
                sessions.len(),
                names.join(", ")
            );
        }
        (_, id @ Value::String(_)) => {
            let _ = write!(text, ", session {}…", short(id));
        }
        _ => {}
    }
    for key in ["ttl", "delay", "behavior"] {
        match &result[key] {
            Value::Null => {}
            Value::String(value) => {
                let _ = write!(text, ", {key} {value}");
            }
            value => {
                let _ = write!(text, ", {key} {value} s");
            }
        }
    }
    if let Some(replaced) = result["replaced"].as_array() {
        let ids: Vec<String> = replaced.iter().map(short).collect();
        let _ = write!(text, ", replaced {}…", ids.join("…, "));
    }
    text
}

#[expect(clippy::cast_precision_loss, reason = "for reading, not for computing")]
fn milliseconds(duration: Duration) -> String {
    format!("{:.2} ms", duration.as_micros() as f64 / 1000.0)
}

/// Colours, where there is a terminal to show them.
struct Paint {
    colour: bool,
}

impl Paint {
    fn with(&self, code: &str, text: &str) -> String {
        if self.colour {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    fn bold(&self, text: &str) -> String {
        self.with("1", text)
    }

    fn dim(&self, text: &str) -> String {
        self.with("2", text)
    }

    fn red(&self, text: &str) -> String {
        self.with("31", text)
    }

    fn green(&self, text: &str) -> String {
        self.with("32", text)
    }

    fn blue(&self, text: &str) -> String {
        self.with("34", text)
    }
}
