//! How a database is reached, as TypeORM's options say it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use napi::Status;
use napi::bindgen_prelude::Promise;
use napi::threadsafe_function::ThreadsafeFunction;
use napi_derive::napi;

use crate::engine::postgres::target::{Parts, PasswordSource, Tls};

/// The settings of a connection, one by one.
#[napi(object, object_to_js = false)]
pub struct ConnectionParts {
    pub host: Option<String>,
    pub port: Option<u16>,
    pub user: Option<String>,
    pub password: Option<String>,
    /// Asked for the password of each connection.
    #[napi(ts_type = "() => Promise<string>")]
    pub password_function: Option<PasswordFunction>,
    pub database: Option<String>,
    pub options: Option<String>,
    pub application_name: Option<String>,
    pub tls: Option<TlsParts>,
}

/// How a connection is encrypted.
#[napi(object, object_to_js = false)]
pub struct TlsParts {
    pub verify: bool,
    pub ca: Option<String>,
    pub cert: Option<String>,
    pub key: Option<String>,
}

/// Weak: the pool does not keep the process alive.
type PasswordFunction = ThreadsafeFunction<(), Promise<String>, (), Status, false, true>;

impl From<ConnectionParts> for Parts {
    fn from(parts: ConnectionParts) -> Self {
        let password_source = parts.password_function.map(|function| {
            let source: Arc<dyn PasswordSource> = Arc::new(FromJavaScript(function));
            source
        });
        Self {
            host: parts.host,
            port: parts.port,
            user: parts.user,
            password: parts.password,
            password_source,
            database: parts.database,
            options: parts.options,
            application_name: parts.application_name,
            tls: parts.tls.map(|TlsParts { verify, ca, cert, key }| Tls { verify, ca, cert, key }),
        }
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
