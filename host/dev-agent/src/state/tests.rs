//! Timing and indexes, tested on the state machine without a clock.

use std::time::Duration;

use super::catalog::{Check, NodeDetails, Registration};
use super::kv::Put;
use super::sessions::Session;
use super::txn::Op;
use super::{Change, Error, Query, State};
use crate::acl::Access;
use crate::limits::Limits;
use crate::version::Version;

const S: i64 = 1_000_000_000;

fn state() -> State {
    State::new(
        Version::V1_8.differences(),
        "node",
        "dc1",
        Limits::default(),
    )
}

fn at(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn id(number: u32) -> String {
    format!("00000000-0000-4000-8000-{number:012x}")
}

fn session(change: impl FnOnce(&mut Session)) -> Session {
    let mut session = Session::with_defaults("node");
    change(&mut session);
    session
}

fn create(state: &mut State, number: u32, change: impl FnOnce(&mut Session)) -> String {
    let id = id(number);
    state.create_session(&id, session(change)).unwrap();
    id
}

fn put(key: &str, value: &str) -> Put {
    Put {
        key: key.into(),
        value: value.to_owned().into(),
        flags: 0,
    }
}

fn alive(state: &mut State, id: &str) -> bool {
    let key = state.session_key(id).unwrap();
    state.sessions.get(&key).is_some()
}

#[test]
fn a_session_lives_exactly_twice_its_ttl() {
    let mut state = state();
    let ten = create(&mut state, 1, |session| session.ttl = "10s".into());
    let odd = create(&mut state, 2, |session| session.ttl = "10.5s".into());
    let forever = create(&mut state, 3, |session| session.ttl = "0s".into());
    assert_eq!(state.advance(at(19_999)), Some(at(20_000)));
    assert!(alive(&mut state, &ten));
    assert_eq!(state.advance(at(20_000)), Some(at(21_000)));
    assert!(!alive(&mut state, &ten) && alive(&mut state, &odd));
    assert_eq!(state.advance(at(21_000)), None);
    assert!(!alive(&mut state, &odd));
    state.advance(Duration::from_secs(1_000_000));
    assert!(alive(&mut state, &forever));
}

#[test]
fn a_renewed_session_lives_twice_its_ttl_from_then_on() {
    let mut state = state();
    let id = create(&mut state, 1, |session| session.ttl = "10s".into());
    for renewed in [5_000, 14_500, 34_000] {
        state.advance(at(renewed));
        let index = state.index_of(&Query::Sessions);
        assert!(state.renew_session(&id).unwrap().is_some());
        assert_eq!(state.index_of(&Query::Sessions), index);
        assert_eq!(state.next_deadline(), Some(at(renewed + 20_000)));
    }
    assert_eq!(
        state.deadline_count(),
        1,
        "a renewed session has one deadline"
    );
    state.advance(at(53_999));
    assert!(alive(&mut state, &id));
    state.advance(at(54_000));
    assert!(!alive(&mut state, &id));
    assert!(state.renew_session(&id).unwrap().is_none());
}

#[test]
fn a_destroyed_session_leaves_no_deadline() {
    let mut state = state();
    for number in 0..100 {
        let id = create(&mut state, number, |session| session.ttl = "10s".into());
        state.destroy_session(&id).unwrap();
    }
    assert_eq!((state.deadline_count(), state.sessions.len()), (0, 0));
    assert_eq!(state.stored_bytes, 0);
}

/// Measures the lock-delay of a session with this LockDelay, in milliseconds.
fn delay_of(lock_delay: i64, behavior: &str) -> u64 {
    let mut state = state();
    let first = create(&mut state, 1, |session| {
        session.lock_delay = lock_delay;
        session.behavior = behavior.into();
    });
    let next = create(&mut state, 2, |_| {});
    assert!(state.kv_acquire(put("k", "v"), &first).unwrap());
    state.advance(at(1_000));
    state.destroy_session(&first).unwrap();
    for milliseconds in 0..200_000 {
        state.advance(at(1_000 + milliseconds));
        if state.kv_acquire(put("k", "v"), &next).unwrap() {
            assert_eq!(state.kv.delay_count(), 0);
            return milliseconds;
        }
    }
    panic!("never free");
}

#[test]
fn lock_delay_is_at_most_a_minute_and_never_negative() {
    for (lock_delay, expected) in [
        (15 * S, 15_000),
        (3 * S, 3_000),
        (0, 0),
        (-5 * S, 0),
        (60 * S, 60_000),
        (61 * S, 60_000),
        // "500ns" is 500 s, "-15s" wraps around to a century.
        (500 * S, 60_000),
        ((-15 * S).wrapping_mul(S), 60_000),
        (1_000, 1),
    ] {
        assert_eq!(delay_of(lock_delay, "release"), expected, "{lock_delay}");
        assert_eq!(delay_of(lock_delay, "delete"), expected, "{lock_delay}");
    }
}

#[test]
fn lock_delay_is_per_key_and_only_for_keys_held_at_the_end() {
    let mut state = state();
    let first = create(&mut state, 1, |_| {});
    let next = create(&mut state, 2, |_| {});
    for key in ["held", "released", "deleted"] {
        assert!(state.kv_acquire(put(key, ""), &first).unwrap());
    }
    assert!(state.kv_release(put("released", ""), &first).unwrap());
    state.kv_delete("deleted");
    state.destroy_session(&first).unwrap();
    assert!(!state.kv_acquire(put("held", ""), &next).unwrap());
    for key in ["released", "deleted", "other"] {
        assert!(state.kv_acquire(put(key, ""), &next).unwrap(), "{key}");
    }
    // The lock-delay is checked before the session id; a plain put ignores it.
    assert_eq!(state.kv_acquire(put("held", ""), "no id"), Ok(false));
    state.kv_set(put("held", "x")).unwrap();
    state.advance(at(14_999));
    assert!(!state.kv_acquire(put("held", ""), &next).unwrap());
    state.advance(at(15_000));
    assert!(state.kv_acquire(put("held", ""), &next).unwrap());
}

#[test]
fn a_delay_counts_from_the_expiry_however_late_that_is_noticed() {
    let mut state = state();
    let first = create(&mut state, 1, |session| {
        session.ttl = "10s".into();
        session.lock_delay = 3 * S;
    });
    let next = create(&mut state, 2, |_| {});
    assert!(state.kv_acquire(put("k", ""), &first).unwrap());
    state.advance(at(22_999));
    assert!(!state.kv_acquire(put("k", ""), &next).unwrap());
    state.advance(at(23_000));
    assert!(state.kv_acquire(put("k", ""), &next).unwrap());
}

#[test]
fn lock_index_counts_holders_until_somebody_writes_past_the_lock() {
    let mut state = state();
    let one = create(&mut state, 1, |_| {});
    let two = create(&mut state, 2, |_| {});
    let lock_index = |state: &State| state.kv.get("k").unwrap().lock_index;
    for (holder, expected) in [(&one, 1), (&two, 2), (&one, 3)] {
        assert!(state.kv_acquire(put("k", "v"), holder).unwrap());
        assert!(state.kv_acquire(put("k", "w"), holder).unwrap());
        assert_eq!(lock_index(&state), expected);
        assert!(state.kv_release(put("k", ""), holder).unwrap());
        assert_eq!(lock_index(&state), expected);
    }
    state.kv_set(put("k", "plain")).unwrap();
    assert_eq!(lock_index(&state), 0);
    assert!(state.kv_acquire(put("k", ""), &one).unwrap());
    assert_eq!(lock_index(&state), 1);
}

#[test]
fn a_write_of_the_same_moves_nothing_and_wakes_nobody() {
    let mut state = state();
    state.kv_set(put("k", "v")).unwrap();
    let index = state.index_of(&Query::Key("k".into()));
    state.take_changes();
    state.kv_set(put("k", "v")).unwrap();
    assert_eq!(state.index_of(&Query::Key("k".into())), index);
    assert!(state.take_changes().is_empty());
    state.kv_set(put("k", "w")).unwrap();
    assert_eq!(state.take_changes(), [Change::Key("k".into())].into());
    // A write that changes nothing takes an index, too.
    assert_eq!(state.index_of(&Query::Key("k".into())), index + 2);
}

#[test]
fn a_ttl_check_takes_its_sessions_along() {
    let mut state = state();
    let check = Check {
        check_id: "c".into(),
        name: "c".into(),
        status: "passing".into(),
        ..Check::default()
    };
    state.register_check(check, Some(at(3_000))).unwrap();
    let bound = create(&mut state, 1, |session| {
        session.node_checks = Some(vec!["c".into()]);
    });
    let free = create(&mut state, 2, |_| {});
    state.advance(at(2_000));
    state.update_check("c", "warning", "").unwrap();
    state.advance(at(4_999));
    assert!(alive(&mut state, &bound));
    assert_eq!(state.advance(at(5_000)), None);
    assert!(!alive(&mut state, &bound) && alive(&mut state, &free));
    // The check passes again with the next update.
    state.update_check("c", "passing", "").unwrap();
    assert_eq!(state.next_deadline(), Some(at(8_000)));
    create(&mut state, 3, |session| {
        session.node_checks = Some(vec!["C".into()])
    });
    state.deregister("node", "", "c");
    assert_eq!((state.deadline_count(), state.sessions.len()), (0, 1));
}

#[test]
fn the_own_node_comes_back_without_its_sessions() {
    let mut state = state();
    let id = create(&mut state, 1, |_| {});
    state.deregister("NODE", "", "");
    assert!(!alive(&mut state, &id));
    create(&mut state, 2, |_| {});
}

#[test]
fn a_deleted_key_is_remembered_for_a_quarter_of_an_hour() {
    let mut state = state();
    state.kv_set(put("a/1", "")).unwrap();
    state.kv_set(put("a/2", "")).unwrap();
    let prefix = Query::Prefix("a/".into());
    let index = state.index_of(&prefix);
    state.kv_delete("a/1");
    assert!(state.index_of(&prefix) > index, "the deletion counts");
    assert_eq!(state.next_deadline(), Some(at(900_000)));
    assert_eq!(state.advance(at(900_000)), None);
    assert_eq!(state.index_of(&prefix), index);
}

#[test]
fn a_failed_transaction_leaves_no_trace() {
    let mut state = state();
    let holder = create(&mut state, 1, |_| {});
    assert!(state.kv_acquire(put("held", "v"), &holder).unwrap());
    // A key that was deleted before the transaction.
    state.kv_set(put("hidden", "")).unwrap();
    state.kv_delete("hidden");
    state.kv_set(put("hidden", "again")).unwrap();
    let rows = |state: &State| -> Vec<_> { state.kv.list("").cloned().collect() };
    let prefix = Query::Prefix("h".into());
    let before = (rows(&state), state.index_of(&prefix), state.stored_bytes);
    let op = |verb: &str, key: &str| Op {
        verb: verb.into(),
        put: put(key, "new"),
        session: holder.clone(),
        ..Op::default()
    };
    let ops = vec![
        op("unlock", "held"),
        op("set", "held"),
        op("delete", "held"),
        op("delete", "hidden"),
        op("lock", "other"),
        op("delete-tree", ""),
        op("get", "held"),
    ];
    let outcome = state.transact(ops, Access::Allowed).unwrap().outcome;
    assert_eq!(outcome.unwrap_err().len(), 1);
    let after = (rows(&state), state.index_of(&prefix), state.stored_bytes);
    assert_eq!(before, after);
    // The session still holds the key, so its end releases it.
    state.destroy_session(&holder).unwrap();
    assert_eq!(rows(&state)[0].session, None);
}

#[test]
fn everything_is_bounded() {
    let limits = Limits {
        sessions: 2,
        keys: 2,
        catalog_entries: 5,
        stored_bytes: 10_000,
        ..Limits::default()
    };
    let mut state = State::new(Version::V1_8.differences(), "node", "dc1", limits);
    let full = |what, limit| Err(Error::LimitReached { what, limit });
    let held = create(&mut state, 1, |_| {});
    create(&mut state, 2, |_| {});
    assert_eq!(
        state.create_session(&id(3), session(|_| {})),
        full("sessions", 2)
    );
    assert!(state.kv_acquire(put("a", ""), &held).unwrap());
    state.kv_set(put("b", "")).unwrap();
    assert_eq!(state.kv_set(put("c", "")), full("keys", 2));
    state.kv_set(put("b", "still there")).unwrap();
    assert_eq!(
        state.kv_set(put("b", &"x".repeat(10_000))),
        full("stored bytes", 10_000)
    );

    // A key in lock-delay counts; otherwise lock-delays could accumulate without bound.
    state.destroy_session(&held).unwrap();
    state.kv_delete("a");
    assert_eq!(state.kv_set(put("c", "")), full("keys", 2));
    state.advance(at(15_000));
    state.kv_set(put("c", "")).unwrap();

    let node = |name: &str| Registration {
        node: NodeDetails {
            node: name.into(),
            address: "10.0.0.1".into(),
            ..NodeDetails::default()
        },
        ..Registration::default()
    };
    state.register(node("n1")).unwrap();
    assert_eq!(state.register(node("n2")), full("catalog entries", 5));
    // The own node is registered again even if its place is taken.
    state.deregister("node", "consul", "");
    state.register(node("n2")).unwrap();
    state.deregister("node", "", "");
    create(&mut state, 4, |_| {});
}

#[test]
fn ten_thousand_sessions_expire_in_order_without_a_scan() {
    let mut state = state();
    for number in 0..10_000 {
        state.advance(at(u64::from(number)));
        let id = create(&mut state, number, |session| session.ttl = "10s".into());
        state
            .kv_acquire(put(&format!("k{number}"), ""), &id)
            .unwrap();
    }
    let mut took = Vec::new();
    for number in 0..10_000 {
        let started = std::time::Instant::now();
        state.advance(at(20_000 + number - 1));
        took.push(started.elapsed());
        assert_eq!(state.sessions.len(), 10_000 - number as usize);
    }
    // One of thousands ends as fast as one of the last hundred. Of many measurements the fastest counts, which a busy
    // machine does not disturb.
    let fastest = |took: &[Duration]| took.iter().copied().min().unwrap();
    let (many, few) = (fastest(&took[1..1_000]), fastest(&took[9_900..]));
    assert!(many < 4 * few, "{many:?} and {few:?}");
    state.advance(at(30_000));
    assert_eq!(state.sessions.len(), 0);
    state.advance(at(60_000));
    assert_eq!((state.kv.delay_count(), state.deadline_count()), (0, 0));
}
