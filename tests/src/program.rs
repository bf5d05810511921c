//! One run of the program under test, as a process, with nothing in its environment but what the test puts there.

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

/// Ends a run that hangs. Far above every deadline that a test gives the program, so that a busy machine never meets it.
const LIMIT: Duration = Duration::from_secs(180);

/// A run to be made.
pub struct Program {
    command: Command,
    input: Option<Vec<u8>>,
    to: Option<File>,
}

/// A run that was made.
#[derive(Clone, Debug)]
pub struct Run {
    /// The exit code.
    pub code: i32,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
    /// How long it took.
    pub took: Duration,
}

/// Runs one action against the Consul at this address.
pub fn apply(url: &str, mut parameters: Value) -> Run {
    parameters["url"] = url.into();
    Program::apply(&parameters).run()
}

/// The program under test, which cargo builds along with the tests; or `CONSUL_SESSION_BIN`.
pub fn path() -> PathBuf {
    env::var_os("CONSUL_SESSION_BIN")
        .or_else(|| env::var_os("CARGO_BIN_EXE_consul-session-under-test"))
        .map(PathBuf::from)
        .expect("cargo sets this variable for tests; without cargo, set CONSUL_SESSION_BIN")
}

impl Program {
    /// The program with these arguments. Its standard input is empty.
    pub fn new(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Program {
        Program::other(path(), arguments)
    }

    /// Another program with these arguments, to compare with.
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

    /// The action door, with parameters on standard input.
    pub fn apply(parameters: &Value) -> Program {
        Program::new(["apply"]).input(parameters.to_string())
    }

    /// Sets a variable.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Program {
        self.command.env(name, value);
        self
    }

    /// Gives it something to read on standard input.
    pub fn input(mut self, input: impl Into<Vec<u8>>) -> Program {
        self.input = Some(input.into());
        self
    }

    /// Sends its standard output to a file.
    pub fn output_to(mut self, file: &str) -> Program {
        self.to = Some(File::options().write(true).open(file).unwrap());
        self
    }

    /// Runs it to its end.
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

    /// Runs it to its end, and takes its output for bytes.
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
            // In a thread, and whatever comes of it: the program may end without having read it all.
            thread::spawn(move || stdin.write_all(&input));
        }
        let (ended, end) = mpsc::channel();
        let pid = child.id();
        thread::spawn(move || ended.send(child.wait_with_output()));
        let Ok(output) = end.recv_timeout(LIMIT) else {
            // By its id: the thread above holds the handle. It still waits, so the id cannot have gone to another.
            let _ = Command::new("sh")
                .args(["-c", "kill -KILL \"$0\"", &pid.to_string()])
                .status();
            panic!("{:?} was still running after {LIMIT:?}", self.command);
        };
        output.unwrap()
    }
}

impl Run {
    /// Standard output as JSON: one value and nothing else.
    #[track_caller]
    pub fn json(&self) -> Value {
        match serde_json::from_str(&self.stdout) {
            Ok(value) => value,
            Err(error) => panic!("standard output is not one JSON value ({error}): {self:#?}"),
        }
    }

    /// The result of a run that must have succeeded.
    #[track_caller]
    pub fn success(&self) -> Value {
        assert_eq!(self.code, 0, "{self:#?}");
        let result = self.json();
        assert!(result.get("failed").is_none(), "{self:#?}");
        result
    }

    /// The failure of a run that must have failed: the whole object is as the contract says, and of this kind.
    #[track_caller]
    pub fn failure(&self, kind: &str) -> Failure {
        assert_eq!(self.code, 1, "{self:#?}");
        let Value::Object(json) = self.json() else {
            panic!("no object: {self:#?}");
        };
        assert_eq!(json["failed"], true, "{self:#?}");
        let msg = json["msg"].as_str().unwrap().to_owned();
        assert!(!msg.trim().is_empty(), "{self:#?}");
        let Value::Object(error) = json["error"].clone() else {
            panic!("no error: {self:#?}");
        };
        assert_eq!(error["kind"], kind, "{self:#?}");
        let retryable = ["unavailable", "timeout", "transport"].contains(&kind);
        assert_eq!(error["retryable"], retryable, "{self:#?}");
        assert!(error["maybe_applied"].is_boolean(), "{self:#?}");
        Failure { msg, error }
    }

    /// Fails if any of the outputs holds this text.
    #[track_caller]
    pub fn never_says(&self, secret: &str) {
        assert!(
            !self.stdout.contains(secret) && !self.stderr.contains(secret),
            "the program shows `{secret}`: {self:#?}"
        );
    }
}

/// What a failed run says.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The message for people.
    pub msg: String,
    error: Map<String, Value>,
}

impl Failure {
    /// A field of `error`.
    pub fn get(&self, field: &str) -> &Value {
        self.error.get(field).unwrap_or(&Value::Null)
    }

    /// Fails unless the message holds all of these.
    #[track_caller]
    pub fn says(&self, parts: &[&str]) -> &Failure {
        for part in parts {
            assert!(
                self.msg.contains(part),
                "`{part}` is missing in: {}",
                self.msg
            );
        }
        self
    }
}
