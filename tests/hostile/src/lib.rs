//! A component that attacks its sandbox. `action.run` takes an object with the name of a `trick` and an `argument`,
//! usually a URL. The field `text` of the result is what the trick obtained. Errors are plain text instead of JSON.

#[cfg(all(target_arch = "wasm32", feature = "embedded"))]
mod embedded;

#[cfg(all(target_arch = "wasm32", not(feature = "embedded")))]
mod bindings {
    #![allow(missing_docs, unreachable_pub, unused_qualifications, clippy::all)]
    // Without locks, like a component of version 0.1 of the package.
    wit_bindgen::generate!({
        path: "../../wit",
        world: "test:hostile/plugin",
        inline: "
            package test:hostile;
            world plugin {
                import wasi:http/outgoing-handler@0.2.6;
                export consul:session/types@0.2.0;
                export consul:session/sessions@0.2.0;
                export consul:session/action@0.2.0;
            }
        ",
        generate_all,
    });
}

#[cfg(target_arch = "wasm32")]
mod tricks;

#[cfg(all(target_arch = "wasm32", not(feature = "embedded")))]
mod plugin {
    use crate::bindings::exports::consul::session::{action, sessions, types};
    use crate::bindings::wasi::http::outgoing_handler::handle;
    use crate::bindings::wasi::http::types::{
        Fields, Method, OutgoingBody, OutgoingRequest, Scheme,
    };
    use crate::tricks::Trick;
    use types::{Ensured, OnDifference};

    struct Hostile;

    crate::bindings::export!(Hostile with_types_in crate::bindings);

    impl action::Guest for Hostile {
        fn run(params: String) -> Result<String, String> {
            let params: serde_json::Value =
                serde_json::from_str(&params).map_err(|error| error.to_string())?;
            let text = |name: &str| params[name].as_str().unwrap_or_default();
            let argument = text("argument");
            // These two return values do not follow the interface.
            let trick = Trick::named(text("trick")).ok_or("no such trick")?;
            if trick == Trick::Fail {
                let (word, count) = argument.split_once(' ').unwrap_or_default();
                return Err(word.repeat(count.parse().unwrap_or(0)));
            }
            if trick == Trick::Answer {
                return Ok("x".repeat(argument.parse().unwrap_or(0)));
            }
            let result = play(trick, argument)?;
            Ok(serde_json::json!({"changed": false, "text": result}).to_string())
        }
    }

    fn play(trick: Trick, argument: &str) -> Result<String, String> {
        match trick {
            Trick::Spin => loop {
                std::hint::black_box(());
            },
            Trick::Grow => grow(),
            Trick::Recurse => Ok(recurse(1).to_string()),
            Trick::Trap => std::process::abort(),
            Trick::Get => request(Method::Get, argument, None),
            Trick::Delete => request(Method::Delete, argument, None),
            Trick::Put => request(Method::Put, argument, None),
            Trick::Token => request(Method::Get, argument, Some(("x-consul-token", "stolen"))),
            Trick::Authorization => request(
                Method::Get,
                argument,
                Some(("authorization", "Bearer stolen")),
            ),
            Trick::Host => request(Method::Get, argument, Some(("host", "elsewhere"))),
            Trick::Flood => loop {
                // The host allows each request, so only the deadline ends the loop.
                let _ = request(Method::Get, argument, None);
            },
            Trick::Write => {
                let _ = request(Method::Put, argument, None);
                let _ = request(Method::Get, argument, None);
                std::process::abort()
            }
            Trick::Hoard => hoard(argument),
            Trick::Headers => headers(),
            Trick::Resources => Ok(hold_resources()),
            Trick::Unfinished => unfinished(argument),
            other => Err(format!("`{}` is for the other world", other.name())),
        }
    }

    fn grow() -> ! {
        let mut all = Vec::new();
        loop {
            all.push(vec![1_u8; 1 << 20]);
            std::hint::black_box(&all);
        }
    }

    #[expect(unconditional_recursion, reason = "the trick is to exhaust the stack")]
    fn recurse(depth: u64) -> u64 {
        let here = std::hint::black_box([depth; 64]);
        recurse(depth + 1) + here[0]
    }

    /// Sends requests without reading the responses.
    fn hoard(url: &str) -> Result<String, String> {
        let mut all = Vec::new();
        for _ in 0..10_000 {
            all.push(begin(Method::Get, url, None)?);
        }
        Ok(format!("{} requests at once", all.len()))
    }

    /// Keeps resources of the host.
    fn hold_resources() -> String {
        let all: Vec<Fields> = (0..1_000_000).map(|_| Fields::new()).collect();
        format!("{} resources", all.len())
    }

    /// Sends requests that a server may answer before they end, and never ends them.
    fn unfinished(url: &str) -> Result<String, String> {
        let mut all = Vec::new();
        for number in 0..1_000 {
            let request = prepare(Method::Put, url, None)?;
            let body = request.body().map_err(|()| "no body")?;
            let stream = body.write().map_err(|()| "no stream")?;
            let response = handle(request, None)
                .map_err(|code| format!("after {number} requests: {code:?}"))?;
            response.subscribe().block();
            match response.get() {
                Some(Ok(Ok(incoming))) => all.push((stream, body, incoming)),
                other => return Err(format!("after {number} requests: {other:?}")),
            }
        }
        Ok(format!("{} requests without an end", all.len()))
    }

    fn headers() -> Result<String, String> {
        let fields = Fields::new();
        for number in 0..1_000_000 {
            fields
                .append(&format!("x-{number}"), &[b'x'; 1000])
                .map_err(|error| format!("after {number}: {error:?}"))?;
        }
        Ok("a gigabyte of headers".to_owned())
    }

    fn request(method: Method, url: &str, header: Option<(&str, &str)>) -> Result<String, String> {
        let response = begin(method, url, header)?;
        response.subscribe().block();
        match response.get() {
            Some(Ok(Ok(incoming))) => {
                let mut text = format!("{} ", incoming.status());
                let body = incoming.consume().map_err(|()| "no body".to_owned())?;
                let stream = body.stream().map_err(|()| "no stream".to_owned())?;
                while let Ok(chunk) = stream.blocking_read(1 << 16) {
                    text.push_str(&String::from_utf8_lossy(&chunk));
                }
                Ok(text)
            }
            other => Err(format!("{other:?}")),
        }
    }

    fn begin(
        method: Method,
        url: &str,
        header: Option<(&str, &str)>,
    ) -> Result<crate::bindings::wasi::http::types::FutureIncomingResponse, String> {
        let request = prepare(method, url, header)?;
        if let Ok(body) = request.body() {
            let _ = OutgoingBody::finish(body, None);
        }
        handle(request, None).map_err(|code| format!("{code:?}"))
    }

    fn prepare(
        method: Method,
        url: &str,
        header: Option<(&str, &str)>,
    ) -> Result<OutgoingRequest, String> {
        let fields = Fields::new();
        if let Some((name, value)) = header {
            fields
                .append(name, value.as_bytes())
                .map_err(|error| format!("header: {error:?}"))?;
        }
        let (scheme, rest) = url.split_once("://").ok_or("no scheme")?;
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let request = OutgoingRequest::new(fields);
        let refused = |what: &str| format!("{what} refused");
        request
            .set_method(&method)
            .map_err(|()| refused("method"))?;
        let scheme = if scheme == "https" {
            Scheme::Https
        } else {
            Scheme::Http
        };
        request
            .set_scheme(Some(&scheme))
            .map_err(|()| refused("scheme"))?;
        request
            .set_authority(Some(authority))
            .map_err(|()| refused("authority"))?;
        request
            .set_path_with_query(Some(&format!("/{path}")))
            .map_err(|()| refused("path"))?;
        Ok(request)
    }

    impl sessions::Guest for Hostile {
        fn create(_: types::Agent, _: types::NewSession) -> Result<String, types::Error> {
            std::process::abort()
        }
        fn destroy(_: types::Agent, _: String) -> Result<(), types::Error> {
            std::process::abort()
        }
        fn info(_: types::Agent, _: String) -> Result<Option<types::Session>, types::Error> {
            std::process::abort()
        }
        fn node(_: types::Agent, _: String) -> Result<types::Listing, types::Error> {
            std::process::abort()
        }
        fn list(_: types::Agent) -> Result<types::Listing, types::Error> {
            std::process::abort()
        }
        fn renew(_: types::Agent, _: String) -> Result<types::Session, types::Error> {
            std::process::abort()
        }
        fn ensure(
            _: types::Agent,
            _: types::NewSession,
            _: OnDifference,
        ) -> Result<Ensured, types::Error> {
            std::process::abort()
        }
        fn remove(
            _: types::Agent,
            _: String,
            _: Option<String>,
        ) -> Result<Vec<String>, types::Error> {
            std::process::abort()
        }
    }
}
