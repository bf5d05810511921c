//! Locks in a cluster that loses its leader, or its majority.

use crate::cluster::Cluster;
use crate::{Dice, Options, exits_with, moment_of_end, moment_of_line, pause, program, seconds};
use consul_session_tests::background::Background;
use std::thread;
use std::time::Instant;

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
            assert!(!process.has_ended());
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

fn cut(cluster: &Cluster, round: u64, time: f64, long: bool) {
    let leader = cluster.leader();
    // With and without the leader.
    let kept = match round % 2 {
        0 => (leader + 1) % 3,
        _ => leader,
    };
    let stopped: Vec<_> = (0..3).filter(|number| *number != kept).collect();
    let options = ["--ttl", "10s", "--lock-delay", "0", "--grace", "1s"];
    let prefixes: Vec<String> = (0..6)
        .map(|number| format!("proof/quorum-{round}-{number}"))
        .collect();
    let start = |number: usize, server: usize, line: &str| {
        let places = if number < 3 { "1" } else { "2" };
        let script = format!("echo {line}; exec cat");
        let arguments = [
            &["lock", "-n", places],
            &options[..],
            &[&prefixes[number], "--", "sh", "-c", &script],
        ]
        .concat();
        program(&cluster.servers[server % 3].http, &arguments).start()
    };
    // One through each server: locks, and semaphores whose other place is taken by one that is told too.
    let mut holders = Vec::new();
    for number in 0..6 {
        for _ in 0..if number < 3 { 1 } else { 2 } {
            let mut holder = start(number, number, "held");
            assert_eq!(holder.line(), "held");
            holders.push((number, holder));
        }
    }
    let (cut, resumed, told, acquired) = thread::scope(|scope| {
        let waiters: Vec<_> = (0..6)
            .map(|number| moment_of_line(scope, start(number, number + 1, "next"), "next"))
            .collect();
        let cut = Instant::now();
        for number in &stopped {
            cluster.servers[*number].signal("STOP");
        }
        let holders: Vec<_> = holders
            .into_iter()
            .map(|(number, mut holder)| {
                // In a short cut, they may go on for ever.
                let (ended, resumed) = (
                    scope.spawn(move || {
                        let until =
                            Instant::now() + std::time::Duration::from_secs_f64(time + 30.0);
                        while !holder.has_ended() && Instant::now() < until {
                            pause(0.005);
                        }
                        let told = holder.has_ended();
                        holder.end_input();
                        (told, Instant::now(), holder)
                    }),
                    number,
                );
                (resumed, ended)
            })
            .collect();
        pause(time);
        for number in &stopped {
            cluster.servers[*number].signal("CONT");
        }
        let resumed = Instant::now();
        let mut told = Vec::new();
        for (number, holder) in holders {
            let (was_told, at, holder) = holder.join().unwrap();
            let (_, run) = moment_of_end(scope, holder).join().unwrap();
            exits_with(if was_told { 123 } else { 0 }, &run);
            told.push((number, was_told, at));
        }
        let acquired: Vec<_> = waiters
            .into_iter()
            .map(|waiter| {
                let (at, mut waiter) = waiter.join().unwrap();
                waiter.end_input();
                exits_with(0, &waiter.end());
                at
            })
            .collect();
        (cut, resumed, told, acquired)
    });
    assert!(
        !long || told.iter().all(|(_, told, _)| *told),
        "a holder was not told"
    );
    let margins = acquired.iter().enumerate().map(|(number, acquired)| {
        // A place of a semaphore is free when the first of its two holders is gone.
        let own = told.iter().filter(|(other, ..)| *other == number);
        let ended = own.map(|(.., at)| *at).min().unwrap();
        let margin = seconds(ended, *acquired);
        let prefix = &prefixes[number];
        assert!(
            margin > 0.0,
            "{prefix}: acquired {margin:.2} s before its holder had ended"
        );
        margin
    });
    let least = margins.fold(f64::INFINITY, f64::min);
    let after = |moments: Vec<Instant>| {
        let mut times: Vec<f64> = moments.iter().map(|at| seconds(cut, *at)).collect();
        times.sort_by(f64::total_cmp);
        match (times.first(), times.last()) {
            (Some(first), Some(last)) => format!("{first:.1} to {last:.1} s"),
            _ => "-".to_owned(),
        }
    };
    println!(
        "round {round}: {} stopped for {:.1} s, TTL 10 s: {} of {} holders told and ended, after {}; the next acquired after {}, at least {:.1} s later than its predecessor's end",
        match round % 2 {
            0 => "leader and a follower",
            _ => "both followers",
        },
        seconds(cut, resumed),
        told.iter().filter(|(_, told, _)| *told).count(),
        told.len(),
        after(
            told.iter()
                .filter(|(_, told, _)| *told)
                .map(|(.., at)| *at)
                .collect()
        ),
        after(acquired),
        least,
    );
}
