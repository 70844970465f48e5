//! Servers and accepting.

mod accepting;
mod binding;
mod exhaustion;
mod serving;
mod waiting;

use std::net::{SocketAddr, TcpListener};

use anyloop_api::{Bind, Server};

use self::accepting::*;
use self::binding::*;
use self::exhaustion::*;
use self::serving::*;
use self::waiting::*;
use super::prelude::*;
use crate::tools::Record;

cases! {
    SRV_01 => contradictions_are_refused, before_any_socket_exists;
    SRV_02 => no_host_means_every_interface, an_empty_host_means_every_interface,
        also_beside_another_host,
        an_asterisk_means_every_interface, also_with_the_name_of_a_service;
    SRV_03 => each_host_is_bound, an_address_given_twice_is_bound_once;
    SRV_04 => both_families_share_a_port;
    SRV_05 => port_zero_is_visible, no_port_is_port_zero, every_address_has_its_own;
    SRV_06 => addresses_are_used_again, not_if_switched_off, ports_are_shared_on_request,
        connections_are_kept_alive_on_request;
    SRV_07 => one_failure_undoes_all_and_is_named;
    SRV_08 => a_missing_address_is_skipped, unless_it_is_the_only_one;
    SRV_09 => bound_but_not_listening, never_served_and_dropped;
    SRV_10 => serving_on_return, starting_twice_is_starting_once, all_addresses_or_none,
        a_closed_server_does_not_start;
    SRV_11 => forever_serves_until_cancelled, forever_waits_for_the_connections,
        idle_clients_do_not_hold_up_its_end, dropped_it_may_begin_again,
        forever_is_for_one_at_a_time, forever_is_not_for_a_closed_server;
    SRV_12 => close_refuses_newcomers_and_spares_the_rest, close_ends_serve_forever,
        the_address_is_free_at_once, close_is_idempotent;
    SRV_13 => a_closed_server_shows_nothing;
    SRV_14 => waits_for_the_last_connection, waits_for_close, at_once_if_both_hold,
        everybody_who_waits_is_told, giving_up_the_wait_changes_nothing,
        a_waiter_may_end_inside_close, a_factory_that_closes_is_waited_for;
    SRV_15 => clients_are_closed_gracefully, clients_are_aborted, idle_clients_take_two_iterations;
    SRV_16 => leaving_the_scope_closes_and_waits, also_when_cancelled, also_after_a_panic;
    SRV_17 => one_call_of_the_factory_each, a_failing_factory_costs_one_connection,
        a_thousand_at_once;
    SRV_18 => a_flood_is_taken_in_portions;
    SRV_19 => a_vanished_peer_is_passed_over;
    SRV_20 => exhaustion_is_reported_once_and_survived;
    SRV_21 => closed_while_resting;
    SRV_22 => closed_while_accepting, closed_by_the_first_of_many,
        closed_by_one_while_others_wait;
    SRV_23 => accepted_sockets_are_nonblocking_and_close_on_exec;
    SRV_24 => in_the_order_of_the_queue;
    SRV_25 => nobody_needs_to_hold_it, over_it_holds_nobody, closed_it_lets_go_of_the_application;
    SRV_26 => a_bound_socket_is_used, a_listening_socket_is_used;
    SRV_27 => an_adopted_connection_is_nobodys_client, only_streams_are_adopted;
}

/// A server, on a port of its own unless `at` says otherwise.
fn start(lp: &LoopRef, record: &Record, at: Bind) -> Result<Server, Failure> {
    Ok(lp.run_until_complete(lp.create_server(record.factory(), at))??)
}

/// The usual one.
fn local() -> Bind {
    Bind::to("127.0.0.1", 0)
}

fn address(server: &Server) -> Result<SocketAddr, Failure> {
    server.local_addr().ok_or_else(|| Failure::new("the server has no address"))
}

/// The addresses of all its sockets.
fn addresses(server: &Server) -> Result<Vec<SocketAddr>, Failure> {
    let sockets = server.sockets();
    sockets
        .iter()
        .map(|socket| {
            let address = socket.local_addr()?.as_socket();
            address.ok_or_else(|| Failure::new("a socket without an Internet address"))
        })
        .collect()
}
/// Skips the case where there is no IPv6.
fn need_ipv6() -> Outcome {
    match TcpListener::bind("[::1]:0") {
        Ok(_) => Ok(()),
        Err(error) => Err(Failure::skip(format!("no IPv6: {error}"))),
    }
}

/// Waits for the end of the server.
fn wait_closed(lp: &LoopRef, server: &Server) -> Outcome {
    let server = server.clone();
    lp.run_until_complete(async move { server.wait_closed().await })??;
    Ok(())
}
