//! Locks in a cluster that loses its leader, or its majority.

use crate::cluster::Cluster;
use crate::{Dice, Options, exits_with, pause, program};
use consul_session_tests::background::{Background, eventually, wait_until};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A holder writes once it is told to, and ends.
const WRITER: &str = "echo held; read line; \"$PROGRAM\" put $0 written; echo \"put $?\"";

/// Leaders are killed and restarted while locks are held through each server, and waited for through another one.
pub(crate) fn leaders_killed(options: &Options) {
    let Some(mut cluster) = Cluster::start(3) else {
        return;
    };
    let mut held = Vec::new();
    let mut waiting = Vec::new();
    for number in 0..3 {
        let http = cluster.servers[number].http.clone();
        let other = cluster.servers[(number + 1) % 3].http.clone();
        let prefix = format!("proof/leader-{number}");
        let key = format!("{prefix}-written");
        let lock = |places| vec!["lock", "-n", places, "--ttl", "30s"];
        let writer = ["--", "sh", "-c", WRITER, &key];
        let arguments = [&lock("1")[..], &[&prefix], &writer].concat();
        held.push(crate::start(&http, &arguments, "held"));
        waiting.push(program(&other, &arguments).start());
        let prefix = format!("proof/leader-n-{number}");
        let arguments = [&lock("2")[..], &[&prefix], &writer].concat();
        held.push(crate::start(&http, &arguments, "held"));
        held.push(crate::start(&other, &arguments, "held"));
        let run = ["run", "--ttl", "30s", "proof-leader", "--"];
        let arguments = [&run[..], &["sh", "-c", "echo held; exec cat"]].concat();
        held.push(crate::start(&http, &arguments, "held"));
    }
    // Who has no session yet would give up if nobody listens.
    let begun = held.len() + waiting.len();
    let api = &cluster.servers[0].api;
    eventually("all contend", || api.sessions().len() == begun);
    for round in 1..=3 + options.rounds / 100 {
        let leader = cluster.leader();
        let survivor = (leader + 1) % 3;
        cluster.servers[leader].kill();
        let away = cluster.wait_for_writes(survivor);
        pause(5.0);
        cluster.launch(leader);
        let back = cluster.wait_for_writes(leader);
        println!(
            "round {round}: leader {} killed -9, writes through {} after {:.1} s; restarted 5 s later, serves after {:.1} s",
            cluster.servers[leader].address,
            cluster.servers[survivor].address,
            away.as_secs_f64(),
            back.as_secs_f64()
        );
        // So that renewals fall into different phases of the next election.
        pause(7.0);
        for process in held.iter_mut().chain(&mut waiting) {
            assert!(!process.has_ended(), "{}", process.output_so_far());
        }
    }
    let count = held.len();
    for process in held {
        finish(process);
    }
    println!(
        "{count} holders through all servers, TTL 30 s: none lost its lock or session, and all guarded writes were accepted"
    );
    let count = waiting.len();
    for mut process in waiting {
        assert_eq!(process.line(), "held");
        finish(process);
    }
    println!("{count} waiters through other servers: all got the lock after that");
    nothing_is_left(&cluster);
}

fn finish(mut process: Background) {
    process.write("write now");
    process.end_input();
    let run = process.end();
    exits_with(0, &run);
    // The session without a lock only repeats its input.
    assert!(
        run.stdout.contains("put 0") || run.stdout.contains("write now"),
        "{run:#?}"
    );
}

fn nothing_is_left(cluster: &Cluster) {
    let api = &cluster.servers[0].api;
    let mut keys = api.keys("proof/");
    keys.retain(|key| !key.ends_with("-written"));
    assert_eq!(keys, Vec::<String>::new());
    assert!(api.sessions().is_empty(), "{:#?}", api.sessions());
    println!("no key and no session of them is left");
}

/// Two of three servers are stopped, so that no session can be renewed, and none expires. They continue in all kinds of
/// moments.
pub(crate) fn quorum_lost(options: &Options) {
    let Some(cluster) = Cluster::start(3) else {
        return;
    };
    let mut dice = Dice::new(options.seed);
    for round in 0..3 + options.rounds / 100 {
        // The first rounds are longer than the time after which holders must be told.
        let long = round < 2;
        let time = match long {
            true => 30.0,
            false => 12.0 + dice.roll(200) as f64 / 10.0,
        };
        cut(&cluster, round, time, long);
    }
}

/// Says by its own clock when it ends.
const HOLDER: &str =
    "trap exit TERM; trap 'echo over $(date +%s.%N)' EXIT; echo held; read line; exit 0";
/// Says by its own clock when it begins.
const NEXT: &str = "echo next $(date +%s.%N); read line; exit 0";

/// A holder after the cut.
struct Former {
    /// Which lock it had.
    number: usize,
    /// Whether it was told that it has lost the lock.
    told: bool,
    /// When its COMMAND ended.
    over: f64,
}

fn cut(cluster: &Cluster, round: u64, time: f64, long: bool) {
    let leader = cluster.leader();
    // With and without the leader.
    let kept = match round % 2 {
        0 => (leader + 1) % 3,
        _ => leader,
    };
    let stopped: Vec<_> = (0..3).filter(|number| *number != kept).collect();
    let signal = |name| {
        for number in &stopped {
            cluster.servers[*number].signal(name);
        }
        now()
    };
    let options = ["--ttl", "10s", "--lock-delay", "0", "--grace", "1s"];
    let prefixes: Vec<String> = (0..6)
        .map(|number| format!("proof/quorum-{round}-{number}"))
        .collect();
    let start = |number: usize, server: usize, script: &str| {
        let places = if number < 3 { "1" } else { "2" };
        let lock = ["lock", "-n", places];
        let command = [&prefixes[number], "--", "sh", "-c", script];
        let arguments = [&lock[..], &options, &command].concat();
        program(&cluster.servers[server % 3].http, &arguments).start()
    };
    // One through each server: locks, and semaphores whose other place is taken by one that is told too.
    let mut holders = Vec::new();
    for number in 0..6 {
        for _ in 0..if number < 3 { 1 } else { 2 } {
            let mut holder = start(number, number, HOLDER);
            assert_eq!(holder.line(), "held");
            holders.push((number, holder));
        }
    }
    let waiters: Vec<_> = (0..6)
        .map(|number| start(number, number + 1, NEXT))
        .collect();
    // Who has no session yet would give up in the outage.
    let begun = holders.len() + waiters.len();
    let api = &cluster.servers[kept].api;
    eventually("all contend", || api.sessions().len() == begun);
    let cut = signal("STOP");
    // In a short cut, the holders may go on for ever.
    let limit = Duration::from_secs_f64(time + 30.0);
    let (resumed, former) = thread::scope(|scope| {
        let holders: Vec<_> = holders
            .into_iter()
            .map(|(number, holder)| scope.spawn(move || end_of(number, holder, limit)))
            .collect();
        pause(time);
        let resumed = signal("CONT");
        let former: Vec<_> = holders
            .into_iter()
            .map(|holder| holder.join().unwrap())
            .collect();
        (resumed, former)
    });
    let acquired: Vec<f64> = waiters
        .into_iter()
        .map(|mut waiter| {
            let acquired = stamp(&waiter.line(), "next ");
            waiter.end_input();
            let run = waiter.end();
            // A leader that was stopped ends the sessions that were not renewed meanwhile, in some order: a waiter may get
            // the lock from one of them just before its own ends.
            if run.code == 123 && run.stderr.contains("is lost") {
                println!(
                    "round {round}: a waiter got its lock and lost it with its session at once"
                );
            } else {
                exits_with(0, &run);
            }
            acquired
        })
        .collect();
    let told: Vec<f64> = former
        .iter()
        .filter(|holder| holder.told)
        .map(|holder| holder.over)
        .collect();
    assert!(!long || told.len() == former.len(), "a holder was not told");
    let margins = acquired.iter().enumerate().map(|(number, acquired)| {
        // A place of a semaphore is free when the first of its two holders is gone.
        let own = former.iter().filter(|holder| holder.number == number);
        let over = own.map(|holder| holder.over).fold(f64::INFINITY, f64::min);
        let margin = acquired - over;
        let prefix = &prefixes[number];
        assert!(
            margin > 0.0,
            "{prefix}: acquired {margin:.3} s before its holder's COMMAND had ended"
        );
        margin
    });
    println!(
        "round {round}: {} stopped for {:.1} s, TTL 10 s: {} of {} holders told and ended, after {}; the next acquired after {}, at least {:.1} s later than its predecessor's end",
        match round % 2 {
            0 => "leader and a follower",
            _ => "both followers",
        },
        resumed - cut,
        told.len(),
        former.len(),
        between(&told, cut),
        between(&acquired, cut),
        margins.fold(f64::INFINITY, f64::min),
    );
}

/// Waits until a holder is told, and otherwise ends it at last.
fn end_of(number: usize, mut holder: Background, limit: Duration) -> Former {
    let told = wait_until(limit, || holder.has_ended());
    holder.end_input();
    let run = holder.end();
    exits_with(if told { 123 } else { 0 }, &run);
    let over = stamp(run.stdout.trim_end(), "held\nover ");
    Former { number, told, over }
}

/// The time in a line of COMMAND, in seconds.
fn stamp(output: &str, before: &str) -> f64 {
    let time = output
        .strip_prefix(before)
        .and_then(|time| time.parse().ok());
    time.unwrap_or_else(|| panic!("no time after {before:?}: {output:?}"))
}

/// The time by the clock of `date`, in seconds.
fn now() -> f64 {
    let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    time.as_secs_f64()
}

/// The first and the last of some moments.
fn between(moments: &[f64], start: f64) -> String {
    if moments.is_empty() {
        return "-".to_owned();
    }
    let first = moments.iter().copied().fold(f64::INFINITY, f64::min);
    let last = moments.iter().copied().fold(0.0, f64::max);
    format!("{:.1} to {:.1} s", first - start, last - start)
}
