//! Random input. It is the same on every run, so that failures are reproducible.
//! `PROPTEST_RNG_SEED` selects other input, `PROPTEST_CASES` the number of cases.

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestRunner};

#[track_caller]
pub fn check<S: Strategy>(
    cases: u32,
    input: &S,
    test: impl Fn(S::Value) -> Result<(), TestCaseError>,
) {
    let asked = Config::default();
    let config = Config {
        failure_persistence: None,
        cases: if std::env::var_os("PROPTEST_CASES").is_some() {
            asked.cases
        } else {
            cases
        },
        rng_seed: match asked.rng_seed {
            RngSeed::Random => RngSeed::Fixed(1),
            fixed @ RngSeed::Fixed(_) => fixed,
        },
        ..asked
    };
    if let Err(error) = TestRunner::new(config).run(input, test) {
        panic!("{error}");
    }
}
