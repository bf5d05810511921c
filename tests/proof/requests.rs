//! What contenders cost: the requests of `consul-session lock` and of `consul lock` for the same sequence.

use crate::proxy::{Proxy, Seen};
use crate::{Options, Site, consul_lock, exits_with, program};
use std::collections::BTreeMap;
use std::thread;

pub(crate) fn run(options: &Options) {
    let contenders = if options.long { 10 } else { 4 };
    for site in Site::all() {
        for places in ["1", "3"] {
            count(&site, contenders, places);
        }
    }
}

/// All begin at the same time, and each holds the lock for 1 s.
fn count(site: &Site, contenders: usize, places: &str) {
    let ours = {
        let proxy = Proxy::start(&site.http);
        let prefix = format!("proof/requests-{places}");
        thread::scope(|scope| {
            for _ in 0..contenders {
                let lock = ["lock", "-n", places, &prefix, "--", "sleep", "1"];
                let program = program(&proxy.url(), &lock);
                scope.spawn(move || exits_with(0, &program.run()));
            }
        });
        proxy.seen()
    };
    let theirs = {
        let proxy = Proxy::start(&site.http);
        let prefix = format!("proof/requests-{places}-consul");
        let option = format!("-n={places}");
        thread::scope(|scope| {
            for _ in 0..contenders {
                if let Some(program) = consul_lock(&proxy.url(), &[&option, &prefix, "sleep 1"]) {
                    scope.spawn(move || exits_with(0, &program.run()));
                }
            }
        });
        proxy.seen()
    };
    for (who, seen) in [("consul-session lock", &ours), ("consul lock", &theirs)] {
        let kinds: Vec<String> = kinds(seen)
            .into_iter()
            .map(|(kind, count)| format!("{count} {kind}"))
            .collect();
        println!(
            "{}: {contenders} contenders, {places} place(s), `{who}`: {} requests ({})",
            site.name,
            seen.len(),
            kinds.join(", ")
        );
    }
    assert!(
        theirs.is_empty() || ours.len() <= theirs.len(),
        "{} requests instead of {}",
        ours.len(),
        theirs.len()
    );
}

/// How many requests there are of each kind.
fn kinds(seen: &[Seen]) -> BTreeMap<String, usize> {
    let mut kinds = BTreeMap::new();
    for request in seen {
        let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
        let path: Vec<&str> = path.split('/').take(4).collect();
        let path = match path[..] {
            [_, version, "kv", _] => format!("/{version}/kv"),
            _ => path.join("/"),
        };
        // The names of parameters, without those of all requests.
        let query: Vec<&str> = query
            .split('&')
            .filter_map(|pair| pair.split('=').next())
            .filter(|name| ["acquire", "release", "cas", "index", "recurse"].contains(name))
            .collect();
        let mark = if query.is_empty() { "" } else { "?" };
        let kind = format!("{} {path}{mark}{}", request.method, query.join("&"));
        *kinds.entry(kind).or_default() += 1;
    }
    kinds
}
