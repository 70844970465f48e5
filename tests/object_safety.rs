//! Every trait that is promised to be usable as `dyn`, by name; and what must not leave its thread.
#![allow(missing_docs, reason = "a test")]

use std::rc::Rc;
use std::sync::Arc;

use anyloop::{
    BufferedProtocol, EventLoop, EventLoopPolicy, Executor, LoopFuture, LoopRef, Protocol,
    RemoteCall, RemoteHandle, Report, StreamReader, StreamWriter, Task, TaskFactory, TcpStream,
    Transport,
};
use anyloop_api::{Cancellable, RawServer, RawTransport, RemoteLoop, Scheduler, TimerQueue};
use futures_io::{AsyncRead, AsyncWrite};

#[test]
fn usable_as_dyn() {
    fn object<T: ?Sized>() {}
    object::<Rc<dyn EventLoop>>();
    object::<Arc<dyn EventLoopPolicy>>();
    object::<Arc<dyn Executor>>();
    object::<Rc<dyn TaskFactory>>();
    object::<Rc<dyn Protocol>>();
    object::<Rc<dyn BufferedProtocol>>();
    object::<Rc<dyn RawTransport>>();
    object::<Rc<dyn RawServer>>();
    object::<Rc<dyn Cancellable>>();
    object::<Rc<dyn TimerQueue>>();
    object::<Arc<dyn Scheduler>>();
    object::<Arc<dyn RemoteLoop>>();
    object::<Box<dyn AsyncRead>>();
    object::<Box<dyn AsyncWrite>>();
}

#[test]
fn usable_from_other_threads() {
    fn shared<T: Clone + Send + Sync + 'static>() {}
    shared::<RemoteHandle>();
    shared::<RemoteCall>();
    shared::<anyloop::Error>();
    shared::<anyloop::Snapshot>();
    shared::<anyloop::Config>();
}

#[test]
fn bound_to_their_thread() {
    /// Two implementations for what is `Send`, one for what is not: ambiguous unless it is not.
    trait NotSend<Which> {
        fn check() {}
    }
    impl<T: ?Sized> NotSend<()> for T {}
    impl<T: ?Sized + Send> NotSend<u8> for T {}
    <LoopRef as NotSend<_>>::check();
    <Task<()> as NotSend<_>>::check();
    <LoopFuture<()> as NotSend<_>>::check();
    <Transport as NotSend<_>>::check();
    <Report as NotSend<_>>::check();
    <StreamReader as NotSend<_>>::check();
    <StreamWriter as NotSend<_>>::check();
    <TcpStream as NotSend<_>>::check();
}
