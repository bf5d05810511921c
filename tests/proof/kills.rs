//! Rounds of random signals to `consul-session` and to COMMAND, and what they leave behind.

use crate::{Dice, Options, Site, exits_with, program};
use consul_session_tests::background::{signal, wait_until};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

/// Rounds at a time.
const AT_ONCE: u64 = 4;
/// Prefixes, so that some rounds wait for others.
const PREFIXES: u64 = 6;
/// How long the sessions of killed rounds may take to go: 2 × TTL, and some more for a busy machine.
const EXPIRY: Duration = Duration::from_secs(60);

/// What is killed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Victim {
    Program,
    Command,
}

pub(crate) fn run(options: &Options) {
    for site in Site::all() {
        let all = Mutex::new(Vec::new());
        thread::scope(|scope| {
            for worker in 0..AT_ONCE {
                let (site, all) = (&site, &all);
                scope.spawn(move || {
                    let mut dice = Dice::new(options.seed * AT_ONCE + worker);
                    for number in (worker..options.rounds).step_by(AT_ONCE as usize) {
                        let round = Round::play(site, &mut dice, number);
                        all.lock().unwrap().push(round);
                    }
                });
            }
        });
        report(&site, options, &all.into_inner().unwrap());
    }
}

struct Round {
    name: String,
    prefix: String,
    /// The signal, its receiver, and the exit status.
    outcome: String,
    /// Whether the program had no chance to clean up.
    killed: bool,
}

impl Round {
    fn play(site: &Site, dice: &mut Dice, number: u64) -> Round {
        let name = format!("proof-kill-{number}");
        let prefix = format!("proof/kills-{}", dice.roll(PREFIXES));
        let kind = dice.pick(&["lock", "lock", "semaphore", "run"]);
        // A semaphore's prefix is not a lock's.
        let prefix = format!("{prefix}-{kind}");
        let keep = ["--ttl", "10s", "--name", &name, "--lock-delay", "0"];
        let arguments = match kind {
            "run" => vec!["run", "--ttl", "10s", &name, "--"],
            "semaphore" => [&["lock", "-n", "2"], &keep[..], &[&prefix, "--"]].concat(),
            _ => [&["lock"], &keep[..], &[&prefix, "--"]].concat(),
        };
        let command = ["sh", "-c", "echo $$; exec sleep 0.3"];
        let mut process = program(&site.http, &[&arguments[..], &command].concat()).start();
        thread::sleep(Duration::from_millis(dice.roll(400)));
        let name_of_signal = dice.pick(&["TERM", "INT", "KILL"]);
        let mut victim = dice.pick(&[Victim::Program, Victim::Program, Victim::Command]);
        let started = process.output_so_far();
        match (victim, started.trim().parse()) {
            (Victim::Command, Ok(id)) if !process.has_ended() => signal(id, name_of_signal),
            // Not started yet.
            _ => {
                victim = Victim::Program;
                process.signal(name_of_signal);
            }
        }
        let run = process.end();
        let killed = victim == Victim::Program && name_of_signal == "KILL" && run.code == -1;
        // A signal may also come before the program catches it, or after the end.
        let expected: &[i32] = match (victim, name_of_signal) {
            (Victim::Program, "TERM") => &[0, 143, -1],
            (Victim::Program, "INT") => &[0, 130, -1],
            (Victim::Program, _) => &[0, -1],
            (Victim::Command, "TERM") => &[0, 143],
            (Victim::Command, "INT") => &[0, 130],
            (Victim::Command, _) => &[0, 137],
        };
        assert!(
            expected.contains(&run.code),
            "SIG{name_of_signal} to {victim:?}: {run:#?}"
        );
        if !killed {
            assert_eq!(site.api.named(&name), Vec::<serde_json::Value>::new());
        }
        Round {
            outcome: format!("SIG{name_of_signal} to {victim:?}: {}", run.code),
            name,
            prefix,
            killed,
        }
    }
}

fn report(site: &Site, options: &Options, rounds: &[Round]) {
    let mut outcomes = BTreeMap::<_, u32>::new();
    for round in rounds {
        *outcomes.entry(&round.outcome).or_default() += 1;
    }
    for (outcome, count) in outcomes {
        println!("{}: {count} times {outcome}", site.name);
    }
    // Only the rounds without a chance have left something.
    let left = || {
        let mut sessions = site.api.sessions();
        sessions.retain(|session| session["Name"].as_str().unwrap().starts_with("proof-kill-"));
        sessions
    };
    let killed: Vec<_> = rounds.iter().filter(|round| round.killed).collect();
    let sessions = left();
    let keys = site.api.keys("proof/kills-");
    for session in &sessions {
        assert!(
            killed.iter().any(|round| session["Name"] == *round.name),
            "{session}"
        );
    }
    let is_of_killed = |key: &String| {
        let mut prefixes = killed.iter().map(|round| format!("{}/", round.prefix));
        prefixes.any(|prefix| key.starts_with(&prefix))
    };
    assert!(keys.iter().all(is_of_killed), "{keys:?}");
    println!(
        "{}: {} rounds, {} of them killed -9: {} sessions and {} keys are left, all of killed ones",
        site.name,
        rounds.len(),
        killed.len(),
        sessions.len(),
        keys.len()
    );
    if !options.long {
        return;
    }
    let start = Instant::now();
    assert!(
        wait_until(EXPIRY, || left().is_empty()),
        "sessions that do not expire: {:#?}",
        left()
    );
    let keys = site.api.keys("proof/kills-");
    println!(
        "{}: after {:.1} s no session is left; keys that nobody holds: {keys:?}",
        site.name,
        start.elapsed().as_secs_f64(),
    );
    let mut prefixes: Vec<&str> = rounds.iter().map(|round| &*round.prefix).collect();
    prefixes.sort_unstable();
    prefixes.dedup();
    for prefix in prefixes {
        let places = if prefix.ends_with("semaphore") {
            "2"
        } else {
            "1"
        };
        let lock = ["lock", "--try", "-n", places, prefix, "--", "true"];
        exits_with(0, &program(&site.http, &lock).run());
    }
    let keys = site.api.keys("proof/kills-");
    println!("{}: after one more holder of each: {keys:?}", site.name);
    assert_eq!(keys, Vec::<String>::new());
}
