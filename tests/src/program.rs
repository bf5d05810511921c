//! Runs the program under test in a process whose environment contains only the variables set by the test.

use crate::background::Background;
use serde_json::{Map, Value};
use std::env;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// Time limit for runs that hang. It is far above all timeouts in the tests, so that no run reaches it on a busy
/// machine.
const LIMIT: Duration = Duration::from_secs(180);

/// A run of a program, before it starts.
pub struct Program {
    command: Command,
    input: Option<Vec<u8>>,
    to: Option<File>,
}

/// The result of a run.
#[derive(Clone, Debug)]
pub struct Run {
    /// The exit code.
    pub code: i32,
    /// The standard output.
    pub stdout: String,
    /// The standard error.
    pub stderr: String,
    /// The duration of the run.
    pub took: Duration,
}

/// Runs one action against the Consul at this URL.
pub fn apply(url: &str, mut parameters: Value) -> Run {
    parameters["url"] = url.into();
    Program::apply(&parameters).run()
}

/// Returns the path of the program under test: `CONSUL_SESSION_BIN`, or else the program that cargo builds with the
/// tests.
pub fn path() -> PathBuf {
    env::var_os("CONSUL_SESSION_BIN")
        .or_else(|| env::var_os("CARGO_BIN_EXE_consul-session-under-test"))
        .map(PathBuf::from)
        .expect("cargo sets CARGO_BIN_EXE_consul-session-under-test for tests; without cargo, set CONSUL_SESSION_BIN")
}

impl Program {
    /// Prepares a run of the program under test. Its standard input is empty.
    pub fn new(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Program {
        Program::other(path(), arguments)
    }

    /// Prepares a run of another program, for comparison.
    pub fn other(
        program: impl AsRef<OsStr>,
        arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
    ) -> Program {
        let mut command = Command::new(program);
        command.env_clear().args(arguments);
        Program {
            command,
            input: None,
            to: None,
        }
    }

    /// Prepares a run of `consul-session apply` with parameters on standard input.
    pub fn apply(parameters: &Value) -> Program {
        Program::new(["apply"]).input(parameters.to_string())
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Program {
        self.command.env(name, value);
        self
    }

    /// Sets the contents of standard input.
    pub fn input(mut self, input: impl Into<Vec<u8>>) -> Program {
        self.input = Some(input.into());
        self
    }

    /// Redirects standard output to an existing file.
    pub fn output_to(mut self, file: &str) -> Program {
        self.to = Some(File::options().write(true).open(file).unwrap());
        self
    }

    /// Starts the program in the background.
    pub fn start(self) -> Background {
        Background::start(self.command)
    }

    /// Runs the program until it exits.
    pub fn run(self) -> Run {
        let start = Instant::now();
        let output = self.output();
        Run {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
            took: start.elapsed(),
        }
    }

    /// Runs the program until it exits and returns its output as bytes.
    pub fn output(mut self) -> Output {
        let stdin = if self.input.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        };
        let mut child = self
            .command
            .stdin(stdin)
            .stdout(self.to.map_or_else(Stdio::piped, Stdio::from))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        if let (Some(mut stdin), Some(input)) = (child.stdin.take(), self.input) {
            // Write in a thread, so that a full pipe does not block the test. Ignore errors: the program may exit
            // without reading all of its input.
            thread::spawn(move || stdin.write_all(&input));
        }
        let (ended, end) = mpsc::channel();
        let pid = child.id();
        thread::spawn(move || ended.send(child.wait_with_output()));
        let Ok(output) = end.recv_timeout(LIMIT) else {
            // Kill by ID, because the thread above owns the handle. That thread is still waiting, so the ID has not
            // been reused.
            let _ = Command::new("sh")
                .args(["-c", "kill -KILL \"$0\"", &pid.to_string()])
                .status();
            panic!("{:?} was still running after {LIMIT:?}", self.command);
        };
        output.unwrap()
    }
}

impl Run {
    /// Parses standard output, which must be a single JSON value.
    #[track_caller]
    pub fn json(&self) -> Value {
        match serde_json::from_str(&self.stdout) {
            Ok(value) => value,
            Err(error) => panic!("standard output is not one JSON value ({error}): {self:#?}"),
        }
    }

    /// Returns the result of a run. Panics if the run failed.
    #[track_caller]
    pub fn success(&self) -> Value {
        assert_eq!(self.code, 0, "{self:#?}");
        let result = self.json();
        assert!(result.get("failed").is_none(), "{self:#?}");
        result
    }

    /// Returns the failure of a run. Panics unless it has the documented format and this kind.
    #[track_caller]
    pub fn failure(&self, kind: &str) -> Failure {
        assert_eq!(self.code, 1, "{self:#?}");
        let Value::Object(json) = self.json() else {
            panic!("the failure is not an object: {self:#?}");
        };
        assert_eq!(json["failed"], true, "{self:#?}");
        let msg = json["msg"].as_str().unwrap().to_owned();
        assert!(!msg.trim().is_empty(), "{self:#?}");
        let Value::Object(error) = json["error"].clone() else {
            panic!("the failure has no `error` object: {self:#?}");
        };
        assert_eq!(error["kind"], kind, "{self:#?}");
        let retryable = ["unavailable", "timeout", "transport"].contains(&kind);
        assert_eq!(error["retryable"], retryable, "{self:#?}");
        assert!(error["maybe_applied"].is_boolean(), "{self:#?}");
        Failure { msg, error }
    }

    /// Panics if standard output or standard error contains the secret.
    #[track_caller]
    pub fn never_says(&self, secret: &str) {
        assert!(
            !self.stdout.contains(secret) && !self.stderr.contains(secret),
            "the output contains `{secret}`: {self:#?}"
        );
    }
}

/// The result of a failed run.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The human-readable message.
    pub msg: String,
    error: Map<String, Value>,
}

impl Failure {
    /// Returns a field of `error`, or null.
    pub fn get(&self, field: &str) -> &Value {
        self.error.get(field).unwrap_or(&Value::Null)
    }

    /// Panics unless the message contains all of these parts.
    #[track_caller]
    pub fn says(&self, parts: &[&str]) -> &Failure {
        for part in parts {
            assert!(
                self.msg.contains(part),
                "the message lacks `{part}`: {}",
                self.msg
            );
        }
        self
    }
}
