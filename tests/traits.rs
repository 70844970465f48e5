//! What the public types promise to other threads, and to whoever keeps them. It has only to compile.
#![cfg(all(feature = "mio", feature = "uring", feature = "polling"))]
#![allow(missing_docs, reason = "a test")]

use std::fmt::Debug;
use std::hash::Hash;

use anyloop::fs::{DirEntry, File, OpenOptions, ReadDir};
use anyloop::{
    AllValues, Backend, Bind, Command, Config, Connect, ContextVar, Dump, Endpoint, Error,
    Executor, Gather, Interrupt, JoinHandle, LoopFuture, LoopInstant, RemoteHandle, ReturnWhen,
    Runner, Selection, SendFile, StreamReader, StreamWriter, Task, TaskGroup,
};
use anyloop_api::{
    Activity, AnyTask, BackendDescriptor, CallbackId, Datagrams, Direction, LoopConfig, Panic,
    RemoteCall, Runnable, Scheduler, SharedExecutor, Sleep, Snapshot,
};
use anyloop_core::ThreadPool;

fn shared<T: Send + Sync + ?Sized>() {}
fn sent<T: Send + ?Sized>() {}
fn unpin<T: Unpin>() {}
fn shown<T: Debug>() {}
fn key<T: Eq + Hash>() {}

#[test]
fn what_every_thread_may_use() {
    shared::<RemoteHandle>();
    shared::<RemoteCall>();
    shared::<JoinHandle<u32>>();
    shared::<dyn Scheduler>();
    shared::<dyn Executor>();
    shared::<SharedExecutor>();
    shared::<ThreadPool>();
    shared::<Activity>();
    shared::<Dump>();
    shared::<Interrupt>();
    shared::<Error>();
    shared::<Panic>();
    shared::<LoopInstant>();
    shared::<ContextVar<u32>>();
    shared::<Snapshot>();
    shared::<BackendDescriptor>();
    shared::<Backend>();
    shared::<Selection>();
    shared::<LoopConfig>();
    shared::<Config>();
    shared::<anyloop_mio::EventLoopPolicy>();
    shared::<anyloop_uring::EventLoopPolicy>();
    shared::<anyloop_polling::EventLoopPolicy>();
    shared::<File>();
    shared::<OpenOptions>();
    shared::<DirEntry>();
    shared::<ReadDir>();
    shared::<Datagrams>();
    sent::<Runnable>();
}

#[test]
fn what_can_be_handed_to_the_thread_of_a_loop() {
    sent::<Command>();
    sent::<Connect>();
    sent::<Bind>();
    sent::<Endpoint>();
    sent::<SendFile>();
}

#[test]
fn what_can_be_awaited_by_reference() {
    unpin::<Task<u32>>();
    unpin::<AnyTask>();
    unpin::<LoopFuture<u32>>();
    unpin::<JoinHandle<u32>>();
    unpin::<Sleep>();
    unpin::<Gather<Vec<Task<u32>>, AllValues>>();
    unpin::<anyloop::queue::Get<u32, anyloop::queue::Fifo<u32>>>();
}

#[test]
fn what_can_be_a_key() {
    key::<Task<u32>>();
    key::<AnyTask>();
    key::<CallbackId>();
    key::<Direction>();
    key::<ReturnWhen>();
    key::<LoopInstant>();
}

/// Whatever is in them: values and items need no `Debug`.
#[test]
fn what_can_be_shown() {
    struct Dumb;
    shown::<Task<Dumb>>();
    shown::<LoopFuture<Dumb>>();
    shown::<JoinHandle<Dumb>>();
    shown::<ContextVar<Dumb>>();
    shown::<anyloop::Shared<Dumb>>();
    shown::<anyloop::SharedTask<Dumb>>();
    shown::<anyloop::Queue<Dumb>>();
    shown::<anyloop::queue::Get<Dumb, anyloop::queue::Fifo<Dumb>>>();
    shown::<anyloop::Generator<Dumb>>();
    shown::<Gather<Vec<Task<Dumb>>, AllValues>>();
    shown::<Runner>();
    shown::<TaskGroup>();
    shown::<StreamReader>();
    shown::<StreamWriter>();
}
