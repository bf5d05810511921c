//! Contenders over a simulated Consul and network, with virtual time: many thousand random schedules, in which messages are
//! late and lost, Consul is cut off, and contenders are stopped for a while.

use super::contender::{
    Action, Contender, End, Failure, FailureKind, Kind, Lane, Reply, Request, Settings, Status,
    Time,
};
use super::linearizable::{Call, Happens, State, is_linearizable};
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

const TTL: Duration = Duration::from_secs(10);
const LOCK_DELAY: Duration = Duration::from_secs(3);
const CLIENTS: usize = 3;
const TIMEOUT: Duration = Duration::from_secs(10);

/// The lock of one key, as Consul keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Consul {
    ttl: Duration,
    lock_delay: Duration,
    /// When they were renewed.
    sessions: BTreeMap<String, Time>,
    /// How many sessions there were.
    created: usize,
    holder: Option<String>,
    modify_index: u64,
    index: u64,
    delayed_until: Time,
    /// Of another key, which is written under the lock.
    value: u64,
}

impl Consul {
    pub(super) fn new(ttl: Duration, lock_delay: Duration) -> Consul {
        Consul {
            ttl,
            lock_delay,
            sessions: BTreeMap::new(),
            created: 0,
            holder: None,
            modify_index: 0,
            index: 0,
            delayed_until: Time::ZERO,
            value: 0,
        }
    }

    /// Writes a value if this session holds the lock.
    fn write(&mut self, id: &str, value: u64) -> bool {
        let holds = self.holder.as_deref() == Some(id);
        if holds {
            self.value = value;
        }
        holds
    }

    fn end_session(&mut self, id: &str, now: Time) {
        self.sessions.remove(id);
        if self.holder.as_deref() == Some(id) {
            self.holder = None;
            self.index += 1;
            self.delayed_until = now + self.lock_delay;
        }
    }

    pub(super) fn expire(&mut self, now: Time) {
        let ttl = self.ttl;
        let over = |renewed: &Time| now >= *renewed + 2 * ttl;
        while let Some(id) = self
            .sessions
            .iter()
            .find_map(|(id, renewed)| over(renewed).then(|| id.clone()))
        {
            self.end_session(&id, now);
        }
    }

    pub(super) fn holder(&self) -> Option<&str> {
        self.holder.as_deref()
    }

    pub(super) fn index(&self) -> u64 {
        self.index
    }

    /// When a session was renewed.
    pub(super) fn renewed(&self, id: &str) -> Option<Time> {
        self.sessions.get(id).copied()
    }

    /// The sessions to come are numbered from here.
    pub(super) fn created_mut(&mut self) -> &mut usize {
        &mut self.created
    }

    pub(super) fn delayed_until_mut(&mut self) -> &mut Time {
        &mut self.delayed_until
    }

    pub(super) fn each_moment(&mut self, change: &mut impl FnMut(&mut Time)) {
        self.sessions.values_mut().for_each(&mut *change);
        change(&mut self.delayed_until);
    }

    pub(super) fn each_index(&mut self, change: &mut impl FnMut(&mut u64)) {
        change(&mut self.modify_index);
        change(&mut self.index);
    }

    /// Renames the sessions.
    pub(super) fn rename(&mut self, rename: &mut impl FnMut(&mut String)) {
        self.holder.iter_mut().for_each(&mut *rename);
        let mut sessions: Vec<_> = std::mem::take(&mut self.sessions).into_iter().collect();
        sessions.sort_by_key(|(_, renewed)| *renewed);
        for (mut id, renewed) in sessions {
            rename(&mut id);
            self.sessions.insert(id, renewed);
        }
    }

    /// Whether a blocking query has to wait.
    pub(super) fn holds_back(&self, request: &Request) -> bool {
        match request {
            Request::Attempt(_, Some((index, _))) | Request::Watch(_, Some((index, _))) => {
                self.index <= *index
            }
            _ => false,
        }
    }

    pub(super) fn apply(&mut self, request: &Request, now: Time) -> Result<Reply, FailureKind> {
        match request {
            Request::Create => {
                self.created += 1;
                let id = format!("s{}", self.created);
                self.sessions.insert(id.clone(), now);
                Ok(Reply::Created(id))
            }
            Request::Join(_) => Ok(Reply::Joined),
            Request::Renew(id) => {
                let renewed = self.sessions.get_mut(id).ok_or(FailureKind::Gone)?;
                *renewed = now;
                Ok(Reply::Renewed)
            }
            Request::Attempt(id, _) => {
                if !self.sessions.contains_key(id) {
                    return Err(FailureKind::Gone);
                }
                match &self.holder {
                    Some(holder) if holder == id => Ok(Reply::Acquired(self.modify_index)),
                    Some(holder) => Ok(Reply::Occupied(vec![holder.clone()], self.index)),
                    None if now < self.delayed_until => Ok(Reply::Delayed(self.index)),
                    None => {
                        self.index += 1;
                        self.modify_index = self.index;
                        self.holder = Some(id.clone());
                        Ok(Reply::Acquired(self.index))
                    }
                }
            }
            Request::Watch(id, _) => {
                let held = self.holder.as_deref() == Some(id);
                Ok(Reply::Watched(held, self.index))
            }
            Request::Release(id) => {
                if self.holder.as_deref() == Some(id) {
                    self.holder = None;
                    self.index += 1;
                }
                Ok(Reply::Done)
            }
            Request::Destroy(id) => {
                self.end_session(id, now);
                Ok(Reply::Done)
            }
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Event {
    /// A request reaches Consul.
    Arrives {
        client: usize,
        lane: Lane,
        number: u64,
        request: Request,
        /// Until when a blocking query is held back.
        until: Option<Time>,
        /// Whether the reply gets lost.
        lost: bool,
    },
    Replies {
        client: usize,
        lane: Lane,
        number: u64,
        reply: Result<Reply, FailureKind>,
    },
    /// A guarded write is sent, reaches Consul, and returns; a read likewise.
    Writes(usize),
    WriteArrives {
        call: usize,
        lost: bool,
    },
    Reads,
    ReadArrives(usize),
    Returns {
        call: usize,
        operation: Operation,
    },
    Wakes(usize),
    /// It is released, or contends again.
    Decides(usize),
    Pauses(usize),
    CutOff,
}

/// What happens to the lock and to a value that is written under it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Operation {
    /// A session gets the lock, with this token if the contender came to know it.
    Acquire(String, Option<u64>),
    /// A session loses or releases it.
    Lose(String),
    /// A session writes, and comes to know whether Consul accepts that.
    Write(String, u64, Option<bool>),
    /// The value is read, if the reply comes.
    Read(Option<u64>),
}

/// The lock and the value.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Sequential {
    holder: Option<String>,
    token: u64,
    value: u64,
}

impl State for Sequential {
    type Operation = Operation;

    fn after(&self, operation: &Operation) -> Option<Sequential> {
        let mut after = self.clone();
        let holds = |id: &String| self.holder.as_ref() == Some(id);
        let possible = match operation {
            Operation::Acquire(id, token) => {
                let free = self.holder.is_none() && token.is_none_or(|token| token > self.token);
                after.holder = Some(id.clone());
                after.token = token.unwrap_or(self.token);
                free
            }
            Operation::Lose(id) => {
                after.holder = None;
                holds(id)
            }
            Operation::Write(id, _, Some(false)) => !holds(id),
            Operation::Write(id, value, _) => {
                after.value = *value;
                holds(id)
            }
            Operation::Read(value) => value.is_none_or(|value| value == self.value),
        };
        possible.then_some(after)
    }
}

/// What is known about a session that contends for the lock.
struct Tenure {
    /// When its first attempt was sent.
    asked: Time,
    /// When it knew that it holds the lock, and the token.
    held: Option<(Time, u64)>,
    /// Since when it no longer claims to hold the lock.
    unsure: Option<Time>,
    /// When the session ended.
    over: Option<Time>,
}

/// An event at its time; those at the same time in the order in which they were planned.
#[derive(PartialEq, Eq)]
struct Planned(Time, u64, Event);

impl Ord for Planned {
    fn cmp(&self, other: &Planned) -> std::cmp::Ordering {
        (other.0, other.1).cmp(&(self.0, self.1))
    }
}

impl PartialOrd for Planned {
    fn partial_cmp(&self, other: &Planned) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

struct Client {
    contender: Contender<()>,
    /// The numbers of the requests under way.
    main: u64,
    renewal: u64,
    paused_until: Time,
    cut_off_until: Time,
    /// The token of the lock that it holds.
    token: Option<u64>,
    /// The session that holds the lock, or held it last.
    session: Option<String>,
}

struct World {
    now: Time,
    random: fastrand::Rng,
    consul: Consul,
    clients: Vec<Client>,
    planned: BinaryHeap<Planned>,
    numbers: u64,
    last_token: u64,
    acquired: usize,
    lost: usize,
    /// No more troubles from here on.
    calm_from: Time,
    tenures: BTreeMap<String, Tenure>,
    /// Writes and reads.
    calls: Vec<Call<Operation>>,
}

fn settings() -> Settings {
    Settings {
        kind: Kind::Lock,
        session: None,
        renew_every: TTL / 3,
        lost_after: TTL,
        wait: None,
    }
}

impl World {
    fn new(seed: u64) -> World {
        let begin = Duration::from_secs(1);
        let client = |_| Client {
            contender: Contender::new(settings(), begin),
            main: 0,
            renewal: 0,
            paused_until: Time::ZERO,
            cut_off_until: Time::ZERO,
            token: None,
            session: None,
        };
        let mut world = World {
            now: begin,
            random: fastrand::Rng::with_seed(seed),
            consul: Consul::new(TTL, LOCK_DELAY),
            clients: (0..CLIENTS).map(client).collect(),
            planned: BinaryHeap::new(),
            numbers: 0,
            last_token: 0,
            acquired: 0,
            lost: 0,
            calm_from: Duration::from_secs(240),
            tenures: BTreeMap::new(),
            calls: Vec::new(),
        };
        for client in 0..CLIENTS {
            world.plan(Duration::ZERO, Event::Wakes(client));
            world.plan_some(20_000, Event::Decides(client));
            world.plan_some(60_000, Event::Pauses(client));
            world.plan_some(5_000, Event::Writes(client));
        }
        world.plan_some(5_000, Event::Reads);
        world.plan_some(60_000, Event::CutOff);
        world
    }

    fn plan(&mut self, after: Duration, event: Event) {
        self.numbers += 1;
        self.planned
            .push(Planned(self.now + after, self.numbers, event));
    }

    fn plan_some(&mut self, milliseconds: u64, event: Event) {
        let after = Duration::from_millis(self.random.u64(0..milliseconds));
        self.plan(after, event);
    }

    /// Mostly soon, sometimes very late.
    fn plan_late(&mut self, event: Event) {
        let late = self.random.u8(0..10) == 0;
        self.plan_some(if late { 20_000 } else { 300 }, event);
    }

    fn call(&mut self, operation: Operation) -> usize {
        self.calls.push(Call {
            operation,
            called: self.now,
            over: None,
            happens: Happens::Perhaps,
        });
        self.calls.len() - 1
    }

    /// From now on, a contender does not claim to hold the lock.
    fn unsure(&mut self, client: usize) {
        let session = self.clients[client].session.as_ref();
        if let Some(tenure) = session.and_then(|id| self.tenures.get_mut(id)) {
            tenure.unsure.get_or_insert(self.now);
        }
    }

    /// Everything that was done.
    fn history(&self) -> Vec<Call<Operation>> {
        let mut history = self.calls.clone();
        for (id, tenure) in &self.tenures {
            let (asked, over) = (tenure.asked, tenure.over);
            let held = tenure.held.map(|(at, token)| Call {
                operation: Operation::Acquire(id.clone(), Some(token)),
                called: asked,
                over: Some(at),
                happens: Happens::Once,
            });
            // An attempt without a reply may take the lock, also after a release, until the session is destroyed.
            let unsure = match tenure.held {
                Some(_) => tenure.unsure,
                None => Some(asked),
            };
            let acquire = Operation::Acquire(id.clone(), None);
            let unseen = unsure.map(|called| {
                [acquire, Operation::Lose(id.clone())].map(|operation| Call {
                    operation,
                    called,
                    over,
                    happens: Happens::Often,
                })
            });
            history.extend(held.into_iter().chain(unseen.into_iter().flatten()));
        }
        history
    }

    fn is_calm(&self) -> bool {
        self.now >= self.calm_from
    }

    fn run(&mut self) {
        self.run_until(|_| false);
    }

    fn run_until(&mut self, over: impl Fn(&World) -> bool) {
        let end = self.calm_from + Duration::from_secs(120);
        while let Some(Planned(at, _, event)) = self.planned.pop() {
            if at > end || over(self) {
                break;
            }
            self.now = at;
            self.consul.expire(at);
            self.happens(event);
            for (id, tenure) in &mut self.tenures {
                if !self.consul.sessions.contains_key(id) {
                    tenure.over.get_or_insert(at);
                }
            }
            self.check();
        }
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Wakes(client) => self.step(client),
            Event::Decides(client) if self.now < self.clients[client].paused_until => {
                let after = self.clients[client].paused_until - self.now;
                self.plan(after, Event::Decides(client));
            }
            Event::Decides(client) => {
                let contender = &mut self.clients[client].contender;
                if let Status::Ended(_) = contender.status() {
                    *contender = Contender::new(settings(), self.now);
                } else if !matches!(contender.status(), Status::Leaving) {
                    contender.leave(self.now);
                }
                if !self.is_calm() {
                    self.plan_some(60_000, Event::Decides(client));
                }
                self.step(client);
            }
            Event::Pauses(client) if !self.is_calm() => {
                let paused = Duration::from_millis(self.random.u64(0..40_000));
                if self.clients[client].token.is_some() {
                    self.unsure(client);
                }
                self.clients[client].paused_until = self.now + paused;
                self.plan(paused, Event::Wakes(client));
                self.plan_some(90_000, Event::Pauses(client));
            }
            Event::CutOff if !self.is_calm() => {
                let until = self.now + Duration::from_millis(self.random.u64(0..50_000));
                // One of them, or all.
                match self.random.usize(0..=CLIENTS) {
                    CLIENTS => self
                        .clients
                        .iter_mut()
                        .for_each(|client| client.cut_off_until = until),
                    one => self.clients[one].cut_off_until = until,
                }
                self.plan_some(60_000, Event::CutOff);
            }
            Event::Pauses(_) | Event::CutOff => {}
            Event::Writes(client) => {
                self.plan_some(5_000, Event::Writes(client));
                let paused = self.now < self.clients[client].paused_until;
                let Some(id) = self.clients[client].session.clone().filter(|_| !paused) else {
                    return;
                };
                self.numbers += 1;
                let call = self.call(Operation::Write(id, self.numbers, None));
                let lost = self.random.u8(0..10) == 0;
                self.plan_late(Event::WriteArrives { call, lost });
            }
            Event::WriteArrives { call, lost } => {
                let Operation::Write(id, value, _) = self.calls[call].operation.clone() else {
                    return;
                };
                let accepted = self.consul.write(&id, value);
                if lost {
                    self.calls[call].over = Some(self.now);
                } else {
                    let operation = Operation::Write(id, value, Some(accepted));
                    self.plan_late(Event::Returns { call, operation });
                }
            }
            Event::Reads => {
                self.plan_some(5_000, Event::Reads);
                let call = self.call(Operation::Read(None));
                self.plan_late(Event::ReadArrives(call));
            }
            Event::ReadArrives(call) => {
                let operation = Operation::Read(Some(self.consul.value));
                self.plan_late(Event::Returns { call, operation });
            }
            Event::Returns { call, operation } => {
                self.calls[call] = Call {
                    operation,
                    over: Some(self.now),
                    happens: Happens::Once,
                    ..self.calls[call].clone()
                };
            }
            Event::Arrives {
                client,
                lane,
                number,
                request,
                until,
                lost,
            } => {
                if self.consul.holds_back(&request) && until.is_none_or(|until| self.now < until) {
                    let until = until.unwrap_or_else(|| {
                        let wait = match &request {
                            Request::Attempt(_, Some((_, wait)))
                            | Request::Watch(_, Some((_, wait))) => *wait,
                            _ => Duration::ZERO,
                        };
                        self.now + wait
                    });
                    let again = Event::Arrives {
                        client,
                        lane,
                        number,
                        request,
                        until: Some(until),
                        lost,
                    };
                    return self.plan(Duration::from_millis(250), again);
                }
                let reply = self.consul.apply(&request, self.now);
                if !lost {
                    let reply = Event::Replies {
                        client,
                        lane,
                        number,
                        reply,
                    };
                    self.plan_some(300, reply);
                }
            }
            Event::Replies {
                client,
                lane,
                number,
                reply,
            } => {
                if self.now < self.clients[client].paused_until {
                    // It is read when the client goes on.
                    let after = self.clients[client].paused_until - self.now;
                    let again = Event::Replies {
                        client,
                        lane,
                        number,
                        reply,
                    };
                    return self.plan(after, again);
                }
                let under_way = match lane {
                    Lane::Main => &mut self.clients[client].main,
                    Lane::Renewal => &mut self.clients[client].renewal,
                };
                if *under_way != number {
                    return;
                }
                *under_way = 0;
                let reply = reply.map_err(|kind| Failure { kind, error: () });
                let contender = &mut self.clients[client].contender;
                contender.reply(self.now, lane, reply);
                self.step(client);
            }
        }
    }

    /// What the driver does.
    fn step(&mut self, number: usize) {
        let now = self.now;
        let client = &mut self.clients[number];
        if now < client.paused_until {
            return;
        }
        let actions = client.contender.next(now);
        for action in actions {
            match action {
                Action::Cancel(Lane::Main) => self.clients[number].main = 0,
                Action::Cancel(Lane::Renewal) => self.clients[number].renewal = 0,
                Action::Send(lane, request) => self.send(number, lane, request),
            }
        }
        if let Some(at) = self.clients[number].contender.wake_at(now) {
            self.plan(at - now, Event::Wakes(number));
        }
        self.observe(number);
    }

    fn send(&mut self, client: usize, lane: Lane, request: Request) {
        if let Request::Attempt(id, _) = &request {
            let tenure = Tenure {
                asked: self.now,
                held: None,
                unsure: None,
                over: None,
            };
            self.tenures.entry(id.clone()).or_insert(tenure);
        }
        self.numbers += 1;
        let number = self.numbers;
        let troubled = !self.is_calm();
        let cut_off = self.now < self.clients[client].cut_off_until;
        let lost_on_the_way = cut_off || troubled && self.random.u8(0..20) == 0;
        let reply_lost = troubled && self.random.u8(0..20) == 0;
        let hold = match &request {
            Request::Attempt(_, Some((_, wait))) | Request::Watch(_, Some((_, wait))) => *wait,
            _ => Duration::ZERO,
        };
        match lane {
            Lane::Main => self.clients[client].main = number,
            Lane::Renewal => self.clients[client].renewal = number,
        }
        let failed = Event::Replies {
            client,
            lane,
            number,
            reply: Err(FailureKind::Later),
        };
        self.plan(TIMEOUT + hold + hold / 16, failed);
        if !lost_on_the_way {
            let arrives = Event::Arrives {
                client,
                lane,
                number,
                request,
                until: None,
                lost: reply_lost,
            };
            // Sometimes so late that its sender has given up.
            let late = troubled && self.random.u8(0..50) == 0;
            self.plan_some(if late { 30_000 } else { 300 }, arrives);
        }
    }

    fn observe(&mut self, number: usize) {
        let status = self.clients[number].contender.status();
        match &status {
            Status::Held { session, token } => {
                if let Some(tenure) = self.tenures.get_mut(session) {
                    tenure.held.get_or_insert((self.now, *token));
                }
                self.clients[number].session = Some(session.clone());
            }
            _ => self.unsure(number),
        }
        let client = &mut self.clients[number];
        let token = match status {
            Status::Held { token, .. } => Some(token),
            Status::Lost(_) => {
                self.lost += usize::from(client.token.is_some());
                // As a user would who has noticed.
                client.contender.leave(self.now);
                self.plan(Duration::ZERO, Event::Wakes(number));
                None
            }
            Status::Ended(End::Failed(()) | End::Unanswered) => {
                client.contender = Contender::new(settings(), self.now);
                self.plan(Duration::from_secs(1), Event::Wakes(number));
                None
            }
            _ => None,
        };
        let client = &mut self.clients[number];
        if let Some(token) = token
            && client.token != Some(token)
        {
            assert!(token > self.last_token, "{token} after {}", self.last_token);
            self.last_token = token;
            self.acquired += 1;
        }
        client.token = token;
    }

    /// At most one contender that runs is sure to hold the lock.
    fn check(&self) {
        let sure = |client: &&Client| {
            self.now >= client.paused_until && client.contender.is_sure(self.now)
        };
        assert!(
            self.clients.iter().filter(sure).count() <= 1,
            "two holders at {:?}",
            self.now
        );
    }
}

#[test]
fn one_holder_in_every_schedule() {
    let (mut acquired, mut lost) = (0, 0);
    for seed in 0..2_000 {
        let mut world = World::new(seed);
        world.run();
        acquired += world.acquired;
        lost += world.lost;
        // Whatever happened, somebody gets the lock in the end.
        let holds = world.clients.iter().any(|client| client.token.is_some());
        let wants = world
            .clients
            .iter()
            .any(|client| !matches!(client.contender.status(), Status::Ended(_)));
        assert!(holds || !wants, "seed {seed}: nobody holds the lock");
    }
    // The schedules are worth something only if locks are acquired and lost in them.
    assert!(acquired > 5_000 && lost > 200, "{acquired} {lost}");
}

/// The lock and guarded writes behave as if everything happened at one place, one after the other: who is sure to hold the
/// lock holds it, tokens increase, and only the holder writes.
#[test]
fn histories_are_linearizable() {
    let (mut acquired, mut refused) = (0, 0);
    for seed in 0..40 {
        let mut world = World::new(seed);
        world.run();
        let history = world.history();
        let nothing = Sequential {
            holder: None,
            token: 0,
            value: 0,
        };
        assert!(
            is_linearizable(nothing, &history),
            "seed {seed}: {history:#?}"
        );
        let is_refused =
            |call: &&Call<Operation>| matches!(call.operation, Operation::Write(.., Some(false)));
        refused += history.iter().filter(is_refused).count();
        acquired += world.acquired;
    }
    assert!(acquired > 100 && refused > 200, "{acquired} {refused}");
}

/// After everybody has left, no session is there.
#[test]
fn nothing_is_left_behind() {
    for seed in 0..1_000 {
        let mut world = World::new(seed);
        world.calm_from = world.now;
        let over = |world: &World| {
            let mut contenders = world.clients.iter().map(|client| &client.contender);
            contenders.all(|contender| matches!(contender.status(), Status::Ended(_)))
        };
        world.run_until(over);
        assert!(over(&world), "seed {seed}");
        assert_eq!(world.consul.holder, None, "seed {seed}");
        assert!(world.consul.sessions.is_empty(), "seed {seed}");
    }
}
