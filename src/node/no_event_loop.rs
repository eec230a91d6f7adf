//! Where there is no way to have Node's event loop wait for servers: the engine's thread does.

use std::sync::Arc;

use napi::Env;
use napi::bindgen_prelude::FunctionRef;
use tokio::runtime::Handle;

use super::outbox::{Outbox, StepRunner};
use crate::engine::postgres::reactor::{Reactor, Spawned};

/// There is none.
pub enum EventLoop {}

impl EventLoop {
    /// None.
    pub fn here() -> Option<&'static Self> {
        None
    }

    /// Does nothing.
    pub fn join(_env: Env) {}

    /// As there is none, it is never called.
    pub fn add(&self, _: &Arc<Outbox>, _: Env, _: FunctionRef<Vec<String>, ()>) {
        match *self {}
    }
}

impl StepRunner for EventLoop {
    fn wake(&self) {
        match *self {}
    }

    fn run_after(&self, _: &mut dyn FnMut()) {
        match *self {}
    }

    fn post(&self) {
        match *self {}
    }
}

impl Reactor for EventLoop {
    fn sockets(&self) -> &Handle {
        match *self {}
    }

    fn spawn(&self, _: Spawned) {
        match *self {}
    }
}
