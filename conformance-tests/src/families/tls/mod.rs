//! TLS, over whatever transports a loop has: both ends on loops, and against peers that block.

mod data;
mod flow;
mod handshake;
mod names;
mod scripts;
mod shutdown;
mod upgrade;

use std::net::TcpStream;

use anyloop::tls::{self, ClientTls, ServerTls};
use anyloop_api::{AnyProtocol, Connect, Transport};

use self::data::*;
use self::flow::*;
use self::handshake::*;
use self::names::*;
use self::scripts::*;
use self::shutdown::*;
use self::upgrade::*;
use super::prelude::*;
use crate::tools::{Authority, Record, tcp_pair};

cases! {
    TLS_01 => made_when_the_handshake_is_done, on_a_server_too, over_local_sockets_too;
    TLS_02 => a_certificate_that_is_not_trusted, the_peer_is_told_why, a_peer_that_speaks_no_tls,
        a_server_goes_on;
    TLS_03 => no_time_is_refused, a_silent_server_is_given_up, a_silent_client_is_given_up;
    TLS_04 => a_peer_that_goes_away, a_peer_that_resets, a_peer_that_had_ended_before;
    TLS_05 => cancelled_in_the_handshake, cancelled_at_any_step, the_timer_is_freed;
    TLS_06 => close_sends_everything_and_waits, a_peer_that_does_not_answer,
        a_peer_that_takes_nothing, a_peer_that_goes_on_sending, a_peer_that_answers_with_nonsense;
    TLS_07 => everything_before_the_close_notify, a_stream_without_close_notify,
        what_is_queued_is_still_sent;
    TLS_08 => a_true_answer_changes_nothing, there_is_no_half_close;
    TLS_09 => lost_once_whatever_happens, a_write_error_wakes_who_drains,
        a_panic_ends_the_connection;
    TLS_10 => the_marks_are_larger, paused_above_and_resumed_below, with_marks_of_zero,
        reading_below_is_paused;
    TLS_11 => nothing_while_paused, closing_while_paused, the_end_waits_while_paused,
        resumed_while_a_file_is_sent;
    TLS_12 => the_same_protocol_goes_on, early_bytes_are_not_lost, nothing_before_the_caller_knows,
        dropped_before_it_is_awaited, another_protocol_ends_the_handshake,
        closing_the_loop_ends_it_quietly;
    TLS_13 => pipes_are_refused, closing_transports_are_refused, a_failure_closes_the_transport;
    TLS_14 => paused_before_resumed_after, queued_but_not_paused;
    TLS_15 => a_layer_over_a_layer, over_tls_from_the_beginning, the_outer_layer_ends_first;
    TLS_16 => writes_after_close_vanish, large_and_small_writes_in_order,
        any_order_at_both_ends;
    TLS_17 => the_host_is_asked_for, another_name_is_asked_for, nobody_is_asked_for,
        needed_where_no_host_is_given;
    TLS_18 => facts_of_the_session, certificates_of_clients, the_context_is_there_from_the_start;
    TLS_19 => aborted_in_the_handshake, aborted_in_the_shutdown;
    TLS_20 => every_byte_into_buffers, pausing_between_buffers, an_empty_buffer_is_an_error;
}

/// What a creating call gives.
type Made = anyloop_api::Result<(Transport, AnyProtocol)>;

/// A blocking peer on a thread of its own.
type Peer<T> = thread::JoinHandle<std::io::Result<T>>;

/// A client over a connected socket, in its handshake.
fn dial(
    lp: &LoopRef,
    protocol: AnyProtocol,
    socket: TcpStream,
    tls: impl Into<ClientTls>,
) -> Result<Task<Made>, Failure> {
    let factory = Rc::new(move || protocol.clone());
    let connecting = tls::create_connection(lp, factory, Connect::socket(socket), tls);
    Ok(lp.create_task(connecting)?)
}

/// A server over a connected socket, in its handshake.
fn accept(
    lp: &LoopRef,
    protocol: AnyProtocol,
    socket: TcpStream,
    tls: impl Into<ServerTls>,
) -> Result<Task<Made>, Failure> {
    let factory = Rc::new(move || protocol.clone());
    Ok(lp.create_task(tls::connect_accepted_socket(lp, factory, socket, tls))?)
}

/// The transport that the call gives.
fn made(lp: &LoopRef, task: &Task<Made>) -> Result<Transport, Failure> {
    Ok(lp.run_until_done(task)??.0)
}

/// Both ends on one loop: the client's transport, then the server's.
fn connected(
    lp: &LoopRef,
    authority: &Authority,
    client: &Record,
    server: &Record,
) -> Result<(Transport, Transport), Failure> {
    let (near, far) = tcp_pair()?;
    let accepting = accept(lp, server.plain(), far, authority.server()?)?;
    let dialling = dial(lp, client.plain(), near, authority.client()?)?;
    Ok((made(lp, &dialling)?, made(lp, &accepting)?))
}

/// A socket pair: one for a loop, one for a thread that blocks.
fn half_blocking() -> Result<(TcpStream, TcpStream), Failure> {
    let (near, far) = tcp_pair()?;
    far.set_nonblocking(false)?;
    Ok((near, far))
}

/// The error of a task that must have failed.
fn failure(lp: &LoopRef, task: &Task<Made>) -> Result<Error, Failure> {
    match lp.run_until_done(task)? {
        Ok(_) => Err(Failure::new("the call succeeded")),
        Err(error) => Ok(error),
    }
}

/// Runs `lp` until another thread has come to its end.
fn until_finished<T>(lp: &LoopRef, thread: thread::JoinHandle<T>) -> Result<T, Failure> {
    while !thread.is_finished() {
        run_for(lp, ms(1))?;
    }
    join(thread)
}
