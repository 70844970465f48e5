//! The context of protocols.

use anyloop_api::{Protocol, Server, Transport};

use super::tasks::Var;
use crate::families::prelude::*;
use crate::tools::Trace;

/// Notes where its methods run, and changes it.
struct Noting {
    side: &'static str,
    trace: Trace,
    var: Var,
}

impl Noting {
    fn note(&self, method: &str) {
        self.trace.push(format!("{} {method} {}", self.side, self.var.get().unwrap_or("-")));
        self.var.set("overwritten");
    }
}

impl Protocol for Noting {
    fn connection_made(&self, transport: Transport) {
        self.note("made");
        if self.side == "client" {
            let _ = transport.write(b"x");
        }
    }

    fn data_received(&self, _: &[u8]) {
        self.note("data");
    }

    fn eof_received(&self) -> bool {
        self.note("eof");
        false
    }

    fn connection_lost(&self, _: Option<Error>) {
        self.note("lost");
    }
}

/// A server, listening, and the events of one connection to it that comes and goes.
fn one_connection(
    lp: &LoopRef,
    trace: &Trace,
    var: &Var,
) -> Result<(Server, Vec<String>), Failure> {
    let make = |side: &'static str| Noting { side, trace: trace.clone(), var: var.clone() };
    var.set("serving");
    let accepted = make("server");
    let (theirs, own) = (trace.clone(), var.clone());
    let factory = move || {
        theirs.push(format!("server factory {}", own.get().unwrap_or("-")));
        own.set("overwritten");
        Noting { side: accepted.side, trace: accepted.trace.clone(), var: accepted.var.clone() }
    };
    let server = lp.run_until_complete(lp.serve(factory, ("127.0.0.1", 0)))??;
    var.set("connecting");
    let Some(address) =
        server.sockets().first().and_then(|socket| socket.local_addr().ok()?.as_socket())
    else {
        return Err(Failure::new("the server listens nowhere"));
    };
    let connecting = lp.connect(
        {
            let client = make("client");
            move || client
        },
        address,
    );
    let own = var.clone();
    let (transport, _) = lp.run_until_complete(async move {
        let connected = connecting.await;
        // After the connection was made: its protocol does not see this.
        own.set("afterwards");
        connected
    })??;
    let seen = trace.clone();
    while seen.count("server data serving") == 0 && seen.len() < 7 {
        run_for(lp, ms(2))?;
    }
    transport.close();
    while seen.len() < 7 {
        run_for(lp, ms(2))?;
    }
    run_for(lp, ms(5))?;
    Ok((server, trace.take().iter().map(ToString::to_string).collect()))
}

pub(super) fn client_protocols_run_in_the_callers_context(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let var = Var::new("var");
    let (server, events) = one_connection(&lp, &cx.trace(), &var)?;
    server.close();
    run_for(&lp, ms(5))?;
    let client: Vec<_> = events.iter().filter(|event| event.starts_with("client")).collect();
    ensure_eq!(
        client,
        ["client made connecting", "client lost connecting"],
        "the client's methods"
    );
    ensure_eq!(var.get(), Some("connecting"), "the value outside");
    Ok(())
}

pub(super) fn accepted_protocols_run_in_the_servers_context(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let var = Var::new("var");
    let (server, events) = one_connection(&lp, &cx.trace(), &var)?;
    server.close();
    run_for(&lp, ms(5))?;
    let methods: Vec<_> = events.iter().filter(|event| event.starts_with("server")).collect();
    let expected = ["factory", "made", "data", "eof", "lost"];
    let expected = expected.map(|method| format!("server {method} serving"));
    ensure_eq!(methods, expected.iter().collect::<Vec<_>>(), "the server's methods");
    Ok(())
}
