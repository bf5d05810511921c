//! A Consul that hangs.

use crate::cluster::{Cluster, Server};
use crate::{Options, exits_with, pause, program, seconds, start};
use consul_session_tests::bad_server;
use std::thread;
use std::time::Instant;

pub(crate) fn run(_: &Options) {
    start_without_response();
    let Some(cluster) = Cluster::start(1) else {
        return;
    };
    let server = &cluster.servers[0];
    held_too_long(server);
    command_ends(server);
    waiter_survives(server);
}

/// Whatever is accepted is never answered.
fn start_without_response() {
    let hung = bad_server::Server::raw(|stream, _| {
        pause(100.0);
        drop(stream);
        Ok(())
    });
    thread::scope(|scope| {
        for lock in [
            &["lock", "proof/hung"][..],
            &["lock", "-n", "2", "proof/hung"],
            &["lock", "--try", "proof/hung"],
            &["run", "proof-hung"],
        ] {
            let url = hung.url();
            scope.spawn(move || {
                let run = program(&url, &[lock, &["--", "true"]].concat()).run();
                let took = run.took.as_secs_f64();
                println!("Consul hangs from the start: {lock:?} ends with 125 after {took:.1} s");
                exits_with(125, &run);
                assert!(took < 45.0);
            });
        }
    });
}

const HOLD: [&str; 4] = ["--", "sh", "-c", "echo held; exec cat"];

/// The holder is told in time for its grace to end 2 × TTL after the last renewal.
fn held_too_long(server: &Server) {
    let options = ["--ttl", "10s", "--lock-delay", "0", "--grace", "2s"];
    let script = "trap '' TERM; echo held; exec cat";
    let lock = [
        &["lock"],
        &options[..],
        &["proof/outage", "--", "sh", "-c", script],
    ];
    let holder = start(&server.http, &lock.concat(), "held");
    let stopped = Instant::now();
    server.signal("STOP");
    holder.says("is lost");
    let told = seconds(stopped, Instant::now());
    exits_with(123, &holder.end());
    let ended = seconds(stopped, Instant::now());
    server.signal("CONT");
    println!(
        "Consul hangs under a lock, TTL 10 s, no lock delay, grace 2 s: told after {told:.1} s, COMMAND ignored SIGTERM and was killed, exit 123 after {ended:.1} s (others may have it after 20 s)"
    );
    // The last renewal was before.
    assert!(ended < 20.0 + 2.0, "with what it tries to release");
}

fn command_ends(server: &Server) {
    let command = ["--", "sh", "-c", "echo held; read line; exit 6"];
    let lock = [&["lock", "proof/outage-end"], &command[..]].concat();
    let mut holder = start(&server.http, &lock, "held");
    server.signal("STOP");
    let stopped = Instant::now();
    holder.end_input();
    let run = holder.end();
    let took = seconds(stopped, Instant::now());
    server.signal("CONT");
    println!("COMMAND ends while Consul hangs: its exit status 6 after {took:.1} s");
    exits_with(6, &run);
    assert!(took < 30.0);
}

fn waiter_survives(server: &Server) {
    let lock = [&["lock", "--ttl", "10s", "proof/outage-wait"], &HOLD[..]].concat();
    let holder = start(&server.http, &lock, "held");
    let mut waiter = program(&server.http, &lock).start();
    pause(1.0);
    server.signal("STOP");
    pause(40.0);
    assert!(!waiter.has_ended());
    server.signal("CONT");
    let resumed = Instant::now();
    exits_with(123, &holder.end());
    assert_eq!(waiter.line(), "held");
    println!(
        "Consul hangs for 40 s: a waiter goes on waiting, and gets the lock {:.1} s after the end of the outage",
        seconds(resumed, Instant::now())
    );
    waiter.end_input();
    exits_with(0, &waiter.end());
}
