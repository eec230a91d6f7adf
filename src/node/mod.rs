//! The door: shows the engine to JavaScript.
//!
//! Only text, numbers and plain objects cross it. Calls resolve to an *answer*, which holds what was
//! asked for or a [`error::Failure`]; `lib/` on the other side turns answers into keys, rows and
//! errors of the caller's own realm, and keeps the JavaScript values that PostgreSQL never sees.
//!
//! Every function catches panics: one that unwound into Node would end the process. What runs on the
//! runtime's thread is caught there, and rejects.

mod answers;
mod calls;
mod connection;
mod error;
#[cfg(target_os = "linux")]
mod event_loop;
#[cfg(not(target_os = "linux"))]
#[path = "no_event_loop.rs"]
mod event_loop;
mod key;
mod lease;
mod operation;
mod outbox;
mod runtime;
mod service;
mod stepped;
mod transaction_scope;
mod work;

/// The version that this addon was built as: JavaScript of another version refuses it.
#[napi_derive::napi]
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What tells this addon from others of the process. One that is loaded again, as by Jest's module
/// registry, is the same: its objects are of the same Rust types.
#[napi_derive::napi(catch_unwind)]
pub fn image_id() -> String {
    static IMAGE: u8 = 0;
    format!("{} {:p}", env!("CARGO_PKG_VERSION"), &raw const IMAGE)
}

/// Has the event loop of this thread, which has to be the main one of Node, wait for what servers answer.
#[napi_derive::napi(catch_unwind)]
pub fn join_event_loop(env: napi::Env) {
    event_loop::EventLoop::join(env);
}
