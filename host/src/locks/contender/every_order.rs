//! Every order in which messages can arrive: an exhaustive search over the states of contenders, of Consul and of the
//! network, for as long as new states come.
//!
//! Time goes in steps of a second. In each of them, anything can happen that is possible:
//!
//! | who | what |
//! |---|---|
//! | the network | a request or a reply arrives in the same second or in the next one, in any order |
//! | Consul | a blocking query returns although nothing has changed, and sees a change at once or a second later |
//! | a holder | releases the lock; whoever has left may contend again |
//! | one contender | is cut off, so that its messages get lost, or stopped, or goes on |
//!
//! Worlds that nobody in them can tell apart count as one (`every_order/normal.rs`). So there are finitely many, and the search
//! ends.
//!
//! Replies to different contenders do not depend on each other, nor do renewals and creations, so only one order of these is
//! looked at within a second. All orders of requests about the lock are.

mod normal;

use super::{
    Action, Contender, Failure, FailureKind, Kind, Lane, Loss, Phase, Reply, Request, Settings,
    Status, Time,
};
use crate::locks::simulation::Consul;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
/// The present. Other moments move.
const NOW: Time = Duration::from_secs(1000);

/// Short times: without a renewal the lock is lost after 2 s, its session ends after 4 s, and the lock is free after 5 s.
const TTL: Duration = Duration::from_secs(2);
const LOCK_DELAY: Duration = SECOND;
/// When a request without a reply counts as failed.
const TIMEOUT: Duration = Duration::from_secs(2);

fn settings(kind: Kind) -> Settings {
    Settings {
        kind,
        session: None,
        renew_every: SECOND,
        lost_after: TTL,
        wait: None,
    }
}

/// What is possible.
#[derive(Clone, Copy)]
struct Model {
    clients: usize,
    /// A lock, or only a session.
    kind: Kind,
    /// What can happen to the first one.
    troubles: &'static [Trouble],
    /// Whether requests about the lock can take a second, too, not only replies.
    slow_requests: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Trouble {
    None,
    CutOff,
    Stopped,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Client {
    contender: Contender<()>,
    trouble: Trouble,
    /// The token of the lock that it holds.
    token: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Message {
    client: usize,
    lane: Lane,
    /// When it arrives.
    at: Time,
    /// Nobody waits for the reply.
    stale: bool,
    content: Content,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Content {
    Request(Request),
    /// A blocking query that waits for a change.
    Parked(Request),
    /// A blocking query that returns, whether there was a change or not.
    Returning(Request),
    Reply(Result<Reply, FailureKind>),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    consul: Consul,
    clients: Vec<Client>,
    messages: Vec<Message>,
    /// The highest token so far.
    highest: u64,
}

impl World {
    fn new(model: Model) -> Vec<World> {
        let client = Client {
            contender: Contender::new(settings(model.kind), NOW),
            trouble: Trouble::None,
            token: None,
        };
        let world = World {
            consul: Consul::new(TTL, LOCK_DELAY),
            clients: vec![client; model.clients],
            messages: Vec::new(),
            highest: 0,
        };
        (0..model.clients).fold(vec![world], |worlds, client| {
            fork(worlds, |world| world.step(model, client))
        })
    }

    /// What the driver does.
    fn step(mut self, model: Model, client: usize) -> Vec<World> {
        let Client {
            contender, trouble, ..
        } = &mut self.clients[client];
        let cut_off = *trouble == Trouble::CutOff;
        // After a pause, it has asked Consul whether it still holds the lock.
        let asked = matches!(
            contender.phase,
            Phase::Held {
                verifying: Some(_),
                ..
            }
        );
        let mut sends = Vec::new();
        for action in contender.next(NOW) {
            match action {
                Action::Cancel(lane) => self.forget(client, lane),
                Action::Send(lane, request) => sends.push((lane, request)),
            }
        }
        let wake_at = self.clients[client].contender.wake_at(NOW);
        assert!(
            wake_at.is_none_or(|at| at > NOW),
            "it never sleeps: {self:#?}"
        );
        self.observe(model, client, asked);
        sends
            .into_iter()
            .fold(vec![self], |worlds, (lane, request)| {
                let content = match cut_off {
                    true => Content::Reply(Err(FailureKind::Later)),
                    false => Content::Request(request),
                };
                let message = Message {
                    client,
                    lane,
                    at: NOW,
                    stale: false,
                    content,
                };
                fork(worlds, |world| world.send(model, &message))
            })
    }

    /// Sends a message, which takes a while.
    fn send(self, model: Model, message: &Message) -> Vec<World> {
        let delays = match &message.content {
            Content::Reply(Err(FailureKind::Later)) => &[TIMEOUT][..],
            Content::Request(request) if !model.slow_requests || is_independent(request) => {
                &[Duration::ZERO]
            }
            _ => &[Duration::ZERO, SECOND],
        };
        let after = |delay: &Duration| {
            let mut world = self.clone();
            world.messages.push(Message {
                at: NOW + *delay,
                ..message.clone()
            });
            world
        };
        delays.iter().map(after).collect()
    }

    fn forget(&mut self, client: usize, lane: Lane) {
        let is_forgotten = |message: &Message| message.client == client && message.lane == lane;
        // A reply that nobody waits for changes nothing, nor does a query, which precedes the attempt.
        self.messages.retain(|message| {
            !is_forgotten(message)
                || !matches!(message.content, Content::Reply(_) | Content::Parked(_))
        });
        for message in &mut self.messages {
            message.stale |= is_forgotten(message);
        }
    }

    fn observe(&mut self, model: Model, client: usize, asked: bool) {
        let Client {
            contender, token, ..
        } = &mut self.clients[client];
        let now = match contender.status() {
            Status::Held { token, .. } => Some(token),
            Status::Lost(loss) => {
                let holds = contender
                    .id()
                    .is_some_and(|id| self.consul.holder() == Some(&*id));
                assert!(
                    loss != Loss::Unreachable
                        || !asked
                        || !holds
                        || model.troubles.contains(&Trouble::CutOff),
                    "lost in vain: {contender:#?}"
                );
                // As a user would who has noticed.
                contender.leave(NOW);
                None
            }
            _ => None,
        };
        if let Some(new) = now
            && *token != now
            && new > 0
        {
            assert!(new > self.highest, "{new} after {}", self.highest);
            self.highest = new;
        }
        *token = now;
    }

    /// Whoever is sure to hold the lock is the one whom Consul takes for the holder, and has a session.
    fn check(&self, model: Model) {
        for client in &self.clients {
            if client.trouble != Trouble::Stopped && client.contender.is_sure(NOW) {
                let session = client.contender.id().unwrap();
                assert!(self.consul.renewed(&session).is_some(), "{self:#?}");
                if model.kind == Kind::Lock {
                    assert_eq!(self.consul.holder(), Some(&*session), "{self:#?}");
                }
            }
        }
    }

    /// Every world that can come next.
    fn next(&self, model: Model) -> Vec<World> {
        let due = || {
            let due = |message: &&Message| {
                message.at <= NOW && !matches!(message.content, Content::Parked(_))
            };
            self.messages.iter().filter(due)
        };
        let runs = |message: &&Message| self.clients[message.client].trouble != Trouble::Stopped;
        let replies = due().filter(|message| matches!(message.content, Content::Reply(_)));
        if let Some(first) = replies.clone().filter(runs).map(|reply| reply.client).min() {
            let of_first = replies.filter(|reply| reply.client == first);
            return of_first
                .flat_map(|reply| self.deliver(model, reply))
                .collect();
        }
        let requests = due().filter_map(|message| match &message.content {
            Content::Request(request) | Content::Returning(request) => Some((message, request)),
            _ => None,
        });
        let independent = |(_, request): &(_, &Request)| is_independent(request);
        if let Some((message, request)) = requests.clone().find(independent) {
            return self.arrive(model, message, request);
        }
        let all: Vec<World> = requests
            .flat_map(|(message, request)| self.arrive(model, message, request))
            .collect();
        match all.is_empty() {
            true => self.tick(model),
            false => all,
        }
    }

    fn without(&self, message: &Message) -> World {
        let mut world = self.clone();
        let place = world.messages.iter().position(|other| other == message);
        world.messages.remove(place.unwrap());
        world
    }

    /// A reply reaches its contender.
    fn deliver(&self, model: Model, message: &Message) -> Vec<World> {
        let Content::Reply(reply) = &message.content else {
            return Vec::new();
        };
        let mut world = self.without(message);
        let reply = reply.clone().map_err(|kind| Failure { kind, error: () });
        let client = &mut world.clients[message.client];
        client.contender.reply(NOW, message.lane, reply);
        world.step(model, message.client)
    }

    /// A request reaches Consul.
    fn arrive(&self, model: Model, message: &Message, request: &Request) -> Vec<World> {
        let mut world = self.without(message);
        let waits = matches!(message.content, Content::Request(_));
        if waits && world.consul.holds_back(request) {
            world.messages.push(Message {
                content: Content::Parked(request.clone()),
                ..message.clone()
            });
            return vec![world];
        }
        let index = world.consul.index();
        let reply = world.consul.apply(request, NOW);
        let changed = world.consul.index() != index;
        let mut worlds = vec![world];
        if !message.stale {
            let lost = self.clients[message.client].trouble == Trouble::CutOff;
            let reply = Message {
                content: Content::Reply(if lost { Err(FailureKind::Later) } else { reply }),
                ..message.clone()
            };
            worlds = fork(worlds, |world| world.send(model, &reply));
        }
        if changed {
            worlds = fork(worlds, |world| world.wake(model));
        }
        worlds
    }

    /// Blocking queries return because something has changed.
    fn wake(mut self, model: Model) -> Vec<World> {
        let is_parked = |message: &Message| matches!(message.content, Content::Parked(_));
        let (parked, others) = self.messages.into_iter().partition::<Vec<_>, _>(is_parked);
        self.messages = others;
        parked.into_iter().fold(vec![self], |worlds, mut message| {
            if let Content::Parked(request) = message.content {
                message.content = Content::Returning(request);
                return fork(worlds, |world| world.send(model, &message));
            }
            worlds
        })
    }

    /// A second passes.
    fn tick(&self, model: Model) -> Vec<World> {
        let mut world = self.clone();
        world.each_moment(|moment| *moment -= SECOND);
        world.consul.expire(NOW);
        let mut worlds = vec![world];
        // Queries may return for no reason.
        for place in 0..self.messages.len() {
            worlds = fork(worlds, |world| {
                let message = &world.messages[place];
                let mut returns = world.clone();
                if let Content::Parked(request) = &message.content {
                    returns.messages[place].content = Content::Returning(request.clone());
                    returns.messages[place].at = NOW;
                    return vec![world, returns];
                }
                vec![world]
            });
        }
        worlds = fork(worlds, |world| world.trouble(model));
        for number in 0..self.clients.len() {
            worlds = fork(worlds, |world| {
                // One that goes on may look at replies before it looks at the time.
                let resumes =
                    self.clients[number].trouble == Trouble::Stopped && world.has_reply_for(number);
                let replies_first = resumes.then(|| world.clone());
                let mut worlds = world.decide(model, number);
                worlds.extend(replies_first);
                worlds
            });
        }
        worlds
    }

    fn has_reply_for(&self, number: usize) -> bool {
        self.messages.iter().any(|message| {
            let is_reply = matches!(message.content, Content::Reply(_));
            is_reply && message.client == number && message.at <= NOW
        })
    }

    /// The first one gets into trouble, or out of it.
    fn trouble(self, model: Model) -> Vec<World> {
        let into = |trouble: &Trouble| {
            let mut world = self.clone();
            world.clients[0].trouble = *trouble;
            world
        };
        model.troubles.iter().map(into).collect()
    }

    /// What a user does at the beginning of a second.
    fn decide(self, model: Model, number: usize) -> Vec<World> {
        let client = &self.clients[number];
        if client.trouble == Trouble::Stopped {
            return vec![self];
        }
        let mut worlds = vec![self.clone()];
        match client.contender.status() {
            Status::Held { .. } => {
                let mut world = self.clone();
                world.clients[number].contender.leave(NOW);
                worlds.push(world);
            }
            Status::Ended(_) => {
                let mut world = self.clone();
                world.clients[number].contender = Contender::new(settings(model.kind), NOW);
                worlds.push(world);
            }
            _ => {}
        }
        fork(worlds, |world| world.step(model, number))
    }
}

/// Requests that change nothing for other contenders.
fn is_independent(request: &Request) -> bool {
    matches!(request, Request::Create | Request::Renew(_))
}

/// The worlds that can come after each of some.
fn fork(worlds: Vec<World>, next: impl Fn(World) -> Vec<World>) -> Vec<World> {
    worlds.into_iter().flat_map(next).collect()
}

/// Looks at every world that can come, and returns how many there are. From each of them, somebody can get the lock.
fn explore(model: Model) -> usize {
    let mut numbers = HashMap::new();
    let mut open: Vec<(usize, World)> = Vec::new();
    // Which follows which, and where somebody holds the lock.
    let mut before: Vec<Vec<usize>> = Vec::new();
    let mut held = Vec::new();
    let mut reach = |worlds: Vec<World>, from: Option<usize>, open: &mut Vec<_>| {
        for world in worlds {
            world.check(model);
            let world = world.normal();
            let number = *numbers.entry(hash(&world)).or_insert(before.len());
            if number == before.len() {
                before.push(Vec::new());
                if world.clients.iter().any(|client| client.token.is_some()) {
                    held.push(number);
                }
                open.push((number, world));
            }
            before[number].extend(from);
        }
    };
    reach(World::new(model), None, &mut open);
    while let Some((number, world)) = open.pop() {
        reach(world.next(model), Some(number), &mut open);
    }
    let mut can_hold = vec![false; before.len()];
    while let Some(number) = held.pop() {
        if !std::mem::replace(&mut can_hold[number], true) {
            held.append(&mut before[number]);
        }
    }
    assert!(
        can_hold.iter().all(|can| *can),
        "nobody can get the lock any more"
    );
    before.len()
}

fn hash(what: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

/// A contender that is cut off and stopped at any times.
const EVERY_TROUBLE: &[Trouble] = &[Trouble::None, Trouble::CutOff, Trouble::Stopped];

const STOPPED: &[Trouble] = &[Trouble::None, Trouble::Stopped];

/// Explores what is possible, and prints how many different worlds there are.
#[allow(clippy::print_stdout, reason = "evidence of long tests")]
fn one_holder(kind: Kind, clients: usize, troubles: &'static [Trouble], slow_requests: bool) {
    let model = Model {
        clients,
        kind,
        troubles,
        slow_requests,
    };
    let worlds = explore(model);
    println!(
        "{clients} contenders, {kind:?}, {troubles:?}, slow requests: {slow_requests}: {worlds} worlds"
    );
    assert!(worlds > 500, "{worlds}");
}

#[test]
fn one_contender_in_trouble() {
    one_holder(Kind::Lock, 1, EVERY_TROUBLE, true);
}

#[test]
fn one_session_in_trouble() {
    one_holder(Kind::Session, 1, EVERY_TROUBLE, true);
}

/// Whoever was stopped asks, and goes on if the lock is still held.
#[test]
fn one_contender_that_is_stopped() {
    one_holder(Kind::Lock, 1, STOPPED, true);
}

#[test]
fn two_contenders_of_whom_one_is_stopped() {
    one_holder(Kind::Lock, 2, STOPPED, false);
}

#[test]
fn two_contenders() {
    one_holder(Kind::Lock, 2, &[Trouble::None], true);
}

#[test]
fn three_contenders() {
    one_holder(Kind::Lock, 3, &[Trouble::None], false);
}

#[test]
#[ignore = "takes minutes"]
fn two_contenders_of_whom_one_is_in_trouble() {
    one_holder(Kind::Lock, 2, EVERY_TROUBLE, true);
}

#[test]
#[ignore = "takes minutes"]
fn three_contenders_with_slow_requests() {
    one_holder(Kind::Lock, 3, &[Trouble::None], true);
}

#[test]
#[ignore = "takes minutes"]
fn three_contenders_of_whom_one_is_cut_off() {
    one_holder(Kind::Lock, 3, &[Trouble::None, Trouble::CutOff], false);
}

#[test]
#[ignore = "takes minutes"]
fn three_contenders_of_whom_one_is_in_trouble() {
    one_holder(Kind::Lock, 3, EVERY_TROUBLE, false);
}
