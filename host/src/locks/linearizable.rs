//! Whether the operations of a history could have happened one after the other, each at some moment between its call and
//! its return (Herlihy and Wing; the search is that of Lowe).

use super::contender::Time;
use std::collections::{BTreeSet, HashSet};
use std::hash::Hash;

/// What the operations work on.
pub(super) trait State: Clone + Eq + Hash {
    type Operation;

    /// The state after an operation with the result that it had; none if it cannot have had it.
    fn after(&self, operation: &Self::Operation) -> Option<Self>;
}

/// An operation in a history.
#[derive(Clone, Debug)]
pub(super) struct Call<O> {
    pub(super) operation: O,
    pub(super) called: Time,
    /// When it returned, or could no longer happen; none is never.
    pub(super) over: Option<Time>,
    pub(super) happens: Happens,
}

/// How often an operation happens until it is over.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Happens {
    Once,
    /// Nobody has seen its result.
    Perhaps,
    /// As often as it can.
    Often,
}

/// Whether there is an order in which every operation has the result that it had.
pub(super) fn is_linearizable<S: State>(start: S, history: &[Call<S::Operation>]) -> bool {
    // Calls come before returns of the same moment.
    let calls = history
        .iter()
        .enumerate()
        .map(|(n, call)| (call.called, 0, n));
    let ends = history.iter().enumerate();
    let ends = ends.filter_map(|(n, call)| Some((call.over?, 1, n)));
    let mut events: Vec<_> = calls.chain(ends).collect();
    events.sort_unstable();
    // What can be the case: the state, and which operations have happened that are not over yet.
    let mut cases = HashSet::from([(start, BTreeSet::new())]);
    let mut open = BTreeSet::new();
    for (_, is_end, number) in events {
        if is_end == 0 {
            open.insert(number);
            continue;
        }
        // What else has happened matters only if it had to happen before this one.
        let mut reached: HashSet<(S, BTreeSet<usize>)> = HashSet::new();
        let mut search: Vec<_> = cases.into_iter().collect();
        cases = HashSet::new();
        while let Some((state, happened)) = search.pop() {
            if !reached.insert((state.clone(), happened.clone())) {
                continue;
            }
            let once = history[number].happens == Happens::Once;
            if happened.contains(&number) || !once {
                let mut happened = happened.clone();
                happened.remove(&number);
                cases.insert((state.clone(), happened));
                if once {
                    continue;
                }
            }
            for other in open.difference(&happened) {
                if let Some(after) = state.after(&history[*other].operation) {
                    let mut happened = happened.clone();
                    if history[*other].happens != Happens::Often {
                        happened.insert(*other);
                    }
                    search.push((after, happened));
                }
            }
        }
        open.remove(&number);
    }
    !cases.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// A register: a write, and a read with what it has seen.
    #[derive(Clone, Copy)]
    enum Operation {
        Write(u8),
        Read(u8),
    }

    #[derive(Clone, PartialEq, Eq, Hash)]
    struct Register(u8);

    impl State for Register {
        type Operation = Operation;

        fn after(&self, operation: &Operation) -> Option<Register> {
            match *operation {
                Operation::Write(value) => Some(Register(value)),
                Operation::Read(value) => (value == self.0).then_some(Register(value)),
            }
        }
    }

    fn call(operation: Operation, called: u64, over: u64) -> Call<Operation> {
        Call {
            operation,
            called: Duration::from_secs(called),
            over: Some(Duration::from_secs(over)),
            happens: Happens::Once,
        }
    }

    #[test]
    fn registers() {
        use Operation::{Read, Write};
        let check = |history: &[Call<Operation>]| is_linearizable(Register(0), history);
        // A read during a write sees the old value or the new one, but not first the new one and then the old one.
        let write = call(Write(1), 0, 10);
        assert!(check(&[
            write.clone(),
            call(Read(0), 1, 2),
            call(Read(1), 3, 4)
        ]));
        assert!(!check(&[
            write.clone(),
            call(Read(1), 1, 2),
            call(Read(0), 3, 4)
        ]));
        assert!(!check(&[write.clone(), call(Read(0), 11, 12)]));
        // A write without a return may happen later, or never.
        let lost = Call {
            over: None,
            happens: Happens::Perhaps,
            ..write
        };
        assert!(check(&[
            lost.clone(),
            call(Read(0), 11, 12),
            call(Read(1), 13, 14)
        ]));
        assert!(check(&[lost.clone(), call(Read(0), 11, 12)]));
        assert!(!check(&[
            lost,
            call(Read(1), 11, 12),
            call(Read(0), 13, 14)
        ]));
    }
}
