//! The context of protocols.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream, UdpSocket};

use anyloop_api::{
    Bind, Command, Connect, DatagramEndpoint, DatagramProtocol, DatagramTransport, Protocol,
    Server, SockAddr, Stdio, SubprocessProtocol, SubprocessTransport, Transport,
};

use super::tasks::Var;
use crate::families::prelude::*;
use crate::tools::{Trace, socket_pair};

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

impl DatagramProtocol for Noting {
    fn connection_made(&self, _: DatagramTransport) {
        self.note("made");
    }

    fn datagram_received(&self, _: &[u8], _: Option<&SockAddr>) {
        self.note("datagram");
    }

    fn error_received(&self, _: Error) {
        self.note("error");
    }

    fn connection_lost(&self, _: Option<Error>) {
        self.note("lost");
    }
}

impl SubprocessProtocol for Noting {
    fn connection_made(&self, _: SubprocessTransport) {
        self.note("made");
    }

    fn pipe_data_received(&self, _: i32, _: &[u8]) {
        self.note("data");
    }

    fn pipe_connection_lost(&self, _: i32, _: Option<Error>) {
        self.note("end");
    }

    fn process_exited(&self) {
        self.note("exited");
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

pub(super) fn of_where_serving_began(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (trace, var) = (cx.trace(), Var::new("var"));
    let (log, own) = (trace.clone(), var.clone());
    let factory = move || {
        log.push(format!("server factory {}", own.get().unwrap_or("-")));
        Noting { side: "server", trace: log.clone(), var: own.clone() }
    };
    var.set("binding");
    let at = Bind::to("127.0.0.1", 0).start_serving(false);
    let server = lp.run_until_complete(lp.serve(factory, at))??;
    var.set("starting");
    let starting = server.clone();
    lp.run_until_complete(async move { starting.start_serving().await })??;
    var.set("starting again");
    let starting = server.clone();
    lp.run_until_complete(async move { starting.start_serving().await })??;
    var.set("afterwards");
    let address = server.local_addr().ok_or_else(|| Failure::new("the server has no address"))?;
    drop(TcpStream::connect(address)?);
    run_until_noted(&lp, &trace, 4)?;
    server.close();
    run_for(&lp, ms(5))?;
    let methods = ["factory", "made", "eof", "lost"];
    let expected = methods.map(|method| format!("server {method} starting"));
    ensure_eq!(trace.take(), expected, "the server's methods");
    Ok(())
}

/// Runs `lp` until so much was noted, and a little longer.
fn run_until_noted(lp: &LoopRef, trace: &Trace, count: usize) -> Outcome {
    while trace.len() < count {
        run_for(lp, ms(2))?;
    }
    Ok(run_for(lp, ms(5))?)
}

pub(super) fn whatever_a_client_hears(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (trace, var) = (cx.trace(), Var::new("var"));
    let (near, mut far) = socket_pair()?;
    let client = Noting { side: "client", trace: trace.clone(), var: var.clone() };
    var.set("connecting");
    let connecting = lp.connect(move || client, Connect::socket(near));
    let _transport = lp.run_until_complete(connecting)??.0;
    var.set("afterwards");
    far.write_all(b"y")?;
    run_until_noted(&lp, &trace, 2)?;
    // With something unread it would be a reset.
    far.read_exact(&mut [0])?;
    drop(far);
    run_until_noted(&lp, &trace, 4)?;
    let methods = ["made", "data", "eof", "lost"];
    let expected = methods.map(|method| format!("client {method} connecting"));
    ensure_eq!(trace.take(), expected, "the client's methods");
    Ok(())
}

pub(super) fn datagram_endpoints_too(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (trace, var) = (cx.trace(), Var::new("var"));
    let far = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let endpoint = Noting { side: "endpoint", trace: trace.clone(), var: var.clone() };
    let endpoint: Rc<dyn DatagramProtocol> = Rc::new(endpoint);
    let factory = Rc::new(move || endpoint.clone());
    var.set("opening");
    let to = DatagramEndpoint::remote(far.local_addr()?);
    let (transport, _) = lp.run_until_complete(lp.create_datagram_endpoint(factory, to))??;
    var.set("afterwards");
    let address = transport.local_addr().ok_or_else(|| Failure::new("no address"))?;
    far.send_to(b"one", address)?;
    run_until_noted(&lp, &trace, 2)?;
    // Nobody is there any more, which the next one of ours brings to light.
    drop(far);
    transport.sendto(b"anybody?", None)?;
    run_until_noted(&lp, &trace, 3)?;
    transport.close();
    run_until_noted(&lp, &trace, 4)?;
    let methods = ["made", "datagram", "error", "lost"];
    let expected = methods.map(|method| format!("endpoint {method} opening"));
    ensure_eq!(trace.take(), expected, "the endpoint's methods");
    ensure_eq!(var.get(), Some("afterwards"), "the value outside");
    Ok(())
}

pub(super) fn protocols_of_children_too(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (trace, var) = (cx.trace(), Var::new("var"));
    let child = Noting { side: "child", trace: trace.clone(), var: var.clone() };
    var.set("starting");
    let command = Command::shell("echo x").stdout(Stdio::Pipe);
    let starting = lp.subprocess_shell(move || child, command);
    let _transport = lp.run_until_complete(starting)??.0;
    var.set("afterwards");
    run_until_noted(&lp, &trace, 5)?;
    let mut found: Vec<_> = trace.take().iter().map(ToString::to_string).collect();
    // An exit may be seen before what was said.
    found.sort();
    let methods = ["data", "end", "exited", "lost", "made"];
    let expected = methods.map(|method| format!("child {method} starting"));
    ensure_eq!(found, expected, "the methods of the child's protocol");
    ensure_eq!(var.get(), Some("afterwards"), "the value outside");
    Ok(())
}
