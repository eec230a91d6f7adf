//! The door: shows the engine to JavaScript.
//!
//! Only text, numbers and plain objects cross it. Calls resolve to an *answer*, which holds what was
//! asked for or a [`error::Failure`]; `lib/` on the other side turns answers into keys, rows and
//! errors of the caller's own realm, and keeps the JavaScript values that PostgreSQL never sees.
//!
//! Every function catches panics: one that unwound into Node would end the process. What runs on the
//! runtime's thread is caught there, and rejects.

mod answers;
mod callback;
mod connection;
mod error;
mod flow;
mod key;
mod lease;
mod operation;
mod service;
mod session;
mod stage_manager;

/// The version that this addon was built as: JavaScript of another version refuses it.
#[napi_derive::napi]
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// One thread is enough for the engine, which mostly waits; with more, every answer wakes two.
#[napi_derive::module_init]
fn use_one_thread() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    // Without it napi makes a runtime of its own, which is only slower.
    if let Ok(runtime) = runtime {
        napi::bindgen_prelude::create_custom_tokio_runtime(runtime);
    }
}
