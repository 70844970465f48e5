//! Outgoing connections.

mod attempts;
mod handed_over;
mod resolving;
mod staggered;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;

use anyloop_api::{AnyProtocol, Connect, Transport};

use self::attempts::*;
use self::handed_over::*;
use self::resolving::*;
use self::staggered::*;
use super::prelude::*;
use crate::tools::{Record, bound};

cases! {
    CONN_01 => contradictions_are_refused, refused_before_any_connection,
        a_refused_address_names_the_operation;
    CONN_02 => the_first_that_answers, a_name_with_several_addresses;
    CONN_03 => one_error_as_it_is, equal_errors_as_one, different_errors_each_named,
        all_errors_in_a_group;
    CONN_04 => failures_leave_no_descriptor, a_failing_factory_closes_the_socket;
    CONN_05 => a_literal_needs_no_resolver, names_and_services_do;
    CONN_06 => the_local_address_is_used, one_of_the_other_family_is_an_error,
        one_that_cannot_be_bound_is_an_error;
    CONN_07 => cancelled_while_resolving, cancelled_while_connecting, cancelled_at_any_step,
        the_loop_is_closed_meanwhile;
    CONN_08 => a_given_socket_is_closed_once, a_given_socket_is_closed_if_nobody_begins;
    CONN_09 => staggered_by_the_delay, at_once_after_a_failure, not_before_the_delay,
        the_losers_are_closed, families_take_turns, all_failed_is_all_reported;
    CONN_10 => two_at_the_same_moment;
    CONN_11 => the_factorys_protocol_with_its_transport;
    CONN_12 => no_address_is_an_error;
}

type Connected = Result<(Transport, AnyProtocol), Error>;

/// Connects; the protocol is the record's.
fn connect(lp: &LoopRef, record: &Record, to: impl Into<Connect>) -> Result<Connected, Failure> {
    Ok(lp.run_until_complete(lp.create_connection(record.factory(), to.into()))?)
}

/// Somebody to connect to.
fn listener() -> Result<(TcpListener, SocketAddr), Failure> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// Addresses at which nobody listens, nor can anybody begin to, as long as their sockets are open.
fn refusing<const N: usize>() -> Result<([SocketAddr; N], Vec<OwnedFd>), Failure> {
    let bound =
        (0..N).map(|_| bound((Ipv4Addr::LOCALHOST, 0).into())).collect::<Result<Vec<_>, _>>()?;
    let (addresses, sockets): (Vec<_>, Vec<_>) = bound.into_iter().unzip();
    let addresses =
        addresses.try_into().map_err(|_| Failure::new("another number of addresses"))?;
    Ok((addresses, sockets))
}

/// The error of a connection that must not be.
#[track_caller]
fn failed(connected: Connected) -> Result<Error, Failure> {
    match connected {
        Err(error) => Ok(error),
        Ok((transport, _)) => Err(Failure::new(format!("connected: {transport:?}"))),
    }
}
