//! The suite on a loop that has nothing of `anyloop-core`: neither the trait nor the suite depend on it.

use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::rc::Rc;

use anyloop_api::{
    AnyProtocol, Bind, Connect, Error, EventLoopExt, Family, Protocol, ProtocolFactory, Sock,
};
use anyloop_conformance::clauses::EXC_01;
use anyloop_conformance::{Absence, Candidate, Case, Context, Failure, Outcome, run};

#[path = "foreign_loop/mod.rs"]
mod foreign_loop;

const NETWORK: &str = "it has no network of its own";
const SIGNALS: &str = "it handles no signals";
const JOBS: &str = "it starts a thread for each job, so that none waits for a worker";

/// What the loop over tokio leaves out.
const ABSENT: &[Absence] = &[
    Absence { what: "TR", reason: NETWORK },
    Absence { what: "FLOW", reason: NETWORK },
    Absence { what: "SRV", reason: NETWORK },
    Absence { what: "CONN", reason: NETWORK },
    Absence { what: "STREAM", reason: NETWORK },
    Absence { what: "UDP", reason: NETWORK },
    Absence { what: "UNIX", reason: NETWORK },
    Absence { what: "SENDFILE", reason: NETWORK },
    Absence { what: "TLS", reason: NETWORK },
    Absence { what: "SOCK", reason: "it has no operations of raw sockets" },
    Absence { what: "PIPE", reason: "it has no transports" },
    Absence { what: "SUB", reason: "it has no child processes" },
    Absence { what: "SIG", reason: SIGNALS },
    Absence { what: "DNS", reason: "it resolves no names" },
    Absence { what: "FORK", reason: "tokio does not survive a fork" },
    // What other families ask of the same facilities.
    Absence { what: "CANCEL-20::the_descriptor_is_gone_first", reason: NETWORK },
    Absence { what: "CTX-04::watchers_too", reason: SIGNALS },
    Absence { what: "CTX-05", reason: NETWORK },
    Absence { what: "CTX-06", reason: NETWORK },
    Absence { what: "CTX-08::of_watchers_and_signal_handlers_too", reason: SIGNALS },
    Absence { what: "DBG-02", reason: "it does not time its callbacks" },
    Absence { what: "DBG-05", reason: NETWORK },
    Absence { what: "DBG-06", reason: "it does not time its callbacks" },
    Absence { what: "DBG-08", reason: "it keeps no list of its timers" },
    Absence { what: "EXC-07::protocols_carry_themselves", reason: NETWORK },
    Absence { what: "EXC-07::endpoints_and_children_are_named", reason: NETWORK },
    Absence { what: "EXC-07::signal_handlers_carry_one", reason: SIGNALS },
    Absence { what: "EXC-08::a_reset_is_no_news", reason: NETWORK },
    Absence { what: "EXEC-02::as_many_run_as_there_are_workers", reason: JOBS },
    Absence { what: "EXEC-02::jobs_queue_in_order", reason: JOBS },
    Absence { what: "EXEC-04::cancelled_before_the_start_it_never_runs", reason: JOBS },
    Absence { what: "EXEC-04::cancelling_the_awaiting_task_cancels_the_job", reason: JOBS },
    Absence { what: "EXEC-07::workers_share_a_prefix", reason: JOBS },
    Absence { what: "FD-07", reason: NETWORK },
    Absence { what: "FD-09::an_error_wakes_both", reason: "tokio tells it to the writer only" },
    Absence { what: "FD-15::somebody_else_reads_first", reason: NETWORK },
    Absence { what: "FUT-20::cancelling_reaches_the_job", reason: JOBS },
    Absence { what: "LIFE-18::data_that_interrupts_goes_before_resuming", reason: NETWORK },
    Absence { what: "LIFE-18::a_datagram_that_interrupts_goes_before_resuming", reason: NETWORK },
    Absence { what: "LIFE-18::an_error_that_interrupts_ends_the_flush", reason: NETWORK },
    Absence { what: "LIFE-18::resuming_that_interrupts_goes_before_the_rest", reason: NETWORK },
    Absence { what: "LIFE-18::newcomers_wait_for_the_next_run", reason: NETWORK },
    Absence { what: "LIFE-18::an_answer_that_interrupts_goes_before_the_data", reason: NETWORK },
    Absence { what: "LIFE-22::signal_handlers_are_removed", reason: SIGNALS },
    Absence { what: "LIFE-22::also_when_their_destructors_misbehave", reason: SIGNALS },
    Absence { what: "LIFE-24::its_transports_end_without_a_word", reason: NETWORK },
    Absence { what: "LIFE-25::known_to_protocols_and_signal_handlers", reason: NETWORK },
    Absence { what: "RUN-09", reason: SIGNALS },
    Absence { what: "RUN-10", reason: SIGNALS },
    Absence { what: "RUN-11::cancelled_for_another_reason_too", reason: SIGNALS },
    Absence { what: "RUN-12", reason: SIGNALS },
    Absence { what: "SCHED-04::signals_get_their_turn", reason: SIGNALS },
];

const OWN: &[Case] = &[Case::new(EXC_01, "what_is_left_out_says_so", what_is_left_out_says_so)];

/// The methods that it leaves out fail with their own name and that of the backend.
fn what_is_left_out_says_so(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let factory: ProtocolFactory = Rc::new(|| AnyProtocol::plain(Nobody));
    let sock = Sock::new(UnixStream::pair()?.0)?;
    let said = lp.run_until_complete({
        let lp = lp.clone();
        async move {
            [
                lp.resolve(None, None, Family::Unspecified).await.err(),
                lp.create_connection(factory.clone(), Connect::to("localhost", 1)).await.err(),
                lp.create_server(factory, Bind::to("localhost", 0)).await.err(),
                lp.sock_recv(&sock, 1).await.err(),
                lp.sock_sendall(&sock, vec![1]).await.0.err(),
            ]
        }
    })?;
    let operations = ["resolve", "create_connection", "create_server", "sock_recv", "sock_sendall"];
    for (operation, error) in operations.into_iter().zip(said) {
        let expected = format!("{operation}: the event loop \"tokio\" does not have it");
        match error {
            Some(Error::Usage(text)) if text.as_ref() == expected => {}
            other => return Err(Failure::new(format!("expected {expected:?}, found {other:?}"))),
        }
    }
    Ok(())
}

struct Nobody;

impl Protocol for Nobody {}

fn main() -> ExitCode {
    run(&[Candidate::from(&foreign_loop::DESCRIPTOR).without(ABSENT).with_cases(OWN)])
}
