//! Every file of the corpus, which contains what fuzzing found, is an input that must hold.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::path::Path;

#[test]
fn every_input_of_the_corpus_holds() {
    for (name, holds) in [
        ("parameters", consul_session_fuzz::parameters as fn(&[u8])),
        ("answers", consul_session_fuzz::answers),
        ("addresses", consul_session_fuzz::addresses),
        ("durations", consul_session_fuzz::durations),
        ("policy", consul_session_fuzz::policy),
        ("redaction", consul_session_fuzz::redaction),
    ] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("corpus")
            .join(name);
        let mut count = 0;
        for file in fs::read_dir(&folder).unwrap() {
            let file = file.unwrap().path();
            let input = fs::read(&file).unwrap();
            let held = std::panic::catch_unwind(|| holds(&input));
            assert!(held.is_ok(), "{}", file.display());
            count += 1;
        }
        assert!(count > 0, "{}", folder.display());
    }
}
