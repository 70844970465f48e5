//! Raw socket operations.

mod cancelling;
mod connecting;
mod datagrams;
mod scripts;
mod streams;
mod together;

use std::future::{Future, poll_fn};
use std::task::Poll;

use anyloop_api::{Sock, Type};

use self::cancelling::*;
use self::connecting::*;
use self::datagrams::*;
use self::scripts::*;
use self::streams::*;
use self::together::*;
use super::prelude::*;

cases! {
    SOCK_01 => a_receive_gives_what_there_is, the_end_of_the_stream_is_empty,
        into_a_buffer_of_the_callers, from_loop_to_loop;
    SOCK_02 => nothing_is_received_at_once;
    SOCK_03 => what_is_there_needs_no_suspension;
    SOCK_04 => a_blocking_socket_is_made_nonblocking, or_refused_in_debug_mode;
    SOCK_05 => everything_is_sent_in_order, or_it_fails;
    SOCK_06 => sending_nothing_succeeds;
    SOCK_07 => a_connection_is_made, a_refusal_names_the_address;
    SOCK_08 => names_are_resolved_for_the_sockets_family, a_malformed_address_is_refused;
    SOCK_09 => accepted_sockets_are_fit_for_use;
    SOCK_10 => a_cancelled_receive_loses_no_byte, also_when_cancelled_again_and_again,
        in_any_order_with_others, what_timed_out_and_was_kept_goes_on;
    SOCK_11 => a_cancelled_accept_loses_no_connection;
    SOCK_12 => a_cancelled_recvfrom_loses_no_datagram, a_cancelled_recvmmsg_loses_none,
        a_returned_buffer_is_left_alone;
    SOCK_13 => in_the_same_step_after_a_cancellation;
    SOCK_14 => a_cancelled_sendall_sends_no_more;
    SOCK_15 => closed_and_used_again_after_a_cancellation;
    SOCK_16 => a_freed_buffer_is_not_sent;
    SOCK_17 => one_receive_and_one_send_may_be_pending, a_second_one_is_refused;
    SOCK_18 => a_transport_gets_a_socket_that_nobody_uses;
    SOCK_19 => dropped_in_flight;
    SOCK_20 => a_reset_reaches_the_receiver, one_that_nobody_waits_for_costs_nothing,
        what_the_system_refuses_is_told;
    SOCK_21 => datagrams_keep_their_bounds, long_ones_are_cut_and_empty_ones_come,
        several_datagrams_at_once;
    SOCK_22 => one_datagram_per_sendto, a_closed_port_wedges_nothing;
    SOCK_23 => signals_interrupt_nothing;
    SOCK_24 => connecting_again_is_told, a_connect_in_progress_is_waited_for, paths_are_addresses;
    SOCK_25 => megabytes_both_ways_at_once, a_hundred_connections_echo;
}

/// Runs a case's body as a task.
fn run<T: 'static>(
    lp: &LoopRef,
    body: impl Future<Output = Result<T, Failure>> + 'static,
) -> Result<T, Failure> {
    lp.run_until_complete(body)?
}

/// Two connected sockets, local and streaming.
fn pair() -> Result<(Sock, Sock), Error> {
    Sock::pair(Type::STREAM)
}

/// Receives exactly so many bytes.
async fn receive(lp: &LoopRef, sock: &Sock, count: usize) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    while bytes.len() < count {
        let more = lp.sock_recv(sock, count - bytes.len()).await?;
        ensure!(!more.is_empty(), "the stream ended after {} of {count} bytes", bytes.len());
        bytes.extend(more);
    }
    Ok(bytes)
}

/// Receives until the end of the stream.
async fn receive_all(lp: &LoopRef, sock: &Sock) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    loop {
        let more = lp.sock_recv(sock, 100_000).await?;
        if more.is_empty() {
            return Ok(bytes);
        }
        bytes.extend(more);
    }
}

/// Polls once.
async fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    poll_fn(|cx| Poll::Ready(std::pin::Pin::new(&mut *future).poll(cx))).await
}

/// Yields so often that whatever is ready has been noticed.
async fn idle() {
    for _ in 0..100 {
        yield_now().await;
    }
}
