//! Which worlds are the same: moments count from now, indices by their order, sessions by who has them, and contenders
//! without trouble are interchangeable.

use super::{Content, Message, NOW, TTL, World, hash};
use crate::locks::contender::{Contender, End, PAUSE, Phase, Reply, Request, Time};
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

impl World {
    /// Worlds that nobody can tell apart have the same normal form.
    pub(super) fn normal(mut self) -> World {
        for (number, client) in self.clients.iter_mut().enumerate() {
            tidy(&mut client.contender);
            if number > 0 {
                // It is never stopped.
                client.contender.promised = None;
            }
        }
        for message in &mut self.messages {
            tidy_message(message);
        }
        let delayed = self.consul.delayed_until_mut();
        *delayed = (*delayed).max(NOW);
        let mut indices = BTreeSet::new();
        self.each_index(|index| {
            indices.insert(*index);
        });
        let ranks: HashMap<u64, u64> = indices
            .into_iter()
            .filter(|index| *index > 0)
            .zip(1..)
            .collect();
        self.each_index(|index| *index = ranks.get(index).copied().unwrap_or(0));
        self.sort();
        // Names by who has them.
        let mut names = HashMap::<String, String>::new();
        let mut rename = |id: &mut String| {
            let count = names.len() + 1;
            let name = names
                .entry(std::mem::take(id))
                .or_insert_with(|| format!("s{count}"));
            id.clone_from(name);
        };
        self.each_id(&mut rename);
        self.consul.rename(&mut rename);
        *self.consul.created_mut() = names.len();
        self
    }

    /// Interchangeable clients and messages get an order, in which their ids do not matter.
    fn sort(&mut self) {
        let mut anonymous = self.clone();
        anonymous.each_id(&mut |id| id.clear());
        let mut messages: Vec<(Message, u64)> = std::mem::take(&mut self.messages)
            .into_iter()
            .zip(&anonymous.messages)
            .map(|(message, anonymous)| {
                let Message {
                    lane,
                    at,
                    stale,
                    content,
                    ..
                } = anonymous;
                (message, hash(&(lane, at, stale, content)))
            })
            .collect();
        messages.sort_by_key(|(_, key)| *key);
        let key = |number: usize| {
            let own = messages
                .iter()
                .filter(|(message, _)| message.client == number);
            let own: Vec<u64> = own.map(|(_, key)| *key).collect();
            let id = self.clients[number].contender.id();
            let holds = id.is_some() && id.as_deref() == self.consul.holder();
            let renewed = id.map(|id| self.consul.renewed(&id));
            hash(&(&anonymous.clients[number], own, holds, renewed))
        };
        let mut order: Vec<usize> = (0..self.clients.len()).collect();
        order[1..].sort_by_cached_key(|number| key(*number));
        self.clients = order
            .iter()
            .map(|number| self.clients[*number].clone())
            .collect();
        for (message, _) in &mut messages {
            let place = order.iter().position(|number| *number == message.client);
            message.client = place.unwrap();
        }
        messages.sort_by_key(|(message, key)| (message.client, *key));
        self.messages = messages.into_iter().map(|(message, _)| message).collect();
    }

    pub(super) fn each_moment(&mut self, mut change: impl FnMut(&mut Time)) {
        for client in &mut self.clients {
            let contender = &mut client.contender;
            change(&mut contender.begun);
            change(&mut contender.next_at);
            contender.promised.iter_mut().for_each(&mut change);
            for sent in contender.main.iter_mut().chain(&mut contender.renewal) {
                change(&mut sent.at);
            }
            if let Some(session) = &mut contender.session {
                change(&mut session.renewed);
                change(&mut session.renew_at);
            }
            match &mut contender.phase {
                Phase::Held {
                    verifying: Some(verifying),
                    ..
                } => change(&mut verifying.until),
                Phase::Leaving { until, .. } => change(until),
                _ => {}
            }
        }
        for message in &mut self.messages {
            change(&mut message.at);
        }
        self.consul.each_moment(&mut change);
    }

    fn each_index(&mut self, mut change: impl FnMut(&mut u64)) {
        change(&mut self.highest);
        for client in &mut self.clients {
            client.token.iter_mut().for_each(&mut change);
            match &mut client.contender.phase {
                Phase::Waiting { index, .. } => change(index),
                Phase::Held { token, index, .. } => {
                    change(token);
                    change(index);
                }
                _ => {}
            }
            let sent = client.contender.main.iter_mut();
            sent.for_each(|sent| each_index_of_request(&mut sent.request, &mut change));
        }
        for message in &mut self.messages {
            match &mut message.content {
                Content::Request(request)
                | Content::Parked(request)
                | Content::Returning(request) => each_index_of_request(request, &mut change),
                Content::Reply(Ok(
                    Reply::Acquired(index)
                    | Reply::Occupied(_, index)
                    | Reply::Delayed(index)
                    | Reply::Watched(_, index),
                )) => change(index),
                Content::Reply(_) => {}
            }
        }
        self.consul.each_index(&mut change);
    }

    fn each_id(&mut self, change: &mut impl FnMut(&mut String)) {
        for client in &mut self.clients {
            let contender = &mut client.contender;
            if let Some(session) = &mut contender.session {
                change(&mut session.id);
            }
            for sent in contender.main.iter_mut().chain(&mut contender.renewal) {
                each_id_of_request(&mut sent.request, change);
            }
        }
        for message in &mut self.messages {
            each_id_of_message(message, change);
        }
    }
}

fn each_index_of_request(request: &mut Request, change: &mut impl FnMut(&mut u64)) {
    if let Request::Attempt(_, Some((index, _))) | Request::Watch(_, Some((index, _))) = request {
        change(index);
    }
}

fn each_id_of_message(message: &mut Message, change: &mut impl FnMut(&mut String)) {
    match &mut message.content {
        Content::Request(request) | Content::Parked(request) | Content::Returning(request) => {
            each_id_of_request(request, change);
        }
        Content::Reply(Ok(Reply::Created(id))) => change(id),
        Content::Reply(_) => {}
    }
}

fn each_id_of_request(request: &mut Request, change: &mut impl FnMut(&mut String)) {
    match request {
        Request::Create => {}
        Request::Join(id)
        | Request::Attempt(id, _)
        | Request::Watch(id, _)
        | Request::Renew(id)
        | Request::Release(id)
        | Request::Destroy(id) => change(id),
    }
}

/// Removes what makes no difference: who holds the lock is only told to people, times are over or not, and a blocking query
/// may return at any time.
fn tidy(contender: &mut Contender<()>) {
    if let Phase::Ended(_) = contender.phase {
        *contender = Contender::new(contender.settings.clone(), NOW);
        contender.phase = Phase::Ended(End::Left);
        return;
    }
    // It never gives up.
    contender.begun = NOW;
    contender.next_at = contender.next_at.max(NOW);
    contender.promised = contender.promised.map(|at| at.max(NOW - 2 * PAUSE));
    if let Some(session) = &mut contender.session {
        session.renewed = session.renewed.max(NOW - TTL);
        session.renew_at = session.renew_at.max(NOW);
        if let Phase::Leaving { .. } = contender.phase {
            (session.renewed, session.renew_at, session.failed) = (NOW, NOW, None);
        }
    }
    match &mut contender.phase {
        Phase::Held {
            verifying: Some(verifying),
            ..
        } => verifying.until = verifying.until.max(NOW),
        Phase::Leaving { until, .. } => *until = (*until).max(NOW),
        _ => {}
    }
    if let Phase::Waiting {
        holders,
        delays,
        tried,
        ..
    } = &mut contender.phase
    {
        holders.clear();
        *delays = 0;
        *tried = true;
    }
    if let Some(sent) = &mut contender.main {
        // The life of a session is counted from the request that creates it.
        let creates = sent.request == Request::Create;
        sent.at = if creates { sent.at.max(NOW - TTL) } else { NOW };
        tidy_request(&mut sent.request);
    }
    if let Some(sent) = &mut contender.renewal {
        sent.at = sent.at.max(NOW - TTL);
    }
}

fn tidy_message(message: &mut Message) {
    match &mut message.content {
        Content::Parked(request) => {
            message.at = NOW;
            tidy_request(request);
        }
        Content::Request(request) | Content::Returning(request) => tidy_request(request),
        Content::Reply(Ok(Reply::Occupied(holders, _))) => holders.clear(),
        Content::Reply(_) => {}
    }
    // Of a stopped contender.
    message.at = message.at.max(NOW);
}

fn tidy_request(request: &mut Request) {
    if let Request::Attempt(_, Some((_, wait))) | Request::Watch(_, Some((_, wait))) = request {
        *wait = Duration::ZERO;
    }
}
