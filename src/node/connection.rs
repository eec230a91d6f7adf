//! How a database is reached, as TypeORM's options say it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use napi::Status;
use napi::bindgen_prelude::Promise;
use napi::threadsafe_function::ThreadsafeFunction;
use napi_derive::napi;

use crate::engine::error::Error;
use crate::engine::postgres::parts::{Host, Parts, PasswordSource, Tls, Verify};
use crate::engine::postgres::reactor::Reactor;
use crate::engine::postgres::target::Target;
use crate::engine::postgres::timeouts::Timeouts;

/// The settings of a connection, one by one.
#[napi(object, object_to_js = false)]
pub struct ConnectionParts {
    pub hosts: Vec<HostParts>,
    /// libpq's `target_session_attrs`.
    pub target_session: Option<String>,
    pub user: Option<String>,
    pub password: Option<String>,
    /// Asked for the password of each connection.
    #[napi(ts_type = "() => Promise<string>")]
    pub password_function: Option<PasswordFunction>,
    pub database: Option<String>,
    pub options: Option<String>,
    pub application_name: Option<String>,
    pub tls: Option<TlsParts>,
    /// Whether the user says that a pooler stands before the servers.
    pub is_pooled: Option<bool>,
}

/// How long things may take, in milliseconds.
#[napi(object, object_to_js = false)]
pub struct TimeoutParts {
    pub connect: u32,
    pub statement: u32,
    pub acquire: u32,
}

/// Where a server is.
#[napi(object, object_to_js = false)]
pub struct HostParts {
    pub host: String,
    pub port: u16,
}

/// How a connection is encrypted.
#[napi(object, object_to_js = false)]
pub struct TlsParts {
    /// libpq's `sslmode`.
    #[napi(ts_type = "'require' | 'verify-ca' | 'verify-full'")]
    pub mode: String,
    pub ca: Option<String>,
    pub cert: Option<String>,
    pub key: Option<String>,
}

/// Weak: the pool does not keep the process alive.
type PasswordFunction = ThreadsafeFunction<(), Promise<String>, (), Status, false, true>;

impl From<TimeoutParts> for Timeouts {
    fn from(TimeoutParts { connect, statement, acquire }: TimeoutParts) -> Self {
        let duration = |milliseconds: u32| Duration::from_millis(milliseconds.into());
        Self {
            connect: duration(connect),
            statement: duration(statement),
            acquire: duration(acquire),
        }
    }
}

impl ConnectionParts {
    /// The database, on whose connections things may take so long.
    ///
    /// # Errors
    /// As [`Target::new`].
    pub fn target(
        self,
        timeouts: Timeouts,
        reactor: Option<&'static dyn Reactor>,
    ) -> Result<Target, Error> {
        let parts = self;
        let password_source = parts.password_function.map(|function| {
            let source: Arc<dyn PasswordSource> = Arc::new(FromJavaScript(function));
            source
        });
        let hosts = parts.hosts.into_iter();
        let session = parts.target_session.as_deref().map(str::parse).transpose()?;
        Target::new(&mut Parts {
            hosts: hosts.map(|HostParts { host, port }| Host { name: host, port }).collect(),
            session: session.unwrap_or_default(),
            user: parts.user,
            password: parts.password,
            password_source,
            database: parts.database,
            options: parts.options,
            application_name: parts.application_name,
            tls: parts.tls.map(Tls::from),
            is_pooled: parts.is_pooled.unwrap_or(false),
            timeouts,
            reactor,
        })
    }
}

impl From<TlsParts> for Tls {
    fn from(TlsParts { mode, ca, cert, key }: TlsParts) -> Self {
        let verify = match mode.as_str() {
            "require" => Verify::Nothing,
            "verify-ca" => Verify::Authority,
            _ => Verify::Host,
        };
        Self { verify, ca, cert, key }
    }
}

struct FromJavaScript(PasswordFunction);

impl PasswordSource for FromJavaScript {
    fn password(&self) -> Pin<Box<dyn Future<Output = Result<String, String>> + Send + '_>> {
        Box::pin(async move {
            let promise =
                self.0.call_async_catch(()).await.map_err(|error| error.reason.clone())?;
            promise.await.map_err(|error| error.reason.clone())
        })
    }

    fn has_ended(&self) -> bool {
        self.0.aborted()
    }
}
