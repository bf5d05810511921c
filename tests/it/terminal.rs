//! `lock` and `holder` on a terminal: what a person sees, Ctrl-C, Ctrl-Z and the job control of the shell.
//!
//! COMMAND reads a line before anything else is typed for it: then it has the terminal.

use consul_session_dev_agent::DevAgent;
use consul_session_tests::api::Api;
use consul_session_tests::background::eventually;
use consul_session_tests::terminal::{INTERRUPT, SUSPEND, Terminal};
use serde_json::Value;
use std::sync::OnceLock;
use tokio::runtime::Runtime;

/// Counts SIGINT, and ends with a second line.
const COUNT: &str = "n=0; trap 'n=$((n+1)); echo n=$n.' INT; trap 'echo usr1' USR1; \
    read x; echo ready; until read y; do :; done; echo count=$n.; exit 3";

/// Reads two lines.
const READ: &str = "read x; echo ready; read y; echo got=$y.; exit 3";

/// One development agent for all tests: its URL.
fn agent() -> &'static str {
    static AGENT: OnceLock<(DevAgent, Runtime)> = OnceLock::new();
    let start = || {
        let runtime = Runtime::new().unwrap();
        (runtime.block_on(DevAgent::start()).unwrap(), runtime)
    };
    AGENT.get_or_init(start).0.address()
}

/// A command line that runs a script for `bash` under a lock.
fn lock(prefix: &str, script: &str) -> String {
    let script = script.replace('\'', r"'\''");
    format!("$PROGRAM lock {prefix} -- bash -c '{script}'")
}

fn shell() -> Terminal {
    Terminal::shell(agent())
}

/// A command without a shell around it that would do job control, as in a script or a container.
fn script(script: &str) -> Terminal {
    Terminal::start(&["sh", "-c", script], agent())
}

/// A shell that runs this command line, whose COMMAND has the terminal.
fn begun(command: &str) -> Terminal {
    let mut terminal = shell();
    terminal.line(command);
    terminal.line("go");
    terminal.expect("\nready");
    terminal
}

fn nothing_is_left_of(prefix: &str) {
    let api = Api::new(agent());
    assert_eq!(api.keys(&format!("{prefix}/")), Vec::<String>::new());
    let name = format!("consul-session lock {prefix}");
    assert_eq!(api.named(&name), Vec::<Value>::new());
}

#[test]
fn command_reads_and_gives_the_terminal_back() {
    let command = lock("terminal/reads", READ);
    let mut terminal = script(&format!(
        "{command}; echo status=$?.; read z; echo then=$z."
    ));
    terminal.line("one");
    terminal.expect("\nready");
    terminal.line("two");
    terminal.expect("got=two.");
    terminal.expect("status=3.");
    terminal.line("three");
    terminal.expect("then=three.");
    nothing_is_left_of("terminal/reads");
}

#[test]
fn command_that_reads_at_once_is_not_stopped_for_ever() {
    let loops = "i=0; while [ $i -lt 40 ]; do $PROGRAM lock terminal/quick -- head -n 1; i=$((i+1)); done; echo over";
    let mut terminal = script(loops);
    for i in 0..40 {
        terminal.line(&format!("line{i}."));
        // Once typed, and once by `head`.
        terminal.expect(&format!("line{i}."));
        terminal.expect(&format!("line{i}."));
    }
    terminal.expect("over");
}

#[test]
fn ctrl_c_arrives_once() {
    // In a pipeline, COMMAND gets the terminal when it reads.
    for (prefix, rest) in [
        ("terminal/once", ""),
        ("terminal/pipe", " | (trap '' INT; cat)"),
    ] {
        let mut terminal = begun(&(lock(prefix, COUNT) + rest));
        terminal.keys(INTERRUPT);
        terminal.expect("n=1.");
        // A second SIGINT would have been passed on before this.
        terminal.signal_program("USR1");
        terminal.expect("\nusr1");
        terminal.line("end");
        terminal.expect("count=1.");
        terminal.expect_status(if rest.is_empty() { 3 } else { 0 });
        nothing_is_left_of(prefix);
    }
}

#[test]
fn ctrl_c_ends_the_command() {
    let mut terminal = begun(&lock(
        "terminal/ends",
        "read x; echo ready; exec sleep 1000",
    ));
    terminal.keys(INTERRUPT);
    terminal.expect_status(130);
    nothing_is_left_of("terminal/ends");
}

#[test]
fn ctrl_c_ends_the_waiting() {
    let mut holder = begun(&lock("terminal/waits", READ));
    let mut waiter = shell();
    waiter.line(&lock("terminal/waits", "echo never"));
    waiter.expect("waiting for the lock `terminal/waits`, which is held by session ");
    waiter.expect(" (`consul-session lock terminal/waits` on node ");
    waiter.expect(" (0 s)");
    waiter.keys(INTERRUPT);
    waiter.expect_status(130);
    holder.line("end");
    holder.expect("got=end.");
    holder.expect_status(3);
    nothing_is_left_of("terminal/waits");
}

#[test]
fn ctrl_z_and_fg() {
    let mut terminal = begun(&lock("terminal/stops", READ));
    for _ in 0..5 {
        terminal.keys(SUSPEND);
        terminal.expect("Stopped");
        terminal.expect("$ ");
        terminal.expect_state("T");
        terminal.line("echo shell=$((40+2))");
        terminal.expect("shell=42");
        terminal.expect("$ ");
        terminal.line("fg");
        terminal.expect("lock terminal/stops");
        terminal.expect_state("S");
    }
    terminal.line("typed");
    terminal.expect("got=typed.");
    terminal.expect_status(3);
    nothing_is_left_of("terminal/stops");
}

#[test]
fn ctrl_z_and_bg() {
    let mut terminal = begun(&lock("terminal/bg", "read x; echo ready; read y; read z"));
    terminal.keys(SUSPEND);
    terminal.expect("Stopped");
    terminal.expect("$ ");
    // It reads, and the terminal is the shell's: it is stopped again.
    terminal.line("bg");
    terminal.expect("$ ");
    terminal.expect_state("T");
    terminal.line("jobs");
    terminal.expect("Stopped");
    terminal.line("fg");
    terminal.line("one");
    terminal.line("two");
    terminal.expect_status(0);
    nothing_is_left_of("terminal/bg");
}

#[test]
fn a_job_in_the_background_leaves_the_terminal_alone() {
    let mut terminal = shell();
    terminal.line(&(lock("terminal/job", "echo begun; read x; echo got=$x.; exit 4") + " &"));
    terminal.expect("begun\r");
    terminal.expect_state("T");
    terminal.line("read own; echo \"own\"=$own.");
    terminal.line("mine");
    terminal.expect("own=mine.");
    terminal.line("fg");
    terminal.line("yours");
    terminal.expect("got=yours.");
    terminal.expect_status(4);
}

#[test]
fn ctrl_z_in_a_pipeline_and_in_a_script() {
    let plain = lock("terminal/around", READ);
    let inner = plain.replace('\'', r"'\''");
    for command in [
        format!("{plain} | cat"),
        format!("bash -c '{inner}; echo script=$?.'"),
        format!("$PROGRAM lock terminal/outer -- {plain}"),
    ] {
        let mut terminal = begun(&command);
        terminal.keys(SUSPEND);
        terminal.expect("Stopped");
        terminal.expect("$ ");
        terminal.expect_state("T");
        terminal.line("fg");
        terminal.line("typed");
        terminal.expect("got=typed.");
        terminal.expect("$ ");
        terminal.expect_alone();
    }
    nothing_is_left_of("terminal/around");
}

/// Like ssh, which catches SIGTTIN and SIGTTOU, and stops itself a moment later.
#[test]
fn a_descendant_that_stops_itself_late_gets_the_terminal() {
    let asks =
        r#"trap "sleep 0.1; kill -STOP \$BASHPID" TTIN; until read x; do :; done; echo got=$x."#;
    let command = lock("terminal/late", &format!("bash -c '{asks}'; echo over=$?."));
    let mut terminal = shell();
    terminal.line(&format!("{command} | cat"));
    terminal.expect_state("TS");
    terminal.line("secret");
    terminal.expect("got=secret.");
    terminal.expect("over=0.");
    terminal.expect_status(0);
}

/// Nobody could continue it.
#[test]
fn the_leader_of_a_session_ignores_ctrl_z() {
    let mut terminal = script(&("exec ".to_owned() + &lock("terminal/leader", READ)));
    terminal.line("go");
    terminal.expect("\nready");
    terminal.keys(SUSPEND);
    terminal.line("typed");
    terminal.expect("got=typed.");
    assert_eq!(terminal.end(), 3);
}

#[test]
fn modes_of_the_terminal_are_restored_after_a_kill() {
    let command = lock("terminal/modes", "stty raw -echo; kill -KILL $$");
    let mut terminal = script(&format!("{command}; echo status=$?.; stty -a; echo over"));
    terminal.expect("status=137.");
    terminal.expect("over");
    let shown = terminal.shown();
    assert!(
        shown.contains(" icanon") && shown.contains(" echo "),
        "{shown}"
    );
}

#[test]
fn nothing_is_left_when_the_window_is_closed() {
    let mut terminal = begun(&lock("terminal/closed", READ));
    terminal.hang_up();
    terminal.expect_alone();
    nothing_is_left_of("terminal/closed");
}

#[test]
fn holder_is_shown_as_text() {
    let mut holder = begun(&lock("terminal/holder", READ));
    let mut terminal = shell();
    terminal.line("$PROGRAM holder terminal/holder");
    terminal.expect("held by session ");
    terminal.expect(", name consul-session lock terminal/holder, node ");
    terminal.expect("fencing token ");
    terminal.expect_status(0);
    holder.line("end");
    eventually("free", || {
        Api::new(agent()).keys("terminal/holder/").is_empty()
    });
    terminal.line("$PROGRAM holder terminal/holder");
    terminal.expect("\nfree");
    terminal.expect_status(0);
}
