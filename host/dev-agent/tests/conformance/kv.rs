//! Keys as locks: holders, values, flags and indexes.

use serde_json::{Value, json};

use super::server::{NOBODY, everywhere};

#[test]
fn acquire_and_release() {
    everywhere(|server| {
        let key = server.prefix("acquire") + "k";
        let [one, two] = [(), ()].map(|()| server.create(r#"{"LockDelay":0}"#));
        let path = format!("/v1/kv/{key}");

        server
            .put(&format!("{path}?acquire={one}&flags=7"), "v")
            .is(200, "true");
        let entry = server.key(&key);
        assert_eq!(entry["LockIndex"], 1);
        assert_eq!(entry["Session"], json!(one));
        assert_eq!(
            (&entry["Value"], &entry["Flags"]),
            (&json!("dg=="), &json!(7))
        );

        server
            .put(&format!("{path}?acquire={two}"), "w")
            .is(200, "false");
        assert_eq!(server.key(&key), entry, "nothing changes");

        // Acquired again by the holder, with the same value and then with another.
        server
            .put(&format!("{path}?acquire={one}&flags=7"), "v")
            .is(200, "true");
        assert_eq!(
            server.key(&key),
            entry,
            "nothing changed, so no index moved"
        );
        server
            .put(&format!("{path}?acquire={one}"), "w")
            .is(200, "true");
        let again = server.key(&key);
        assert_eq!(
            (&again["LockIndex"], &again["Flags"]),
            (&json!(1), &json!(0))
        );
        assert!(again["ModifyIndex"].as_u64() > entry["ModifyIndex"].as_u64());
        assert_eq!(again["CreateIndex"], entry["CreateIndex"]);

        server
            .put(&format!("{path}?release={two}"), "")
            .is(200, "false");
        server
            .put(&format!("{path}?release={one}"), "")
            .is(200, "true");
        let released = server.key(&key);
        assert_eq!(released.get("Session"), None);
        assert_eq!(
            (&released["LockIndex"], &released["Value"]),
            (&json!(1), &Value::Null)
        );
        server
            .put(&format!("{path}?release={one}"), "")
            .is(200, "false");
        server
            .put(&format!("{path}x?release={one}"), "")
            .is(200, "false");

        server
            .put(&format!("{path}?acquire={two}"), "")
            .is(200, "true");
        assert_eq!(server.key(&key)["LockIndex"], 2);

        // A plain PUT keeps the holder and loses the LockIndex.
        server.put(&path, "plain").is(200, "true");
        let plain = server.key(&key);
        assert_eq!(
            (&plain["LockIndex"], &plain["Session"]),
            (&json!(0), &json!(two))
        );
        let index = plain["ModifyIndex"].clone();
        server.put(&format!("{path}?cas=1"), "x").is(200, "false");
        server
            .put(&format!("{path}?cas={index}"), "x")
            .is(200, "true");
        assert_eq!(server.key(&key)["Session"], json!(two));
        server
            .put(&format!("{path}?release={two}"), "")
            .is(200, "true");
        server
            .put(&format!("{path}?acquire={one}"), "")
            .is(200, "true");
        assert_eq!(server.key(&key)["LockIndex"], 1);

        server.delete(&path).is(200, "true");
        assert_eq!(server.key(&key), Value::Null);
        server
            .put(&format!("{path}?acquire={two}"), "")
            .is(200, "true");
        assert_eq!(server.key(&key)["LockIndex"], 1);
        server.destroy(&one);
        server.destroy(&two);
    });
}

#[test]
fn bad_sessions() {
    let malformed = "failed session lookup: index error: UUID must be 36 characters";
    everywhere(|server| {
        let path = format!("/v1/kv/{}k", server.prefix("bad-sessions"));
        server
            .put(&format!("{path}?acquire="), "")
            .is(500, "missing session");
        server
            .put(&format!("{path}?release="), "")
            .is(500, "missing session");
        server
            .put(&format!("{path}?acquire=x"), "")
            .is(500, malformed);
        server
            .put(&format!("{path}?release=x"), "")
            .is(200, "false");
        let unknown = format!("invalid session \"{NOBODY}\"");
        server
            .put(&format!("{path}?acquire={NOBODY}"), "")
            .is(500, &unknown);
        server
            .put(&format!("{path}?release={NOBODY}"), "")
            .is(200, "false");
    });
}

#[test]
fn an_upper_case_id_is_another_holder_of_the_same_session() {
    everywhere(|server| {
        let key = server.prefix("upper-case") + "k";
        let path = format!("/v1/kv/{key}");
        let id = server.create(r#"{"LockDelay":0}"#);
        let upper = id.to_uppercase();
        server
            .put(&format!("{path}?acquire={upper}"), "")
            .is(200, "true");
        assert_eq!(server.key(&key)["Session"], json!(upper));
        server
            .put(&format!("{path}?acquire={id}"), "")
            .is(200, "false");
        server
            .put(&format!("{path}?release={id}"), "")
            .is(200, "false");
        server.destroy(&id);
        assert_eq!(server.key(&key).get("Session"), None, "{}", server.name);
    });
}

#[test]
fn the_end_of_a_session_releases_or_deletes() {
    everywhere(|server| {
        let prefix = server.prefix("end");
        for (behavior, stays) in [("release", true), ("delete", false)] {
            let body = format!(r#"{{"Behavior":"{behavior}","LockDelay":"60s"}}"#);
            let id = server.create(&body);
            let next = server.create("");
            let key = format!("{prefix}{behavior}");
            let path = format!("/v1/kv/{key}");
            server
                .put(&format!("{path}?acquire={id}&flags=3"), "v")
                .is(200, "true");
            let held = server.key(&key);
            server.destroy(&id);
            let after = server.key(&key);
            assert_eq!(after != Value::Null, stays);
            if stays {
                assert_eq!(after.get("Session"), None);
                for same in ["LockIndex", "Value", "Flags", "CreateIndex"] {
                    assert_eq!(after[same], held[same]);
                }
                assert!(after["ModifyIndex"].as_u64() > held["ModifyIndex"].as_u64());
            }
            // During the lock-delay every acquisition fails, even that of an unknown session; a
            // plain PUT succeeds.
            server
                .put(&format!("{path}?acquire={next}"), "")
                .is(200, "false");
            server
                .put(&format!("{path}?acquire={NOBODY}"), "")
                .is(200, "false");
            assert_eq!(server.key(&key).get("Session"), None);
            server.put(&path, "plain").is(200, "true");
            server.destroy(&next);
        }
    });
}

#[test]
fn cas() {
    everywhere(|server| {
        let key = server.prefix("cas") + "k";
        let path = format!("/v1/kv/{key}");
        server.put(&format!("{path}?cas=1"), "a").is(200, "false");
        server.put(&format!("{path}?cas=0"), "a").is(200, "true");
        server.put(&format!("{path}?cas=0"), "b").is(200, "false");
        server.delete(&format!("{path}?cas=0")).is(200, "false");
        server.delete(&format!("{path}?cas=1")).is(200, "false");
        let index = server.key(&key)["ModifyIndex"].clone();
        server
            .delete(&format!("{path}?cas={index}"))
            .is(200, "true");
        server.delete(&format!("{path}?cas=0")).is(200, "true");
        server.delete(&format!("{path}?cas=5")).is(200, "true");
    });
}

#[test]
fn flags_are_exact() {
    everywhere(|server| {
        let key = server.prefix("flags") + "k";
        let path = format!("/v1/kv/{key}");
        server
            .put(&format!("{path}?flags={}", u64::MAX), "")
            .is(200, "true");
        assert_eq!(server.key(&key)["Flags"].as_u64(), Some(u64::MAX));
        let syntax = |text: &str| format!("strconv.ParseUint: parsing \"{text}\": invalid syntax");
        for text in ["abc", "", "-1", "+1"] {
            let sent = text.replace('+', "%2B");
            server
                .put(&format!("{path}?flags={sent}"), "")
                .is(500, &syntax(text));
            server
                .put(&format!("{path}?cas={sent}"), "")
                .is(500, &syntax(text));
        }
        server
            .delete(&format!("{path}?cas=abc"))
            .is(500, &syntax("abc"));
        let range = "strconv.ParseUint: parsing \"99999999999999999999\": value out of range";
        server
            .put(&format!("{path}?flags=99999999999999999999"), "")
            .is(500, range);
        assert_eq!(server.key(&key)["Flags"].as_u64(), Some(u64::MAX));
    });
}

#[test]
fn conflicting_flags() {
    everywhere(|server| {
        let path = format!("/v1/kv/{}k", server.prefix("conflicts"));
        for flags in [
            "acquire=x&cas=1",
            "acquire=x&release=y",
            "cas=1&release=y",
            "acquire=x&cas=1&release=y",
        ] {
            server
                .put(&format!("{path}?{flags}"), "")
                .is(400, &format!("Conflicting flags: {flags}"));
        }
        server
            .put(&format!("{path}?release=r&b=%2F+x&cas=2&dc=dc1&cas=~"), "")
            .is(
                400,
                "Conflicting flags: b=%2F+x&cas=2&cas=~&dc=dc1&release=r",
            );
        server
            .delete(&format!("{path}?cas=1&recurse"))
            .is(400, "Conflicting flags: cas=1&recurse=");
    });
}

#[test]
fn reading_many() {
    everywhere(|server| {
        let prefix = server.prefix("many");
        for key in ["a", "b/c", "b/d", "b/d/e"] {
            server
                .put(&format!("/v1/kv/{prefix}{key}"), key)
                .is(200, "true");
        }
        let keys = |query: &str| server.get(&format!("/v1/kv/{query}")).json();
        let all =
            |keys: &[&str]| -> Value { keys.iter().map(|key| format!("{prefix}{key}")).collect() };
        assert_eq!(
            keys(&format!("{prefix}?keys")),
            all(&["a", "b/c", "b/d", "b/d/e"])
        );
        assert_eq!(
            keys(&format!("{prefix}?keys&separator=/")),
            all(&["a", "b/"])
        );
        assert_eq!(
            keys(&format!("{prefix}?keys&separator=")),
            all(&["a", "b/c", "b/d", "b/d/e"])
        );
        assert_eq!(
            keys(&format!("{prefix}b/?keys&separator=/")),
            all(&["b/c", "b/d", "b/d/"])
        );
        let rows = keys(&format!("{prefix}b?recurse=false"));
        assert_eq!(rows.as_array().unwrap().len(), 3);
        for query in ["", "?recurse", "?keys", "?raw"] {
            let answer = server.get(&format!("/v1/kv/{prefix}none{query}"));
            assert!(answer.is(404, "").index() > 0);
        }
        server
            .delete(&format!("/v1/kv/{prefix}b?recurse"))
            .is(200, "true");
        assert_eq!(keys(&format!("{prefix}?keys")), all(&["a"]));
        server
            .delete(&format!("/v1/kv/{prefix}b?recurse"))
            .is(200, "true");
    });
}

#[test]
fn raw_and_empty_values() {
    everywhere(|server| {
        let key = server.prefix("raw") + "k";
        server
            .put(&format!("/v1/kv/{key}"), "some text\n")
            .is(200, "true");
        let raw = server.get(&format!("/v1/kv/{key}?raw"));
        assert_eq!((raw.status, raw.body.as_str()), (200, "some text\n"));
        assert!(raw.index() > 0);
        assert_eq!(raw.header("Content-Type"), Some("text/plain"));
        assert_eq!(raw.header("X-Content-Type-Options"), Some("nosniff"));
        server.put(&format!("/v1/kv/{key}"), "").is(200, "true");
        assert_eq!(server.key(&key)["Value"], Value::Null);
        server.get(&format!("/v1/kv/{key}?raw")).is(200, "");
        server
            .put_chunked(&format!("/v1/kv/{key}"), b"chunked")
            .is(200, "true");
        server.get(&format!("/v1/kv/{key}?raw")).is(200, "chunked");
    });
}

#[test]
fn one_index_for_all_and_a_key_s_own_for_reads() {
    everywhere(|server| {
        let prefix = server.prefix("index");
        let path = format!("/v1/kv/{prefix}");
        server.put(&format!("{path}a"), "1").is(200, "true");
        let id = server.create("");
        server.put(&format!("{path}b"), "1").is(200, "true");
        let a = server.get(&format!("{path}a"));
        let b = server.get(&format!("{path}b"));
        let session = server.get(&format!("/v1/session/info/{id}")).index();
        assert_eq!(a.index(), a.json()[0]["ModifyIndex"].as_u64().unwrap());
        assert!(a.index() < session && session < b.index());
        assert_eq!(server.get(&format!("{path}?recurse")).index(), b.index());
        assert_eq!(server.get(&format!("{path}a?recurse")).index(), a.index());
        // Writing the same value again changes no index.
        server.put(&format!("{path}b"), "1").is(200, "true");
        assert_eq!(server.get(&format!("{path}b")).index(), b.index());
        // A deletion changes the index of the prefix and of the missing key.
        server.delete(&format!("{path}b")).is(200, "true");
        let after = server.get(&format!("{path}?recurse")).index();
        assert!(after > b.index());
        assert_eq!(server.get(&format!("{path}b")).index(), after);
        server.destroy(&id);
    });
}

#[test]
fn keys_are_paths() {
    everywhere(|server| {
        let prefix = server.prefix("paths");
        server
            .put(&format!("/v1/kv/{prefix}a%2Fb"), "x")
            .is(200, "true");
        assert_ne!(server.key(&format!("{prefix}a/b")), Value::Null);
        server
            .put(&format!("/v1/kv/{prefix}x%20y%3F+%C3%A9"), "x")
            .is(200, "true");
        let key = format!("{prefix}x y?+\u{e9}");
        assert_eq!(
            server.key(&format!("{prefix}x%20y%3F%2B%C3%A9"))["Key"],
            json!(key)
        );
        server
            .put(&format!("/v1/kv/{prefix}dir/"), "")
            .is(200, "true");
        assert_eq!(
            server.key(&format!("{prefix}dir/"))["Key"],
            json!(format!("{prefix}dir/"))
        );
        for (path, cleaned) in [
            ("a//b", "a/b"),
            ("a%2F%2Fb", "a/b"),
            ("a/./b", "a/b"),
            ("a/../b", "b"),
            ("../paths/a%20b", "a%20b"),
        ] {
            let answer = server.put(&format!("/v1/kv/{prefix}{path}?flags=1"), "x");
            answer.is(301, "");
            let target = format!("/v1/kv/{prefix}{cleaned}?flags=1");
            assert_eq!(answer.header("Location"), Some(target.as_str()));
        }
        server
            .get("/v1/kv//a")
            .begins(301, "<a href=\"/v1/kv/a\">Moved Permanently</a>");
        server.get("/v1/kv/").is(400, "Missing key name");
        server.put("/v1/kv/", "").is(400, "Missing key name");
        server.delete("/v1/kv/").is(400, "Missing key name");
    });
}

#[test]
fn values_have_a_limit() {
    everywhere(|server| {
        let path = format!("/v1/kv/{}k", server.prefix("limit"));
        let value = vec![b'x'; 512 * 1024 + 1];
        let answer = server.put(&path, &value);
        answer.is(
            413,
            "Request body(524289 bytes) too large, max size: 524288 bytes. \
             See https://www.consul.io/docs/agent/options.html#kv_max_value_size.",
        );
        assert_eq!(answer.header("Connection"), Some("close"));
        server.put(&path, &value[1..]).is(200, "true");
        server.delete(&path).is(200, "true");
    });
}
