//! Every order in which messages can arrive: an exhaustive search over the states of contenders, of Consul and of the network,
//! with one contender cut off or stopped, and holders that release at any time.

use super::contender::{
    Action, Contender, Failure, Kind, Lane, Reply, Request, Settings, Status, Time,
};
use super::simulation::Consul;
use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
/// A message is delivered within a second, or never.
const SLOWEST: Duration = SECOND;

/// Short times, so that a session can end within the horizon: without a renewal it is lost after 2 s, ends after 4 s, and
/// the lock is free after 5 s.
const TTL: Duration = Duration::from_secs(2);
const LOCK_DELAY: Duration = SECOND;

fn settings() -> Settings {
    Settings {
        kind: Kind::Lock,
        session: None,
        renew_every: SECOND,
        lost_after: TTL,
        wait: None,
    }
}

/// What goes wrong: from one time to another, one contender is cut off, or stopped.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    None,
    CutOff(usize, Time, Time),
    Stopped(usize, Time, Time),
}

impl Trouble {
    fn cuts_off(self, client: usize, now: Time) -> bool {
        matches!(self, Trouble::CutOff(who, from, to) if who == client && from <= now && now < to)
    }

    fn stops(self, client: usize, now: Time) -> bool {
        matches!(self, Trouble::Stopped(who, from, to) if who == client && from <= now && now < to)
    }
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct World {
    now: Time,
    consul: Consul,
    contenders: Vec<Contender<()>>,
    messages: Vec<Message>,
    /// The highest token so far, and which contender has which.
    highest: u64,
    tokens: Vec<Option<u64>>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Message {
    client: usize,
    lane: Lane,
    sent: Time,
    /// Nobody waits for the reply.
    stale: bool,
    content: Content,
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum Content {
    Request(Request),
    Reply(Result<Reply, super::contender::FailureKind>),
}

impl World {
    fn new(clients: usize) -> World {
        let begin = SECOND;
        let mut world = World {
            now: begin,
            consul: Consul::new(TTL, LOCK_DELAY),
            contenders: vec![Contender::new(settings(), begin); clients],
            messages: Vec::new(),
            highest: 0,
            tokens: vec![None; clients],
        };
        for client in 0..clients {
            world.step(client, Trouble::None);
        }
        world
    }

    /// What the driver does.
    fn step(&mut self, client: usize, trouble: Trouble) {
        if trouble.stops(client, self.now) {
            return;
        }
        for action in self.contenders[client].next(self.now) {
            match action {
                Action::Cancel(lane) => self.forget(client, lane),
                Action::Send(lane, request) if !trouble.cuts_off(client, self.now) => {
                    self.messages.push(Message {
                        client,
                        lane,
                        sent: self.now,
                        stale: false,
                        content: Content::Request(request),
                    });
                }
                Action::Send(..) => {}
            }
        }
        self.contenders[client].wake_at(self.now);
        self.observe(client);
    }

    fn forget(&mut self, client: usize, lane: Lane) {
        for message in &mut self.messages {
            message.stale |= message.client == client && message.lane == lane;
        }
        // A reply that nobody waits for changes nothing.
        self.messages
            .retain(|message| !(message.stale && matches!(message.content, Content::Reply(_))));
    }

    fn observe(&mut self, client: usize) {
        let token = match self.contenders[client].status() {
            Status::Held { token, .. } => Some(token),
            _ => None,
        };
        if let Some(token) = token
            && self.tokens[client] != Some(token)
        {
            assert!(token > self.highest, "{token} after {}", self.highest);
            self.highest = token;
        }
        self.tokens[client] = token;
    }

    /// Every world that can come next.
    fn next(&self, trouble: Trouble) -> Vec<World> {
        let mut worlds = Vec::new();
        for (place, message) in self.messages.iter().enumerate() {
            let (client, lane) = (message.client, message.lane);
            let mut world = self.clone();
            world.messages.remove(place);
            match &message.content {
                Content::Request(request) => {
                    if self.consul.holds_back(request) && !self.is_over(message, request) {
                        continue;
                    }
                    let reply = world.consul.apply(request, self.now);
                    if !message.stale && !trouble.cuts_off(client, self.now) {
                        world.messages.push(Message {
                            content: Content::Reply(reply),
                            sent: self.now,
                            ..message.clone()
                        });
                    }
                }
                Content::Reply(_) if trouble.stops(client, self.now) => continue,
                Content::Reply(reply) => {
                    let reply = reply.clone().map_err(|kind| Failure { kind, error: () });
                    world.contenders[client].reply(self.now, lane, reply);
                    world.step(client, trouble);
                }
            }
            worlds.push(world);
        }
        // A holder may release at any time.
        for client in 0..self.tokens.len() {
            if self.tokens[client].is_some() && !trouble.stops(client, self.now) {
                let mut world = self.clone();
                world.contenders[client].leave(self.now);
                world.step(client, trouble);
                worlds.push(world);
            }
        }
        if !self
            .messages
            .iter()
            .any(|message| self.is_due(message, trouble))
        {
            let mut world = self.clone();
            world.now += SECOND;
            world.consul.expire(world.now);
            for client in 0..self.tokens.len() {
                world.step(client, trouble);
            }
            worlds.push(world);
        }
        worlds
    }

    /// Whether a blocking query has waited for long enough.
    fn is_over(&self, message: &Message, request: &Request) -> bool {
        match request {
            Request::Attempt(_, Some((_, wait))) | Request::Watch(_, Some((_, wait))) => {
                self.now >= message.sent + *wait
            }
            _ => true,
        }
    }

    /// Whether a message must arrive before time goes on.
    fn is_due(&self, message: &Message, trouble: Trouble) -> bool {
        let late = self.now >= message.sent + SLOWEST;
        match &message.content {
            Content::Reply(_) => late && !trouble.stops(message.client, self.now),
            Content::Request(request) => {
                late && (!self.consul.holds_back(request) || self.is_over(message, request))
            }
        }
    }

    fn check(&self, trouble: Trouble) {
        let sure = (0..self.tokens.len()).filter(|client| {
            !trouble.stops(*client, self.now) && self.contenders[*client].is_sure(self.now)
        });
        assert!(
            sure.count() <= 1,
            "two holders at {:?}, {trouble:?}",
            self.now
        );
    }
}

/// The number of different worlds up to a time.
fn explore(clients: usize, trouble: Trouble, until: Time) -> usize {
    let mut seen = HashSet::new();
    let mut open = vec![World::new(clients)];
    while let Some(mut world) = open.pop() {
        // Messages have no order.
        world.messages.sort_by_cached_key(hash);
        if world.now > until || !seen.insert(hash(&world)) {
            continue;
        }
        world.check(trouble);
        open.extend(world.next(trouble));
    }
    seen.len()
}

fn hash(what: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

/// Two, for as long as it takes that the lock of one that is cut off or stopped goes to the other.
#[test]
fn one_holder_in_every_order_of_messages() {
    let seconds = Duration::from_secs;
    let (from, to, end) = (seconds(2), seconds(20), seconds(8));
    let states = explore(2, Trouble::CutOff(0, from, to), end)
        + explore(2, Trouble::Stopped(0, from, to), end);
    assert!(states > 100_000, "{states}");
}

/// Three, for their first second. Two seconds have more states than fit into memory.
#[test]
fn one_holder_of_three_in_every_order_of_messages() {
    let states = explore(3, Trouble::None, Duration::from_secs(1));
    assert!(states > 100_000, "{states}");
}
