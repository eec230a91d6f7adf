//! A database, and how to reach it.

use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};

use crate::engine::error::Error;

/// How long a statement waits for a row lock before it answers that the key is in use. A callback
/// that changes its own key outside of its transaction would otherwise wait for itself for ever.
pub const LOCK_TIMEOUT: Duration = Duration::from_secs(10);

/// The role could not be authenticated.
const INVALID_AUTHORIZATION: &str = "28000";

/// A database, and how to reach it.
#[derive(Clone)]
pub struct Target {
    options: PgConnectOptions,
    password: Option<Arc<dyn PasswordSource>>,
}

/// Where the password comes from when it may change from connection to connection.
pub trait PasswordSource: Send + Sync {
    /// The password of the connection that is about to be opened.
    ///
    /// # Errors
    /// When there is none to be had; the text says why.
    fn password(&self) -> Pin<Box<dyn Future<Output = Result<String, String>> + Send + '_>>;

    /// Whether it will never answer again.
    fn has_ended(&self) -> bool;
}

/// The settings of a connection, one by one, where there is no URL.
#[derive(Default)]
pub struct Parts {
    /// Host name, or folder of the server's socket if it begins with a slash.
    pub host: Option<String>,
    /// TCP port, or the number in the socket's name.
    pub port: Option<u16>,
    /// Role.
    pub user: Option<String>,
    /// Its password.
    pub password: Option<String>,
    /// Its password, asked for at each connection.
    pub password_source: Option<Arc<dyn PasswordSource>>,
    /// Database.
    pub database: Option<String>,
    /// What the server is told at the start, such as `-c search_path=shop`.
    pub options: Option<String>,
    /// What the server calls the connection.
    pub application_name: Option<String>,
    /// How the connection is encrypted; `None`: not at all.
    pub tls: Option<Tls>,
}

/// How a connection is encrypted.
#[derive(Default)]
pub struct Tls {
    /// Whether the server has to prove that it is who it says.
    pub verify: bool,
    /// The authorities that may vouch for it, as PEM; the public ones if none is given.
    pub ca: Option<String>,
    /// The client's certificate, as PEM.
    pub cert: Option<String>,
    /// The client's key, as PEM.
    pub key: Option<String>,
}

impl Target {
    /// Reads a `postgres://` URL. What the URL does not say comes from the `PG*` environment
    /// variables and `~/.pgpass`, as for every PostgreSQL client.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when it is no such URL; the message never repeats it, since it may
    /// hold a password.
    pub fn from_url(url: &str) -> Result<Self, Error> {
        let scheme = url.split_once("://").map(|(scheme, _)| scheme);
        if !matches!(scheme, Some("postgres" | "postgresql")) {
            return Err(Error::InvalidArgument(
                "has to be a URL like postgres://user:password@host:5432/database".to_owned(),
            ));
        }
        let options = PgConnectOptions::from_str(&with_host(url))
            .map_err(|error| Error::InvalidArgument(format!("is not a usable URL: {error}")))?;
        Ok(Self { options: with_defaults(options), password: None })
    }

    /// Takes the settings one by one. What is missing comes from the environment as for a URL.
    pub fn from_parts(parts: Parts) -> Self {
        let mut options = match parts.options {
            Some(options) => with_server_options(&options),
            None => PgConnectOptions::new_without_pgpass(),
        };
        options = match parts.host {
            Some(folder) if folder.starts_with('/') => options.socket(folder),
            Some(host) => options.host(&host),
            None => options,
        };
        if let Some(port) = parts.port {
            options = options.port(port);
        }
        if let Some(user) = parts.user {
            options = options.username(&user);
        }
        if let Some(password) = parts.password {
            options = options.password(&password);
        }
        if let Some(database) = parts.database {
            options = options.database(&database);
        }
        if let Some(name) = parts.application_name {
            options = options.application_name(&name);
        }
        options = encrypted(options, parts.tls);
        Self { options: with_defaults(options), password: parts.password_source }
    }

    /// Opens a connection.
    ///
    /// # Errors
    /// As [`Error::from_sqlx`]; whatever the server says is trouble with the connection here.
    pub async fn connect(&self) -> Result<PgConnection, Error> {
        let connected = match &self.password {
            None => self.options.connect().await,
            Some(source) => {
                let password = source.password().await;
                let password = password.map_err(|reason| self.no_password(&reason))?;
                self.options.clone().password(&password).connect().await
            }
        };
        connected.map_err(|error| match Error::from_sqlx(error, self) {
            Error::Database(error) => Error::Connection {
                message: format!("PostgreSQL at {self}: {}", error.message),
                code: error.code,
            },
            other => other,
        })
    }

    /// Whether no connection can be opened any more.
    pub fn has_ended(&self) -> bool {
        self.password.as_ref().is_some_and(|source| source.has_ended())
    }

    fn no_password(&self, reason: &str) -> Error {
        Error::Connection {
            code: INVALID_AUTHORIZATION.to_owned(),
            message: format!("the password function for PostgreSQL at {self} failed: {reason}"),
        }
    }
}

/// `postgres://user@/database?host=/socket` has no host between `@` and `/`, which other clients take
/// and sqlx does not.
fn with_host(url: &str) -> Cow<'_, str> {
    let after_scheme = url.find("://").map_or(0, |at| at + "://".len());
    let authority = url[after_scheme..].find(['/', '?']).map(|length| after_scheme + length);
    match authority {
        Some(end) if url[..end].ends_with('@') => {
            Cow::Owned(format!("{}localhost{}", &url[..end], &url[end..]))
        }
        _ => Cow::Borrowed(url),
    }
}

/// sqlx takes the server's options as they are from a URL only.
fn with_server_options(options: &str) -> PgConnectOptions {
    let encoded: String = options.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let url = format!("postgres://localhost?options={encoded}");
    PgConnectOptions::from_str(&url).unwrap_or_else(|_| PgConnectOptions::new_without_pgpass())
}

fn encrypted(options: PgConnectOptions, tls: Option<Tls>) -> PgConnectOptions {
    let Some(Tls { verify, ca, cert, key }) = tls else {
        return options.ssl_mode(PgSslMode::Disable);
    };
    let mode = if verify { PgSslMode::VerifyFull } else { PgSslMode::Require };
    let mut options = options.ssl_mode(mode);
    if let Some(ca) = ca {
        options = options.ssl_root_cert_from_pem(ca.into_bytes());
    }
    if let Some(cert) = cert {
        options = options.ssl_client_cert_from_pem(cert);
    }
    if let Some(key) = key {
        options = options.ssl_client_key_from_pem(key);
    }
    options
}

fn with_defaults(options: PgConnectOptions) -> PgConnectOptions {
    let options = match options.get_application_name() {
        Some(_) => options,
        None => options.application_name(env!("CARGO_PKG_NAME")),
    };
    let options = match options.get_options() {
        Some(given) if given.contains("lock_timeout") => options,
        _ => options.options([("lock_timeout", LOCK_TIMEOUT.as_millis().to_string())]),
    };
    options.disable_statement_logging()
}

/// Host, port and database; never the password.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let options = &self.options;
        match options.get_socket() {
            Some(socket) => write!(f, "{}", socket.display())?,
            None => f.write_str(options.get_host())?,
        }
        let database = options.get_database().unwrap_or(options.get_username());
        write!(f, ":{}, database \"{database}\"", options.get_port())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_shows_where_it_is_but_no_password() {
        let target = Target::from_url("postgres://me:s3cret@db.test:6543/shop").unwrap();
        assert_eq!(target.to_string(), "db.test:6543, database \"shop\"");
    }

    #[test]
    fn a_socket_needs_no_host() {
        let url = "postgres://me:p%40ss@/shop?host=/run/postgresql&port=6543";
        let target = Target::from_url(url).unwrap();
        assert_eq!(target.to_string(), "/run/postgresql:6543, database \"shop\"");
        assert_eq!(target.options.get_username(), "me");
    }

    #[test]
    fn server_options_are_passed_on_as_they_are() {
        let options = "-c search_path=my-catalog -c lock_timeout=5";
        let parts = Parts { options: Some(options.to_owned()), ..Parts::default() };
        assert_eq!(Target::from_parts(parts).options.get_options(), Some(options));
    }

    #[test]
    fn what_is_no_url_is_refused_without_repeating_it() {
        for url in ["", "s3cret", "mysql://me:s3cret@db/shop", "postgres://me:s3cret@[/x"] {
            let error = Target::from_url(url).err().unwrap();
            assert_eq!(error.medusa_type(), Some("invalid_argument"), "{url}");
            assert!(!error.to_string().contains("s3cret"), "{error}");
        }
    }
}
