//! Connections that fail.

use std::io::{ErrorKind, Write};

use crate::families::prelude::*;
use crate::tools::{CloggedTcp, Record, Script, clogged_tcp_pair, reset, settle, tcp_pair};

pub(super) fn a_reset_is_connection_lost(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    for debug in [false, true] {
        lp.set_debug(debug);
        let (near, far) = tcp_pair()?;
        let record = Script::new().record();
        record.attach(&lp, near)?;
        reset(far)?;
        record.until_lost(&lp)?;
        check_reset(&record)?;
        ensure_eq!(record.events().len(), 2, "callbacks: {:?}", record.events());
    }
    reports.none()
}

/// The peer takes nothing for longer than the connection may wait.
pub(super) fn a_timeout_is_connection_lost(cx: &Context) -> Outcome {
    #[cfg(not(target_os = "linux"))]
    return Err(Failure::skip("connections of this system wait for minutes"));
    #[cfg(target_os = "linux")]
    {
        let lp = cx.new_loop()?;
        let reports = Reports::of(&lp);
        let CloggedTcp { near, far, .. } = clogged_tcp_pair()?;
        rustix::net::sockopt::set_tcp_user_timeout(&near, 1)?;
        let record = Script::new().record();
        record.attach(&lp, near)?;
        record.until_lost(&lp)?;
        let kind = record.error().map(|error| error.io_kind());
        ensure_eq!(kind, Some(ErrorKind::TimedOut), "the error of connection_lost");
        ensure_eq!(record.events().len(), 2, "callbacks: {:?}", record.events());
        drop(far);
        reports.none()
    }
}

pub(super) fn a_reset_after_data(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let (near, mut far) = tcp_pair()?;
    let record = Script::new().record();
    record.attach(&lp, near)?;
    far.write_all(b"last words")?;
    record.until_received(&lp, 10)?;
    reset(far)?;
    record.until_lost(&lp)?;
    check_reset(&record)?;
    ensure_eq!(record.count("eof"), 0, "calls of eof_received");
    reports.none()
}

pub(super) fn a_reset_behind_data(cx: &Context) -> Outcome {
    // Both are there before the loop looks, or before the connection is the loop's.
    for early in [false, true] {
        let lp = cx.new_loop()?;
        let (near, mut far) = tcp_pair()?;
        let record = Script::new().record();
        if early {
            far.write_all(b"hello")?;
            reset(far)?;
            record.attach(&lp, near)?;
        } else {
            record.attach(&lp, near)?;
            settle(&lp)?;
            far.write_all(b"hello")?;
            reset(far)?;
        }
        record.until_lost(&lp)?;
        check_reset(&record)?;
    }
    Ok(())
}

pub(super) fn check_reset(record: &Record) -> Outcome {
    let kind = record.error().map(|error| error.io_kind());
    ensure_eq!(kind, Some(ErrorKind::ConnectionReset), "the error of connection_lost");
    Ok(())
}
