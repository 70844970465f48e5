//! The cases: one module per family, named as the family, listed here.

mod agen;
mod bar;
mod cancel;
mod cancel_caught;
mod comb;
mod cond;
mod conn;
mod ctx;
mod dbg;
mod dns;
mod eager;
mod event;
mod exc;
mod exec;
mod fd;
mod flow;
mod fork;
mod fut;
mod life;
mod lock;
mod pipe;
mod pol;
mod prelude;
mod queue;
mod run;
mod sched;
mod sem;
mod sendfile;
mod sig;
mod sock;
mod srv;
mod stream;
mod sub;
mod task;
mod tg;
mod thr;
mod timer;
mod tls;
mod tmo;
mod tr;
mod udp;
mod unix;

use crate::case::Case;

/// The tables of all families that have cases, in the contract's order.
pub(crate) const FAMILIES: &[&[Case]] = &[
    life::CASES,
    sched::CASES,
    thr::CASES,
    timer::CASES,
    fut::CASES,
    task::CASES,
    cancel::CASES,
    cancel_caught::CASES,
    eager::CASES,
    ctx::CASES,
    comb::CASES,
    tmo::CASES,
    tg::CASES,
    run::CASES,
    run::CTRL_C,
    lock::CASES,
    event::CASES,
    cond::CASES,
    sem::CASES,
    bar::CASES,
    queue::CASES,
    fd::CASES,
    sock::CASES,
    tr::CASES,
    flow::CASES,
    srv::CASES,
    conn::CASES,
    udp::CASES,
    unix::CASES,
    pipe::CASES,
    stream::READER,
    stream::SCRIPTS,
    stream::BACKPRESSURE,
    stream::ENDING,
    stream::SERVER,
    stream::TLS,
    stream::PIPES,
    sub::CASES,
    sig::CASES,
    exec::CASES,
    dns::CASES,
    exc::CASES,
    dbg::CASES,
    sendfile::CASES,
    tls::CASES,
    pol::CASES,
    fork::CASES,
    agen::CASES,
];
