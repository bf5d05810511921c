//! Contenders, and a checker that does not trust the lock.
//!
//! COMMAND creates a file that must not exist yet, and appends to a log when it begins and when it ends. So two holders at
//! a time show twice: the file exists already, and the log has two beginnings without an end in between.

use crate::{Dice, Options, Site, consul_lock, program};
use consul_session_tests::program::Program;
use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const CONTENDERS: u64 = 8;

/// `$0` is a folder, and `$1` for how long to hold the lock. Without a fencing token, `consul lock` runs it.
const CHECKER: &str = r#"
me="${CONSUL_LOCK_FENCING_TOKEN:-0} $$"
set -C
if [ -z "$PLACES" ]; then
    true >"$0/holder" || { echo "two $me" >>"$0/log"; exit 99; }
fi
echo "begin $me" >>"$0/log"
sleep "$1"
echo "end $me" >>"$0/log"
[ -n "$PLACES" ] || rm "$0/holder"
"#;

/// Who contends.
#[derive(Clone, Copy, PartialEq)]
enum Contenders {
    Ours,
    /// Every second one is `consul lock`.
    Mixed,
}

pub(crate) fn run(options: &Options) {
    for site in Site::all() {
        contend(&site, options, 1, Contenders::Ours);
        contend(&site, options, 3, Contenders::Ours);
        contend(&site, options, 1, Contenders::Mixed);
        contend(&site, options, 3, Contenders::Mixed);
    }
}

fn contend(site: &Site, options: &Options, places: u32, contenders: Contenders) {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("checker"), CHECKER).unwrap();
    let prefix = format!("proof/contention-{places}-{}", contenders as u32);
    let until = Instant::now() + Duration::from_secs(options.seconds);
    let counts: Vec<(u64, Duration)> = thread::scope(|scope| {
        let threads: Vec<_> = (0..CONTENDERS)
            .map(|number| {
                let (folder, prefix) = (folder.path(), &*prefix);
                scope.spawn(move || {
                    let mut dice = Dice::new(options.seed * CONTENDERS + number);
                    let (mut count, mut longest) = (0, Duration::ZERO);
                    while Instant::now() < until {
                        let hold = format!("0.0{:02}", dice.roll(40));
                        let theirs = contenders == Contenders::Mixed && number % 2 == 1;
                        let program = match theirs {
                            true => consul_command(site, prefix, places, folder, &hold),
                            false => Some(command(site, prefix, places, folder, &hold)),
                        };
                        let Some(program) = program else { break };
                        let run = program.run();
                        assert_eq!(run.code, 0, "{run:#?}");
                        count += 1;
                        longest = longest.max(run.took);
                    }
                    (count, longest)
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    let acquired = check(folder.path(), places);
    let who = match contenders {
        Contenders::Ours => "8 contenders",
        Contenders::Mixed => "4 contenders and 4 of `consul lock`",
    };
    let each: Vec<String> = counts.iter().map(|(count, _)| count.to_string()).collect();
    let longest = counts.iter().map(|(_, longest)| *longest).max().unwrap();
    println!(
        "{}: {who}, {places} place(s), {} s: {acquired} acquisitions ({}), longest {:.1} s; never more holders than places, tokens as promised",
        site.name,
        options.seconds,
        each.join(" "),
        longest.as_secs_f64()
    );
    assert_eq!(counts.iter().map(|(count, _)| count).sum::<u64>(), acquired);
    let own = format!("consul-session lock {prefix}");
    assert!(site.api.named(&own).is_empty());
    assert_eq!(site.api.keys(&format!("{prefix}/")), Vec::<String>::new());
}

fn command(site: &Site, prefix: &str, places: u32, folder: &Path, hold: &str) -> Program {
    let folder = folder.to_str().unwrap();
    let number = places.to_string();
    let arguments = [
        "lock", "-n", &number, prefix, "--", "sh", "-c", CHECKER, folder, hold,
    ];
    program(&site.http, &arguments).env("PLACES", several(places))
}

fn consul_command(
    site: &Site,
    prefix: &str,
    places: u32,
    folder: &Path,
    hold: &str,
) -> Option<Program> {
    // `$0` is the path of the script, without its name.
    let folder = folder.to_str().unwrap();
    let line = format!("sh -c \"$(cat {folder}/checker)\" {folder} {hold}");
    let option = format!("-n={places}");
    let program = consul_lock(&site.http, &[&option, prefix, &line])?;
    Some(program.env("PLACES", several(places)))
}

/// What is not empty if several may hold a place.
fn several(places: u32) -> &'static str {
    if places > 1 { "several" } else { "" }
}

/// Reads the log, and returns how often the lock was acquired.
fn check(folder: &Path, places: u32) -> u64 {
    let log = fs::read_to_string(folder.join("log")).unwrap();
    let (mut holders, mut tokens) = (Vec::new(), HashSet::new());
    let (mut acquired, mut last) = (0, 0);
    for line in log.lines() {
        let [event, token, id] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{line}");
        };
        let token: u64 = token.parse().unwrap();
        match event {
            "begin" => {
                acquired += 1;
                holders.push(id);
                assert!(holders.len() <= places as usize, "{line}: {holders:?}");
                // A process of `consul lock` knows no token.
                if token != 0 {
                    assert!(tokens.insert(token), "{line}: a second time");
                    assert!(places > 1 || token > last, "{line}: after {last}");
                    last = token;
                }
            }
            "end" => holders.retain(|holder| *holder != id),
            _ => panic!("{line}"),
        }
    }
    assert!(holders.is_empty(), "{holders:?}");
    acquired
}
