//! COMMAND, run in the foreground with job control, as a shell runs one job.
//!
//! COMMAND gets a process group of its own, so that all its processes can be ended together. A terminal serves one group at
//! a time, so it has to be lent to that group:
//!
//! | event | what happens |
//! |---|---|
//! | start, or `fg` | COMMAND gets the terminal: Ctrl-C and Ctrl-Z reach COMMAND, not us |
//! | the same in a pipeline, or started with `&` | the terminal stays ours until COMMAND reads it; we pass Ctrl-C and Ctrl-Z on |
//! | COMMAND stops | our group stops too, so that the shell takes the terminal |
//! | we are continued | we continue COMMAND |
//! | COMMAND ends | we take the terminal back |

use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, killpg, raise};
use nix::sys::termios::{SetArg, Termios, tcgetattr, tcsetattr};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getpgrp, getppid, getsid, tcgetpgrp, tcsetpgrp};
use std::ffi::OsString;
use std::fs::File;
use std::future::poll_fn;
use std::io::{self, ErrorKind, IsTerminal};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, timeout_at};

/// Programs such as ssh catch SIGTTIN and SIGTTOU, and stop themselves a moment later. If COMMAND has started such a
/// program, its stop is not reported to us. So after each request for the terminal we send SIGCONT again, after 10, 40,
/// 160 and 640 ms.
const FIRST_REPEAT: Duration = Duration::from_millis(10);
const LAST_REPEAT: Duration = Duration::from_secs(1);

/// The signals that are caught.
pub(crate) struct Signals(Vec<(Signal, tokio::signal::unix::Signal)>);

impl Signals {
    /// Catches SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1 and SIGUSR2 from now on.
    ///
    /// Like [`Child::start`], this needs a Tokio runtime with I/O and time.
    pub(crate) fn install() -> io::Result<Self> {
        Self::catch(&[
            Signal::SIGTERM,
            Signal::SIGINT,
            Signal::SIGQUIT,
            Signal::SIGHUP,
            Signal::SIGUSR1,
            Signal::SIGUSR2,
        ])
    }

    /// Catches these signals, except those that this process was started to ignore, for example by `nohup`: COMMAND would get
    /// the default action of a caught signal. SIGCHLD and SIGCONT are always needed.
    fn catch(signals: &[Signal]) -> io::Result<Self> {
        let ignored = ignored();
        signals
            .iter()
            .copied()
            .filter(|signal| {
                matches!(signal, Signal::SIGCHLD | Signal::SIGCONT)
                    || ignored & (1 << (*signal as u32 - 1)) == 0
            })
            .map(|caught| Ok((caught, signal(SignalKind::from_raw(caught as i32))?)))
            .collect::<io::Result<_>>()
            .map(Self)
    }

    /// Waits for the next signal. Cancel safe.
    pub(crate) async fn next(&mut self) -> Signal {
        poll_fn(|context| {
            self.0
                .iter_mut()
                .find_map(|(signal, stream)| {
                    matches!(stream.poll_recv(context), Poll::Ready(Some(()))).then_some(*signal)
                })
                .map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    /// Forgets a signal that has arrived.
    fn discard(&mut self, signal: Signal) {
        for (_, stream) in self.0.iter_mut().filter(|(caught, _)| *caught == signal) {
            let _ = stream.poll_recv(&mut Context::from_waker(Waker::noop()));
        }
    }
}

/// The set of ignored signals. Empty on macOS, where no safe call tells.
fn ignored() -> u64 {
    std::fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|status| {
            let mask = status
                .lines()
                .find_map(|line| line.strip_prefix("SigIgn:"))?;
            u64::from_str_radix(mask.trim(), 16).ok()
        })
        .unwrap_or(0)
}

/// The reason why COMMAND could not be started.
pub(crate) enum StartError {
    /// There is no such program.
    NotFound(io::Error),
    /// The program exists, but cannot be run.
    NotExecutable(io::Error),
    /// Anything else, such as a lack of memory.
    Other(io::Error),
}

impl StartError {
    /// The exit status that `env` and `timeout` use for this error.
    pub(crate) fn status(&self) -> u8 {
        match self {
            Self::NotFound(_) => 127,
            Self::NotExecutable(_) => 126,
            Self::Other(_) => 125,
        }
    }

    /// The error of the system.
    pub(crate) fn cause(&self) -> &io::Error {
        match self {
            Self::NotFound(cause) | Self::NotExecutable(cause) | Self::Other(cause) => cause,
        }
    }
}

impl From<io::Error> for StartError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::NotFound => Self::NotFound(error),
            // No process, no memory, or an argument with a NUL. All other errors come from exec.
            ErrorKind::WouldBlock | ErrorKind::OutOfMemory | ErrorKind::InvalidInput => {
                Self::Other(error)
            }
            _ => Self::NotExecutable(error),
        }
    }
}

/// COMMAND and its process group.
pub(crate) struct Child {
    /// Also the id of the process group.
    pid: Pid,
    events: Signals,
    terminal: Option<Terminal>,
    /// The time of the next repeated SIGCONT, and the wait before it.
    repeat: Option<(Instant, Duration)>,
    status: Option<u8>,
    /// Whether processes of the group are left after the end of COMMAND.
    survivors: bool,
}

impl Child {
    /// Starts COMMAND in a process group of its own, with the standard streams inherited and these variables added to the
    /// environment.
    pub(crate) fn start(
        command: &[OsString],
        variables: &[(&str, OsString)],
    ) -> Result<Self, StartError> {
        let (program, arguments) = command
            .split_first()
            .ok_or_else(|| io::Error::from(ErrorKind::InvalidInput))?;
        // Before COMMAND is started, so that its end is not missed.
        let events = Signals::catch(&[Signal::SIGCHLD, Signal::SIGCONT, Signal::SIGTSTP])
            .map_err(StartError::Other)?;
        // The signal mask is inherited from whoever started this process, and a blocked signal is never caught.
        let _ = SigSet::from(Signal::SIGCHLD).thread_unblock();
        let terminal = Terminal::open();
        let process = Command::new(program)
            .args(arguments)
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .process_group(0)
            .spawn()?;
        let mut child = Self {
            // Process ids are positive numbers of the type pid_t, which is i32.
            pid: Pid::from_raw(process.id().cast_signed()),
            events,
            terminal,
            repeat: None,
            status: None,
            survivors: true,
        };
        // If COMMAND has tried to use the terminal before, COMMAND is stopped, and `ended` continues it.
        child.lend(false);
        Ok(child)
    }

    /// Waits until COMMAND ends, and returns its exit status, or 128+N if signal N killed it. Meanwhile, stops and continues
    /// this process along with COMMAND. Cancel safe.
    ///
    /// Processes that COMMAND leaves behind are not waited for.
    pub(crate) async fn ended(&mut self) -> u8 {
        loop {
            if let Some(status) = self.status {
                return status;
            }
            let options = WaitPidFlag::WNOHANG | WaitPidFlag::WUNTRACED;
            match waitpid(self.pid, Some(options)) {
                Ok(WaitStatus::Exited(_, status)) => self.end(status as u8, false),
                Ok(WaitStatus::Signaled(_, signal, _)) => self.end(128 + signal as u8, true),
                Ok(WaitStatus::Stopped(_, signal)) => self.stopped(signal),
                Ok(_) => match self.event().await {
                    None => self.signal_group(Signal::SIGCONT),
                    // By `fg`, `bg` or `kill`.
                    Some(Signal::SIGCONT) => {
                        // As the system does: this stop is over.
                        self.events.discard(Signal::SIGTSTP);
                        self.lend(false);
                        self.signal_group(Signal::SIGCONT);
                    }
                    Some(Signal::SIGTSTP) => self.signal_group(Signal::SIGTSTP),
                    Some(_) => {}
                },
                Err(Errno::EINTR) => {}
                // nix has no name for the signal that killed COMMAND, a real-time signal.
                Err(_) => self.end(128, true),
            }
        }
    }

    /// Waits for a signal, or for the time to repeat SIGCONT.
    async fn event(&mut self) -> Option<Signal> {
        let Some((time, wait)) = self.repeat else {
            return Some(self.events.next().await);
        };
        let event = timeout_at(time, self.events.next()).await.ok();
        if event.is_none() {
            let wait = 4 * wait;
            self.repeat = (wait < LAST_REPEAT).then(|| (Instant::now() + wait, wait));
        }
        event
    }

    /// Passes a signal on: SIGUSR1 and SIGUSR2 to COMMAND, any other signal to its process group. Does nothing after the end
    /// of COMMAND.
    pub(crate) fn pass(&self, signal: Signal) {
        match signal {
            _ if self.status.is_some() => {}
            Signal::SIGUSR1 | Signal::SIGUSR2 => {
                let _ = kill(self.pid, signal);
            }
            _ => self.kill(signal),
        }
    }

    /// Sends a signal to the process group, also after the end of COMMAND if other processes were left then.
    pub(crate) fn kill(&self, signal: Signal) {
        self.signal_group(signal);
        // A stopped process does not notice other signals.
        if signal != Signal::SIGKILL {
            self.signal_group(Signal::SIGCONT);
        }
    }

    /// Whether processes of the group are left after the end of COMMAND.
    pub(crate) fn has_left_others(&self) -> bool {
        self.survivors && killpg(self.pid, None).is_ok()
    }

    /// An error means that all processes are gone, or run as another user.
    fn signal_group(&self, signal: Signal) {
        // The system may give the id of an empty group to a new process.
        if self.survivors {
            let _ = killpg(self.pid, signal);
        }
    }

    fn end(&mut self, status: u8, killed: bool) {
        self.status = Some(status);
        self.survivors = killpg(self.pid, None) != Err(Errno::ESRCH);
        if let Some(terminal) = &mut self.terminal {
            terminal.take_back(self.pid, killed);
        }
    }

    /// COMMAND was stopped: continues it, or stops this process too.
    fn stopped(&mut self, signal: Signal) {
        self.repeat = None;
        let asks = matches!(signal, Signal::SIGTTIN | Signal::SIGTTOU);
        // Without a terminal there is no shell that would continue us.
        let Some(terminal) = &mut self.terminal else {
            return;
        };
        let holder = terminal.holder();
        let ours = holder == Some(getpgrp());
        if asks && (ours || holder == Some(self.pid)) {
            self.lend(true);
            self.signal_group(Signal::SIGCONT);
            self.repeat = Some((Instant::now() + FIRST_REPEAT, FIRST_REPEAT));
        } else if is_orphaned() {
            // An orphaned group ignores Ctrl-Z. The group of COMMAND is not orphaned, but nobody could continue it either.
            if signal == Signal::SIGTSTP {
                self.signal_group(Signal::SIGCONT);
            }
        } else {
            // The shell takes the terminal as soon as all processes of its job, our group, are stopped.
            terminal.modes = None;
            let _ = match (asks, ours) {
                (true, _) => killpg(getpgrp(), signal),
                // Ctrl-Z in a pipeline: the rest of our group got SIGTSTP from the terminal.
                (false, true) => raise(Signal::SIGSTOP),
                // Not SIGTSTP, which is caught.
                (false, false) => killpg(getpgrp(), Signal::SIGSTOP),
            };
        }
    }

    /// Lends the terminal to COMMAND if our group has it. In a pipeline, COMMAND must have asked for the terminal by trying to
    /// use it: another process of our group, such as a pager, may need the terminal.
    fn lend(&mut self, asked: bool) {
        if let Some(terminal) = &mut self.terminal
            && (asked || !terminal.pipeline)
        {
            terminal.lend(self.pid);
        }
    }
}

/// Whether nobody could continue this process if it stopped, as in a container, or under cron or ssh.
///
/// Not all such groups are recognised. The system itself protects them from SIGTTIN and SIGTTOU, but not from SIGSTOP.
fn is_orphaned() -> bool {
    let session = getsid(None);
    let parent = getppid();
    // The parent of a session leader is in another session. Number 0 stands for a parent outside of the container.
    session == Ok(getpgrp()) || parent == Pid::from_raw(0) || getsid(Some(parent)) != session
}

/// The controlling terminal.
struct Terminal {
    device: File,
    /// Whether the standard input or output is something else.
    pipeline: bool,
    /// The modes when the terminal was lent, to restore when COMMAND is killed.
    modes: Option<Termios>,
}

impl Terminal {
    fn open() -> Option<Self> {
        Some(Self {
            device: File::options()
                .read(true)
                .write(true)
                .open("/dev/tty")
                .ok()?,
            pipeline: !io::stdin().is_terminal() || !io::stdout().is_terminal(),
            modes: None,
        })
    }

    /// The foreground process group.
    fn holder(&self) -> Option<Pid> {
        tcgetpgrp(&self.device).ok()
    }

    fn lend(&mut self, group: Pid) {
        let modes = tcgetattr(&self.device).ok();
        if self.holder() == Some(getpgrp()) {
            self.modes = modes;
            // If the shell takes the terminal right now, SIGTTOU stops this process here, and `fg` repeats the call.
            let _ = tcsetpgrp(&self.device, group);
        }
    }

    /// Takes the terminal back if COMMAND has it, or a job that COMMAND started and that is gone.
    fn take_back(&mut self, group: Pid, restore: bool) {
        let modes = self.modes.take();
        let is_ours_to_take = |holder| {
            holder == group || modes.is_some() && killpg(holder, None) == Err(Errno::ESRCH)
        };
        if !self.holder().is_some_and(is_ours_to_take) {
            return;
        }
        // The terminal belongs to another group, and SIGTTOU would stop this process.
        let Ok(mask) = SigSet::from(Signal::SIGTTOU).thread_swap_mask(SigmaskHow::SIG_BLOCK) else {
            return;
        };
        let taken = tcsetpgrp(&self.device, getpgrp());
        if let (Ok(()), true, Some(modes)) = (taken, restore, &modes) {
            let _ = tcsetattr(&self.device, SetArg::TCSANOW, modes);
        }
        let _ = mask.thread_set_mask();
    }
}
