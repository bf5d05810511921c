//! Holders that die or stand still, and who gets the lock after them.

use crate::proxy::Proxy;
use crate::{
    Options, Site, consul_lock, exits_with, moment_of_line, pause, program, seconds, start,
};
use consul_session_tests::background::{eventually, signal};
use std::thread;
use std::time::Instant;

/// How late a lock may be acquired: a waiter looks every 5 s while there is a lock delay, and the machine is busy.
const LATE: f64 = 10.0;

/// A holder is killed. The next one gets the lock 2 × TTL plus the lock delay after its last renewal.
pub(crate) fn killed(_: &Options) {
    for site in Site::all() {
        thread::scope(|scope| {
            let site = &site;
            for (places, delay) in [("1", "0"), ("1", "5"), ("2", "15")] {
                for theirs in [false, true] {
                    scope.spawn(move || kill(site, places, delay, theirs));
                }
            }
        });
    }
}

fn kill(site: &Site, places: &str, delay: &str, theirs: bool) {
    let prefix = format!("proof/killed-{places}-{delay}-{theirs}");
    let proxy = Proxy::start(&site.http);
    let delay_option = format!("{delay}s");
    let lock = [
        "lock",
        "-n",
        places,
        "--ttl",
        "10s",
        "--lock-delay",
        &delay_option,
        &prefix,
        "--",
    ];
    let hold = ["sh", "-c", "echo held; exec cat"];
    // The other place of the semaphore stays taken.
    let mut other = None;
    if places == "2" {
        other = Some(start(&site.http, &[&lock[..], &hold].concat(), "held"));
    }
    let mut holder = start(&proxy.url(), &[&lock[..], &hold].concat(), "held");
    let waiter = if theirs {
        let option = format!("-n={places}");
        let Some(program) = consul_lock(&site.http, &[&option, &prefix, "echo next; exec cat"])
        else {
            return;
        };
        program
    } else {
        let command = ["sh", "-c", "echo next; exec cat"];
        program(&site.http, &[&lock[..], &command].concat())
    };
    let renewals = || {
        let mut seen = proxy.seen();
        seen.retain(|request| request.path.contains("/renew/"));
        seen
    };
    let (last, acquired) = thread::scope(|scope| {
        let waiter = moment_of_line(scope, waiter.start(), "next");
        eventually("renewed", || !renewals().is_empty());
        // Some time between two renewals.
        pause(1.0);
        holder.signal("KILL");
        eventually("killed", || holder.has_ended());
        let last = renewals().last().unwrap().at;
        let (acquired, mut waiter) = waiter.join().unwrap();
        waiter.end_input();
        exits_with(0, &waiter.end());
        (last, acquired)
    });
    let promised = match places {
        "1" => 20.0 + delay.parse::<f64>().unwrap(),
        // A semaphore has no lock delay.
        _ => 20.0,
    };
    let took = seconds(last, acquired);
    println!(
        "{}: killed -9, TTL 10 s, lock delay {delay} s, {places} place(s): {} acquired {took:.2} s after the last renewal (promised: {promised} s)",
        site.name,
        if theirs { "`consul lock`" } else { "the next" },
    );
    assert!(
        (promised..promised + LATE).contains(&took),
        "{took} instead of {promised}"
    );
    if let Some(mut other) = other {
        other.end_input();
        exits_with(0, &other.end());
    }
}

/// A holder is stopped, and continued after another one has got the lock, or before.
pub(crate) fn stopped(_: &Options) {
    for site in Site::all() {
        thread::scope(|scope| {
            let site = &site;
            for places in ["1", "2"] {
                scope.spawn(move || stop_until_lost(site, places, "continue"));
                scope.spawn(move || stop_until_lost(site, places, "terminate"));
            }
            scope.spawn(move || stop_for_a_while(site));
        });
    }
}

/// Tells its id, and writes when it is told to.
const WRITER: &str = "echo $$; read line; \"$PROGRAM\" put $0 stale; echo \"put $?\"; exec cat";

fn stop_until_lost(site: &Site, places: &str, on_lost: &str) {
    let prefix = format!("proof/stopped-{places}-{on_lost}");
    let key = format!("{prefix}-written");
    let options = ["-n", places, "--ttl", "10s", "--lock-delay", "0"];
    let more = ["--on-lost", on_lost, &prefix, "--"];
    let lock = [&["lock"], &options[..], &more].concat();
    let mut holder = program(
        &site.http,
        &[&lock[..], &["sh", "-c", WRITER, &key]].concat(),
    )
    .start();
    let command: u32 = holder.line().parse().unwrap();
    // The other places are taken by those who wait for this one.
    let next = [
        "sh",
        "-c",
        "\"$PROGRAM\" put $0 fresh; echo \"put $?\"; exec cat",
        &key,
    ];
    let mut fillers = Vec::new();
    if places == "2" {
        let hold = ["sh", "-c", "echo held; exec cat"];
        fillers.push(start(&site.http, &[&lock[..], &hold].concat(), "held"));
    }
    let stopped = Instant::now();
    holder.signal("STOP");
    // COMMAND is a group of its own.
    signal(command, "STOP");
    let mut next = program(&site.http, &[&lock[..], &next].concat()).start();
    assert!(next.line().contains("changed"));
    assert_eq!(next.line(), "put 0");
    let acquired = Instant::now();
    signal(command, "CONT");
    holder.signal("CONT");
    let resumed = Instant::now();
    if on_lost == "continue" {
        holder.write("write now");
        let refused = holder.line();
        assert!(refused.contains("\"kind\":\"conflict\""), "{refused}");
        assert_eq!(holder.line(), "put 1");
        holder.says("is lost");
        holder.end_input();
    }
    let run = holder.end();
    let ended = Instant::now();
    exits_with(123, &run);
    assert!(run.stderr.contains("is lost"), "{run:#?}");
    let written = site.api.key(&key).unwrap();
    assert_eq!(written["Value"], "ZnJlc2g=");
    println!(
        "{}: stopped, {places} place(s): the next acquired after {:.1} s; resumed then, {} exit 123 after {:.2} s",
        site.name,
        seconds(stopped, acquired),
        match on_lost {
            "continue" => "its guarded write was refused, and COMMAND's end gave",
            _ => "COMMAND was ended, and that gave",
        },
        seconds(resumed, ended),
    );
    assert!(seconds(resumed, ended) < LATE);
    for mut process in fillers.into_iter().chain([next]) {
        process.end_input();
        exits_with(0, &process.end());
    }
}

/// After less than 2 × TTL, the lock is still held, although the program could not know it without asking: without a lock
/// delay it gives COMMAND 14.5 s.
fn stop_for_a_while(site: &Site) {
    let prefix = "proof/paused";
    let lock = ["lock", "--ttl", "10s", "--lock-delay", "0", prefix, "--"];
    let writer = ["sh", "-c", WRITER, "proof/paused-written"];
    let mut holder = program(&site.http, &[&lock[..], &writer].concat()).start();
    holder.line();
    holder.signal("STOP");
    pause(16.0);
    holder.signal("CONT");
    // Past the TTL, so that only the renewal after the pause keeps it.
    pause(12.0);
    holder.write("write now");
    assert!(holder.line().contains("changed"));
    assert_eq!(holder.line(), "put 0");
    holder.end_input();
    exits_with(0, &holder.end());
    println!(
        "{}: stopped for 16 s with a TTL of 10 s, and resumed: still held 12 s later, a guarded write is accepted",
        site.name
    );
}
