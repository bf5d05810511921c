//! A JSON object that others wrote, as text. As a tree, 6 MiB of small lists would take 860 MB of memory.

use indexmap::IndexMap;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use std::fmt;
use std::ops::{Deref, DerefMut};

/// Maximum number of members. No object of the action interface has more than 40.
const MAX_MEMBERS: usize = 100;
/// Maximum length of a member's name.
const MAX_NAME: usize = 1 << 10;

/// The members in their order, each value as it was written.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(crate) struct RawObject(IndexMap<String, Box<RawValue>>);

/// Why text is not taken as an object.
pub(crate) enum Unreadable {
    /// It is no JSON object.
    Json(serde_json::Error),
    /// It has more than 100 members, or a name of more than 1 KiB.
    TooManyMembers,
}

impl RawObject {
    pub(crate) fn parse(text: &str) -> Result<RawObject, Unreadable> {
        let Members(members) = serde_json::from_str(text).map_err(Unreadable::Json)?;
        members.map(RawObject).ok_or(Unreadable::TooManyMembers)
    }
}

/// The members, or none if there are too many.
struct Members(Option<IndexMap<String, Box<RawValue>>>);

impl Deref for RawObject {
    type Target = IndexMap<String, Box<RawValue>>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for RawObject {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Members, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
        let mut members = IndexMap::new();
        let mut count = 0;
        while let Some(name) = map.next_key::<String>()? {
            count += 1;
            if count > MAX_MEMBERS || name.len() > MAX_NAME {
                while map.next_value::<IgnoredAny>().is_ok()
                    && map.next_key::<IgnoredAny>()?.is_some()
                {}
                return Ok(Members(None));
            }
            members.insert(name, map.next_value()?);
        }
        Ok(Members(Some(members)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_bounded() {
        let object = |members: usize| {
            let members: Vec<String> = (0..members).map(|n| format!("\"{n}\":[{n}]")).collect();
            format!("{{{}}}", members.join(","))
        };
        assert_eq!(RawObject::parse(&object(100)).ok().unwrap().len(), 100);
        let refused =
            |text: &str| matches!(RawObject::parse(text), Err(Unreadable::TooManyMembers));
        assert!(refused(&object(101)));
        assert!(refused(&format!("{{\"{}\":1}}", "x".repeat(2000))));
        // The same name again and again.
        assert!(refused(&format!("{{{}}}", vec!["\"a\":1"; 101].join(","))));
        for text in ["", "[]", "{\"a\"", &object(200)[..1500]] {
            assert!(
                matches!(RawObject::parse(text), Err(Unreadable::Json(_))),
                "{text}"
            );
        }
    }
}
