//! Terminals, for tests of what a person would see and type.

use crate::background::{LIMIT, Stream, eventually, signal};
use crate::program::path;
use nix::fcntl::OFlag;
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;

/// Ctrl-C.
pub const INTERRUPT: &str = "\x03";
/// Ctrl-Z.
pub const SUSPEND: &str = "\x1a";

/// A program on a terminal of its own, as the leader of a session. All processes of the session are killed when this is
/// dropped.
pub struct Terminal {
    leader: Child,
    /// Closing it hangs up.
    keyboard: Option<File>,
    screen: Arc<Stream>,
    /// How much of the output was expected so far.
    read: usize,
}

impl Terminal {
    /// Starts a command, for which `$PROGRAM` is the program under test.
    pub fn start(command: &[&str], http: &str) -> Terminal {
        let (keyboard, device) = open();
        let stream = || Stdio::from(device.try_clone().unwrap());
        let leader = Command::new("setsid")
            .arg("--ctty")
            .args(command)
            .env_clear()
            .envs([("PATH", "/usr/bin:/bin"), ("TERM", "xterm"), ("PS1", "$ ")])
            .env("HISTFILE", "/dev/null")
            .env("CONSUL_HTTP_ADDR", http)
            .env("PROGRAM", path())
            .stdin(stream())
            .stdout(stream())
            .stderr(stream())
            .spawn()
            .unwrap();
        let screen = Arc::<Stream>::default();
        let (mut source, writer) = (keyboard.try_clone().unwrap(), screen.clone());
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            // An error is the end: the last process with the terminal has closed it.
            while let Ok(length @ 1..) = source.read(&mut bytes) {
                if !writer.push(&bytes[..length]) {
                    return;
                }
            }
            writer.complete();
        });
        Terminal {
            leader,
            keyboard: Some(keyboard),
            screen,
            read: 0,
        }
    }

    /// Starts an interactive shell and waits for its prompt.
    pub fn shell(http: &str) -> Terminal {
        let bash = ["bash", "--norc", "--noprofile", "--noediting", "-i"];
        let mut terminal = Terminal::start(&bash, http);
        terminal.expect("$ ");
        terminal
    }

    /// Types these characters.
    pub fn keys(&mut self, keys: &str) {
        let keyboard = self.keyboard.as_mut().unwrap();
        keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// Types a line.
    pub fn line(&mut self, line: &str) {
        self.keys(&format!("{line}\n"));
    }

    /// Waits until the screen shows a text, after what was expected before.
    #[track_caller]
    pub fn expect(&mut self, part: &str) {
        let shows = |text: &str| text[self.read..].contains(part);
        let text = self.screen.wait(LIMIT, shows);
        let Some(place) = text[self.read..].find(part) else {
            panic!("the screen does not show {part:?}: {text:?}");
        };
        self.read += place + part.len();
    }

    /// Types a command line for the shell, whose `$` has shown what went before, and expects its exit status.
    #[track_caller]
    pub fn expect_status(&mut self, status: u8) {
        self.expect("$ ");
        // The typed line is shown, too, and must not look like its output.
        self.line("echo \"status\"=$?.");
        self.expect(&format!("status={status}."));
        self.expect("$ ");
    }

    /// Sends a signal to the program under test.
    pub fn signal_program(&self, name: &str) {
        let program = path().canonicalize().unwrap();
        let is_program = |id: &u32| {
            let file = fs::read_link(format!("/proc/{id}/exe"));
            file.is_ok_and(|file| file == program)
        };
        for id in self.processes().into_keys().filter(is_program) {
            signal(id, name);
        }
    }

    /// What the screen has shown so far.
    pub fn shown(&self) -> String {
        self.screen.so_far()
    }

    /// Closes the window.
    pub fn hang_up(&mut self) {
        self.screen.complete();
        // The thread that reads must close its end, too: the echo wakes it.
        self.keys(" ");
        self.keyboard = None;
    }

    /// Waits until all processes besides the leader are in a state, such as `T` for stopped.
    #[track_caller]
    pub fn expect_state(&self, states: &str) {
        let fulfilled = || {
            let processes = self.processes();
            let mut others = processes.values().filter(|process| !process.leads);
            others.all(|process| states.contains(process.state))
        };
        eventually(&format!("all are {states}"), fulfilled);
    }

    /// Waits until no process but the leader is left.
    #[track_caller]
    pub fn expect_alone(&self) {
        eventually("alone", || {
            self.processes().values().all(|process| process.leads)
        });
    }

    /// Waits until the leader has ended, and returns its exit status.
    pub fn end(mut self) -> i32 {
        let mut status = None;
        eventually("ended", || {
            status = self.leader.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap().code().unwrap_or(-1)
    }

    /// The processes of the session, without those that have ended.
    fn processes(&self) -> HashMap<u32, Process> {
        let leader = self.leader.id();
        let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| {
            let id: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
            // After the name: the state, the parent, the group and the session.
            let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
            let state = fields[0].chars().next()?;
            let is_ours = fields[3].parse() == Ok(leader) && state != 'Z';
            is_ours.then_some((
                id,
                Process {
                    leads: id == leader,
                    state,
                },
            ))
        });
        processes.collect()
    }
}

/// Both ends of a new terminal. No other process inherits them.
fn open() -> (File, File) {
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let keyboard = posix_openpt(flags).unwrap();
    grantpt(&keyboard).unwrap();
    unlockpt(&keyboard).unwrap();
    let device = File::options()
        .read(true)
        .write(true)
        .custom_flags(OFlag::O_NOCTTY.bits())
        .open(ptsname_r(&keyboard).unwrap())
        .unwrap();
    (OwnedFd::from(keyboard).into(), device)
}

struct Process {
    leads: bool,
    state: char,
}

impl Drop for Terminal {
    fn drop(&mut self) {
        for id in self.processes().into_keys() {
            signal(id, "KILL");
        }
        let _ = self.leader.wait();
    }
}
