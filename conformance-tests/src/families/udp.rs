//! Datagram endpoints.

mod closing;
mod opening;
mod receiving;
mod scripts;
mod sending;

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::unix::net::UnixDatagram;

use anyloop_api::{DatagramEndpoint, DatagramTransport, SockAddr};

use self::closing::*;
use self::opening::*;
use self::receiving::*;
use self::scripts::*;
use self::sending::*;
use super::prelude::*;
use crate::tools::{Post, settle};

cases! {
    UDP_01 => made_then_receiving_then_the_call_returns;
    UDP_02 => one_callback_per_datagram, empty_and_huge_ones_too, many_of_all_sizes_at_once,
        an_interrupted_loop_goes_on_where_it_was;
    UDP_03 => sent_at_once_if_nothing_waits, queued_whole_and_in_order,
        any_order_of_sends_reads_and_runs;
    UDP_04 => sending_nothing_is_a_datagram;
    UDP_05 => a_connected_endpoint_has_one_address, it_hears_nobody_else,
        a_broadcasting_one_has_a_default;
    UDP_06 => an_unconnected_endpoint_needs_an_address;
    UDP_07 => a_refusal_is_told_and_survived, a_datagram_too_long_is_told_and_survived,
        a_refusal_among_many_is_told;
    UDP_08 => an_error_while_flushing_costs_one_datagram,
        what_an_error_leaves_waits_for_nothing_else;
    UDP_09 => a_broken_descriptor_ends_the_endpoint;
    UDP_10 => panicking_callbacks_are_reported, a_panic_among_many_costs_none;
    UDP_11 => close_flushes, abort_discards, closing_twice_is_closing_once,
        nothing_is_delivered_after_close;
    UDP_12 => sending_after_close_is_discarded;
    UDP_13 => the_marks_of_flow_control, lowered_and_zero_marks, sizes_are_added_and_removed_alike;
    UDP_14 => contradictions_are_refused;
    UDP_15 => ports_are_shared_only_when_asked, broadcasting_has_to_be_asked_for;
    UDP_16 => the_first_error_counts_and_nothing_leaks, the_next_candidate_is_tried;
    UDP_17 => local_endpoints_by_path, a_local_pair_without_names,
        no_name_is_no_restriction, many_of_local_peers_at_once, a_full_local_peer_is_tried_again;
    UDP_18 => a_stale_socket_is_replaced;
    UDP_19 => a_flood_leaves_room_for_others;
}

/// An endpoint on this machine, and its address.
fn endpoint(lp: &LoopRef, post: &Post) -> Result<(DatagramTransport, SocketAddr), Failure> {
    let transport = post.open(lp, DatagramEndpoint::local((Ipv4Addr::LOCALHOST.to_string(), 0)))?;
    let address = transport.local_addr();
    let address = address.ok_or_else(|| Failure::new("the endpoint has no address"))?;
    Ok((transport, address))
}

/// A plain socket of the case's own, and its address.
fn peer() -> Result<(UdpSocket, SocketAddr), Failure> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.set_read_timeout(Some(Duration::from_secs(10)))?;
    let address = socket.local_addr()?;
    Ok((socket, address))
}

/// The next datagram that a plain socket gets.
fn next(socket: &UdpSocket) -> Result<Vec<u8>, Failure> {
    let mut buffer = vec![0; 70_000];
    let count = socket.recv(&mut buffer)?;
    buffer.truncate(count);
    Ok(buffer)
}

/// Two local sockets that are connected; what the first sends fills up quickly.
fn narrow_pair() -> Result<(UnixDatagram, UnixDatagram), Failure> {
    let (near, far) = UnixDatagram::pair()?;
    rustix::net::sockopt::set_socket_send_buffer_size(&near, 4096)?;
    far.set_nonblocking(true)?;
    Ok((near, far))
}

/// Everything that waits at a plain local socket.
fn drain(far: &UnixDatagram) -> Result<Vec<Vec<u8>>, Failure> {
    let mut found = Vec::new();
    let mut buffer = vec![0; 70_000];
    while let Ok(count) = far.recv(&mut buffer) {
        found.push(buffer[..count].to_vec());
    }
    Ok(found)
}
