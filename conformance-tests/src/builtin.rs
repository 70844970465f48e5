//! The backends of anyloop as candidates, and each of them with its fallbacks forced.

use std::time::Duration;

use anyloop_api::LoopConfig;

use crate::candidate::Candidate;

/// Every backend the facade knows: ours, by feature, and those that were registered.
#[must_use]
pub fn builtin() -> Vec<Candidate> {
    anyloop::backends().into_iter().map(Candidate::from).collect()
}

/// The backends of anyloop with their fallbacks forced, one at a time, and with sizes so small that
/// what is rare becomes common: `uring-no-recv`, `mio-events-1`.
#[must_use]
pub fn builtin_variants() -> Vec<Candidate> {
    builtin().iter().flat_map(variants).collect()
}

/// Name of the variant and value of the backend's variable.
type Words = &'static [(&'static str, &'static str)];

const MIO: Words = &[
    ("portable-wait", "portable-wait"),
    ("no-pwait2", "no-pwait2"),
    ("no-timer-slack", "no-timer-slack"),
    ("events-1", "events=1"),
];

const POLLING: Words = &[
    ("portable-wait", "portable-wait"),
    ("no-pwait2", "no-pwait2"),
    ("no-timer-slack", "no-timer-slack"),
    ("level", "level"),
    ("events-1", "events=1"),
];

const URING: Words = &[
    ("no-accept", "no-accept"),
    ("no-recv", "no-recv"),
    ("no-send", "no-send"),
    ("no-silent-send", "no-silent-send"),
    ("no-multishot-accept", "no-multishot-accept"),
    ("no-multishot-recv", "no-multishot-recv"),
    ("no-buffer-ring", "no-buffer-ring"),
    ("no-incremental", "no-incremental"),
    ("no-single-issuer", "no-single-issuer"),
    ("no-defer", "no-defer"),
    ("sqarray", "sqarray"),
    ("no-ext-arg", "no-ext-arg"),
    ("no-registered-ring", "no-registered-ring"),
    ("poll-before-accept", "poll-before-accept"),
    ("tiny-buffers", "buffers=2,buffer-size=16"),
    ("tiny-sq", "sq=2"),
    ("tiny-cq", "sq=2,cq=4"),
    ("bare", "no-accept,no-recv,no-send,no-single-issuer,no-ext-arg"),
];

fn variants(candidate: &Candidate) -> Vec<Candidate> {
    let (variable, words) = match candidate.name() {
        "mio" => ("ANYLOOP_MIO", MIO),
        "polling" => ("ANYLOOP_POLLING", POLLING),
        "uring" => ("ANYLOOP_URING", URING),
        _ => return Vec::new(),
    };
    let poll_always = LoopConfig::default().poll_every_iteration(true);
    let child_threads = LoopConfig::default().child_threads(true);
    let recvmmsg_fallback = LoopConfig::default().recvmmsg_fallback(true);
    let sendfile_fallback = LoopConfig::default().sendfile_fallback(true);
    let spin = LoopConfig::default().spin(Duration::from_micros(50));
    let mut variants = vec![
        candidate.variant("poll-always", &[]).config(poll_always),
        candidate.variant("child-threads", &[]).config(child_threads),
        candidate.variant("recvmmsg-fallback", &[]).config(recvmmsg_fallback),
        candidate.variant("sendfile-fallback", &[]).config(sendfile_fallback),
        candidate.variant("spin", &[]).config(spin),
    ];
    let forced =
        |(name, words): &(&str, &'static str)| candidate.variant(name, &[(variable, *words)]);
    variants.extend(words.iter().map(forced));
    variants
}
