//! The suite that every driver passes, with each feature off and on the smallest rings.

use anyloop_uring::{Config, UringDriver};
use libtest_mimic::Trial;

use crate::common::trial;

fn driver(words: &str) -> impl Fn() -> UringDriver {
    let config = Config::from_env_value(words).expect("known words");
    move || UringDriver::new(&config).expect("a driver")
}

const SUITES: &[(&str, &str)] = &[
    ("default", ""),
    ("no_accept", "no-accept"),
    ("no_recv", "no-recv"),
    ("no_send", "no-send"),
    ("no_silent_send", "no-silent-send"),
    ("no_pread", "no-pread"),
    ("no_multishot_accept", "no-multishot-accept"),
    ("no_multishot_recv", "no-multishot-recv"),
    ("no_buffer_ring", "no-buffer-ring"),
    ("no_incremental", "no-incremental"),
    ("no_single_issuer", "no-single-issuer"),
    ("no_defer", "no-defer"),
    ("no_ext_arg", "no-ext-arg"),
    ("no_registered_ring", "no-registered-ring"),
    ("sqarray", "sqarray"),
    ("poll_before_accept", "poll-before-accept"),
    ("tiny_buffers", "buffers=2,buffer-size=16"),
    ("tiny_plain_buffers", "buffers=4,buffer-size=64,no-incremental"),
    ("tiny_rings", "sq=2,cq=4"),
    ("tiny_everything", "sq=2,cq=4,buffers=2,buffer-size=16"),
    (
        "everything_off",
        "no-accept no-recv no-send no-single-issuer no-ext-arg no-registered-ring sqarray",
    ),
];

pub(crate) fn trials() -> Vec<Trial> {
    let suite = |&(name, words): &(&'static str, &'static str)| {
        let cases = anyloop_core::driver_tests!(trials: driver(words));
        let path = concat!(module_path!(), "::");
        cases.into_iter().map(move |(case, test)| trial(&format!("{path}{name}::{case}"), test))
    };
    SUITES.iter().flat_map(suite).collect()
}
