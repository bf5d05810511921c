//! `consul-session demo`: every operation through the sandboxed component, against an agent of its own.

use crate::{executor, output};
use anstyle::{AnsiColor, Color, Style};
use consul_session::{Client, Outcome, Report, Runtime};
use consul_session_core::terminal::escape;
use consul_session_dev_agent::DevAgent;
use serde_json::Value;
use std::fmt::Write as _;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const BLUE: Style = colored(AnsiColor::Blue);
const GREEN: Style = colored(AnsiColor::Green);
const RED: Style = colored(AnsiColor::Red);

const fn colored(color: AnsiColor) -> Style {
    Style::new().fg_color(Some(Color::Ansi(color)))
}

/// One step: what it shows, its parameters, and whether it is expected to fail.
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
        "create a session that ends unless it is renewed",
        r#"{"state": "present", "name": "deploy", "ttl": "30s"}"#,
    ),
    step(
        "the same again changes nothing",
        r#"{"state": "present", "name": "deploy", "ttl": "30s"}"#,
    ),
    failing(
        "a session cannot be changed, and the error says what to do",
        r#"{"state": "present", "name": "deploy", "ttl": "5m"}"#,
    ),
    step(
        "replace it",
        r#"{"state": "present", "name": "deploy", "ttl": "5m", "recreate": true}"#,
    ),
    step("renew it", r#"{"state": "renew", "name": "deploy"}"#),
    step(
        "look it up by name",
        r#"{"state": "info", "name": "deploy"}"#,
    ),
    step(
        "create another session, with other attributes",
        r#"{"name": "leader", "delay": "500ms", "behavior": "delete", "checks": []}"#,
    ),
    step(
        "list the sessions of a node",
        r#"{"state": "node", "node": "dev-agent"}"#,
    ),
    step("list all sessions", r#"{"state": "list"}"#),
    step(
        "what would be destroyed? (check mode)",
        r#"{"state": "absent", "name": "deploy", "check_mode": true}"#,
    ),
    step(
        "destroy it by name",
        r#"{"state": "absent", "name": "deploy"}"#,
    ),
    failing(
        "a misspelled parameter",
        r#"{"state": "present", "nmae": "deploy"}"#,
    ),
    failing(
        "an address that the policy does not allow",
        r#"{"state": "list", "url": "http://169.254.169.254:80"}"#,
    ),
];

/// Runs the demo.
pub(crate) fn run() -> ExitCode {
    let shown = executor()
        .map_err(anyhow::Error::from)
        .and_then(|executor| executor.block_on(show()));
    match shown {
        Ok(code) => code,
        Err(error) => {
            output::error(&format!("{error:#}"));
            output::FAILURE
        }
    }
}

async fn show() -> anyhow::Result<ExitCode> {
    let start = Instant::now();
    let runtime = Runtime::with_calls(1)?;
    let loaded = start.elapsed();
    let agent = DevAgent::start().await?;
    let requests: Arc<Mutex<Vec<Report>>> = Arc::default();
    let sink = requests.clone();
    let client = Client::builder()
        .address(agent.address())
        .on_request(move |request| {
            sink.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(request.clone());
        })
        .build(&runtime)?;

    let mut text = String::new();
    writeln!(
        text,
        "{BOLD}Every operation through the sandboxed component{BOLD:#}"
    )?;
    writeln!(
        text,
        "agent      {} (built in, in memory; no Consul needed)",
        agent.address()
    )?;
    writeln!(
        text,
        "component  {} KB, ready in {}; imports nothing",
        Runtime::embedded().len() / 1000,
        milliseconds(loaded)
    )?;
    let mut unexpected = false;
    let mut in_sandbox = Duration::ZERO;
    for (number, step) in STEPS.iter().enumerate() {
        let start = Instant::now();
        let result = client.action(step.parameters).await;
        let elapsed = start.elapsed();
        let requests =
            std::mem::take(&mut *requests.lock().unwrap_or_else(PoisonError::into_inner));
        let waiting: Duration = requests.iter().map(|request| request.elapsed).sum();
        let computing = elapsed.saturating_sub(waiting);
        in_sandbox += computing;
        unexpected |= result.is_err() != step.fails;

        let (number, title) = (number + 1, step.title);
        writeln!(text, "\n{DIM}{number:>2}{DIM:#} {BOLD}{title}{BOLD:#}")?;
        writeln!(text, "   {BLUE}call{BLUE:#} {}", step.parameters)?;
        for request in &requests {
            let status = match request.status {
                Some(status) => status.to_string(),
                None => "refused by the host".to_owned(),
            };
            writeln!(
                text,
                "   {DIM}http{DIM:#} {} {} {DIM}{status}{DIM:#}",
                request.method, request.path
            )?;
        }
        match &result {
            Ok(outcome) => writeln!(text, "   {GREEN}done {}{GREEN:#}", summary(outcome)?)?,
            Err(error) => {
                let (kind, message) = (error.kind().as_str(), escape(error.message()));
                writeln!(text, "   {RED}fail {kind}: {message}{RED:#}")?;
            }
        }
        let (total, computing) = (milliseconds(elapsed), milliseconds(computing));
        writeln!(
            text,
            "   {DIM}time {total}, of which {computing} in the sandbox{DIM:#}"
        )?;
    }
    let count = u32::try_from(STEPS.len())?;
    writeln!(
        text,
        "\n{count} calls, each in a fresh sandbox: {} in the sandbox on average.",
        milliseconds(in_sandbox / count)
    )?;
    writeln!(
        text,
        "Next: consul-session --help, or start an agent to try things on: consul-session agent"
    )?;
    agent.shutdown().await;
    let printed = output::print(&text);
    Ok(if unexpected { output::FAILURE } else { printed })
}

/// A result in one line.
fn summary(outcome: &Outcome) -> anyhow::Result<String> {
    let result: Value = serde_json::from_str(outcome.as_json())?;
    let mut text = if outcome.changed() {
        "changed".to_owned()
    } else {
        "unchanged".to_owned()
    };
    let short = |id: &str| id.chars().take(8).collect::<String>();
    let string = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    if let Some(sessions) = result["sessions"].as_array() {
        let names: Vec<String> = sessions
            .iter()
            .map(|session| {
                let (name, id) = (string(&session["Name"]), string(&session["ID"]));
                format!("{} {}", escape(&name), short(&id))
            })
            .collect();
        let _ = match names.len() {
            1 => write!(text, ", 1 session: {}", names.join(", ")),
            count => write!(text, ", {count} sessions: {}", names.join(", ")),
        };
    } else if let Some(id) = outcome.session_id() {
        let _ = write!(text, ", session {}…", short(id));
    }
    for key in ["ttl", "delay", "behavior"] {
        let _ = match &result[key] {
            Value::Null => Ok(()),
            Value::String(value) => write!(text, ", {key} {value}"),
            value => write!(text, ", {key} {value} s"),
        };
    }
    if let Some(replaced) = result["replaced"].as_array() {
        let ids: Vec<String> = replaced.iter().map(|id| short(&string(id))).collect();
        let _ = write!(text, ", replaced {}…", ids.join("…, "));
    }
    Ok(text)
}

#[expect(clippy::cast_precision_loss, reason = "for reading, not for computing")]
fn milliseconds(duration: Duration) -> String {
    format!("{:.2} ms", duration.as_micros() as f64 / 1000.0)
}
