//! Processes in the background, for tests that act while they run.

use crate::program::Run;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// How long to wait for what should happen at once. It is never reached unless a test fails.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);
/// How long a process may take to end after SIGTERM when its test is over.
const LAST_RESPITE: Duration = Duration::from_secs(5);
/// Time between two looks at a condition.
const INTERVAL: Duration = Duration::from_millis(5);

/// A process in the background, whose standard streams are pipes. It is ended when this is dropped: first its input
/// ends, then it receives SIGTERM, and at last SIGKILL.
pub struct Background {
    child: Child,
    start: Instant,
    input: Option<ChildStdin>,
    stdout: Arc<Stream>,
    stderr: Arc<Stream>,
    /// How much of the standard output [`Background::line`] has returned.
    read: usize,
}

/// What a process has written so far.
#[derive(Default)]
pub(crate) struct Stream {
    /// The text, and whether it is complete.
    text: Mutex<(String, bool)>,
    changed: Condvar,
}

impl Stream {
    fn collect(source: impl Read + Send + 'static) -> Arc<Stream> {
        let stream = Arc::<Stream>::default();
        let writer = stream.clone();
        thread::spawn(move || {
            let mut source = BufReader::new(source);
            let mut line = Vec::new();
            while source
                .read_until(b'\n', &mut line)
                .is_ok_and(|read| read > 0)
            {
                writer.push(&line);
                line.clear();
            }
            writer.complete();
        });
        stream
    }

    /// Adds a text. Returns whether more is expected.
    pub(crate) fn push(&self, bytes: &[u8]) -> bool {
        let mut text = self.text.lock().unwrap();
        text.0.push_str(&String::from_utf8_lossy(bytes));
        self.changed.notify_all();
        !text.1
    }

    /// The text is complete.
    pub(crate) fn complete(&self) {
        self.text.lock().unwrap().1 = true;
        self.changed.notify_all();
    }

    /// The text so far.
    pub(crate) fn so_far(&self) -> String {
        self.text.lock().unwrap().0.clone()
    }

    /// Waits until the text fulfills a condition or is complete.
    pub(crate) fn wait(&self, limit: Duration, done: impl Fn(&str) -> bool) -> String {
        let text = self.text.lock().unwrap();
        let waits = |text: &mut (String, bool)| !text.1 && !done(&text.0);
        let waited = self.changed.wait_timeout_while(text, limit, waits);
        waited.unwrap().0.0.clone()
    }
}

impl Background {
    /// Starts a command.
    pub fn start(mut command: Command) -> Background {
        let start = Instant::now();
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Background {
            start,
            input: child.stdin.take(),
            stdout: Stream::collect(child.stdout.take().unwrap()),
            stderr: Stream::collect(child.stderr.take().unwrap()),
            child,
            read: 0,
        }
    }

    /// Returns the ID of the process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the next line of standard output and returns it without its end.
    #[track_caller]
    pub fn line(&mut self) -> String {
        let has_line = |text: &str| text[self.read..].contains('\n');
        let text = self.stdout.wait(LIMIT, has_line);
        let Some((line, _)) = text[self.read..].split_once('\n') else {
            panic!("there is no further line of output: {:#?}", self.so_far());
        };
        self.read += line.len() + 1;
        line.to_owned()
    }

    /// Returns what was written to standard output so far.
    pub fn output_so_far(&self) -> String {
        self.so_far().0
    }

    /// Waits until standard error contains a text.
    #[track_caller]
    pub fn says(&self, part: &str) {
        let text = self.stderr.wait(LIMIT, |text| text.contains(part));
        assert!(text.contains(part), "no `{part}`: {text:?}");
    }

    /// Writes a line to standard input.
    pub fn write(&mut self, line: &str) {
        let input = self.input.as_mut().unwrap();
        writeln!(input, "{line}").unwrap();
    }

    /// Ends standard input.
    pub fn end_input(&mut self) {
        self.input = None;
    }

    /// Sends a signal to the process, such as `TERM`. Does nothing after its end.
    pub fn signal(&mut self, name: &str) {
        // Unless its exit status has been fetched, no other process has the ID.
        if let Ok(None) = self.child.try_wait() {
            signal(self.id(), name);
        }
    }

    /// Returns whether the process has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits until the process ends, and returns its exit status and output. If a signal has killed it, the code is -1.
    #[track_caller]
    pub fn end(mut self) -> Run {
        let ended = wait_until(LIMIT, || self.has_ended());
        assert!(ended, "still running after {LIMIT:?}: {:?}", self.so_far());
        let took = self.start.elapsed();
        // A process that outlives this one may hold its streams open.
        let rest = Duration::from_secs(1);
        self.stdout.wait(rest, |_| false);
        self.stderr.wait(rest, |_| false);
        let status = self.child.wait().unwrap();
        let (stdout, stderr) = self.so_far();
        Run {
            code: status.code().unwrap_or(-1),
            stdout,
            stderr,
            took,
        }
    }

    fn so_far(&self) -> (String, String) {
        (self.stdout.so_far(), self.stderr.so_far())
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.end_input();
        self.signal("TERM");
        if !wait_until(LAST_RESPITE, || self.has_ended()) {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

/// Sends a signal to a process, such as `TERM`.
pub fn signal(id: u32, name: &str) {
    let script = "kill -s \"$0\" -- \"$1\"";
    let _ = Command::new("sh")
        .args(["-c", script, name, &id.to_string()])
        .stderr(Stdio::null())
        .status();
}

/// Waits until a condition is fulfilled, and returns whether that happened within the limit.
pub fn wait_until(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
    let until = Instant::now() + limit;
    while !done() {
        if Instant::now() > until {
            return false;
        }
        thread::sleep(INTERVAL);
    }
    true
}

/// Waits until a condition is fulfilled. Panics if that takes too long.
#[track_caller]
pub fn eventually(what: &str, done: impl FnMut() -> bool) {
    assert!(wait_until(LIMIT, done), "after {LIMIT:?}, not {what}");
}
